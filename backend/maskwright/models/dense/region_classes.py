"""Where dense features see classes that are told in words: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.dense.pooling import cosines
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
        return best_words(dense.maps(image, words_of_all), phrases)
    return best_words(cosines(dense.features(image), dense.text(words_of_all)), phrases)


def _flat(groups: Sequence[Sequence[str]]) -> list[str]:
    return [word for words in groups for word in words]


def best_words(maps: NDArray[np.float32], groups: Sequence[Sequence[object]]) -> NDArray[np.float32]:
    """(..., n) maps of words to (..., C) maps of the classes that they mean; of a class's words the best counts."""
    ends = np.cumsum([len(words) for words in groups])
    parts = [maps[..., end - len(words) : end] for words, end in zip(groups, ends, strict=True)]
    return np.stack([part.max(axis=-1) for part in parts], axis=-1)
