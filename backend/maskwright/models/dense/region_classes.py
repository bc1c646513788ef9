"""Regions classified by the dense features that they cover: masks from anywhere, classes in words, nothing trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.dense.pooling import SCALE, cosines, pool, probabilities
from maskwright.models.protocols import RGB, DenseFeatures

NOTHING = ("background", "something else")
"""Words for what is none of the classes."""


@runtime_checkable
class PhraseMaps(Protocol):
    """Dense features that meet phrases inside the network, as a diffusion model's do."""

    def maps(self, image: RGB, phrases: Sequence[str]) -> NDArray[np.float32]:
        """(h, w, n) float32 in [0, 1]: where the image shows each phrase."""
        ...


def knows_words(dense: DenseFeatures) -> bool:
    """Whether phrases can be looked for, as vectors or inside the network."""
    if isinstance(dense, PhraseMaps):
        return True
    try:
        dense.text(("object",))
    except InvalidInput:
        return False
    return True


def shown_where(dense: DenseFeatures, image: RGB, phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """How much each place looks like each class, not compared with the other classes; of its words the best counts.

    Args:
        dense: Features, from a family that reads.
        image: (H, W, 3) uint8 RGB.
        phrases: For each of C classes the words that mean it, one at least.

    Returns:
        (h, w, C) float32: cosines, or what the network itself answers, in [0, 1].

    Raises:
        InvalidInput: If there is no class, a class has no words, or the family knows no language.
    """
    for number, words in enumerate(phrases, start=1):
        if not words:
            raise InvalidInput(f"class {number} has no words; name what means it")
    words_of_all = _flat(phrases)
    if isinstance(dense, PhraseMaps):
        return _best(dense.maps(image, words_of_all), phrases)
    return _best(cosines(dense.features(image), dense.text(words_of_all)), phrases)


def class_maps(
    dense: DenseFeatures,
    image: RGB,
    phrases: Sequence[Sequence[str]],
    *,
    scale: float = SCALE,
    nothing: Sequence[str] = NOTHING,
) -> NDArray[np.float32]:
    """How probable each class is at each place; of the words that mean a class, the best counts.

    Args:
        dense: Features, from a family that reads.
        image: (H, W, 3) uint8 RGB.
        phrases: For each of C classes the words that mean it, one at least.
        scale: Of the cosines before the softmax.
        nothing: Words that compete with the classes for what is none of them; empty = every place shows a class.

    Returns:
        (h, w, C) float32; what a place's sum lacks to 1 speaks for none of the classes.

    Raises:
        InvalidInput: If there is no class, a class has no words, or the family knows no language.
    """
    if isinstance(dense, PhraseMaps):
        found = shown_where(dense, image, phrases)
        shares: NDArray[np.float32] = found / np.maximum(found.sum(axis=-1, keepdims=True), 1)
        return shares
    groups = [*phrases, nothing] if nothing else phrases
    return probabilities(shown_where(dense, image, groups), scale=scale)[..., : len(phrases)]


class DenseRegionClassifier:
    """A ``RegionClassifier`` that averages dense class probabilities over each region. As thread-safe as its features.

    Args:
        dense: Features, from a family that reads.
        scale: Of the cosines before the softmax.
    """

    def __init__(self, dense: DenseFeatures, *, scale: float = SCALE) -> None:
        self.name = f"dense({dense.name})"
        self.version = f"dense-regions-1({dense.version})"
        self._dense, self._scale = dense, scale

    def classify(self, image: RGB, masks: Sequence[Mask], phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """See ``protocols.RegionClassifier``; the image is looked at once, however many regions there are."""
        if not masks or not phrases:
            return np.zeros((len(masks), len(phrases)), dtype=np.float32)
        return pool(class_maps(self._dense, image, phrases, scale=self._scale), masks)


def _flat(groups: Sequence[Sequence[str]]) -> list[str]:
    return [word for words in groups for word in words]


def _best(maps: NDArray[np.float32], groups: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """(..., n) maps of words to (..., C) maps of the classes that they mean."""
    ends = np.cumsum([len(words) for words in groups])
    parts = [maps[..., end - len(words) : end] for words, end in zip(groups, ends, strict=True)]
    return np.stack([part.max(axis=-1) for part in parts], axis=-1)
