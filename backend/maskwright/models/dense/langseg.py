"""Classes of places and regions by descriptors, at several scales, without training (after LangSeg, arXiv 2501.16467).

A class's vector is the mean of the vectors of its words and descriptors, each weighing as much as the image speaks for
it; or its words stay apart, and the class is as likely as any of them (arXiv 2404.00701); or its names stay apart and
each of them is described. The image is seen as a whole and in tiles, finer looks weighing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.dense.input_grid import unit
from maskwright.models.dense.pooling import SCALE, pool, probabilities
from maskwright.models.dense.region_classes import NOTHING, PhraseMaps, best_words
from maskwright.models.protocols import RGB, DenseFeatures

Vectors = NDArray[np.float32]
Look = Callable[[RGB], Vectors]
Ensemble = Literal["mean", "any", "best", "names"]
"""How a class's words go together: their weighted mean; the log of the mean of their powers; the best of them; the best
of its names, each in the weighted mean with all descriptors."""

CONTEXT_TEMPERATURE = 0.07
"""Difference of similarity to the image by which one descriptor outweighs another by a factor of e."""


@dataclass(frozen=True)
class LangSegOptions:
    """What of the method is used; every switch is one of its ablations.

    Attributes:
        descriptors: Whether classes are described, or only named.
        levels: Tiles along each side, for every look; (1,) sees the image as a whole only.
        ensemble: How a class's words go together.
        scale: Of cosines before the softmax.
        nothing: Words that compete with the classes for what is none of them; empty = every place shows a class.

    Raises:
        InvalidInput: If there is no level, or one is below 1 or there twice.
    """

    descriptors: bool = True
    levels: tuple[int, ...] = (1, 2)
    ensemble: Ensemble = "mean"
    scale: float = SCALE
    nothing: tuple[str, ...] = NOTHING

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 1 or len(set(self.levels)) != len(self.levels):
            raise InvalidInput(f"levels are numbers of tiles along a side, 1 or more, each once; not {self.levels}")


def class_vector(words: Vectors, context: Vectors, temperature: float = CONTEXT_TEMPERATURE) -> Vectors:
    """(d,) unit vector of a class: sum of a_j t_j, with a = softmax(<context, t_j> / temperature), scaled to length 1.

    Args:
        words: (m, d) unit vectors t_j.
        context: (d,) unit vector of the image.
        temperature: Of the softmax.
    """
    similar = words @ context / np.float32(temperature)
    weights = np.exp(similar - similar.max())
    return unit((weights / weights.sum()) @ words)


def class_scores(features: Vectors, words: Sequence[Vectors], context: Vectors, options: LangSegOptions) -> Vectors:
    """(h, w, C) float32, comparable with cosines: how much each place looks like each class.

    Args:
        features: (h, w, d) unit vectors.
        words: For each of C classes the (m, d) unit vectors of its words; with "names", for each of their names.
        context: (d,) unit vector of the image.
        options: How words go together.
    """
    if options.ensemble in ("mean", "names"):
        mean: Vectors = features @ np.stack([class_vector(group, context) for group in words]).T
        return mean
    planes = []
    for group in words:
        similar = features @ group.T
        best = similar.max(axis=-1)
        if options.ensemble == "any":
            powers = np.exp(np.float32(options.scale) * (similar - best[..., None]))
            best = best + np.log(powers.mean(axis=-1)) / np.float32(options.scale)
        planes.append(best)
    return np.stack(planes, axis=-1).astype(np.float32)


class LangSeg:
    """Descriptors and scales over dense features: maps of classes, and a ``RegionClassifier``. Thread-safe as they are.

    Args:
        dense: Features, from a family that reads.
        labels: Where the descriptors of classes stand; a question's phrases are told by ``LabelClass.phrases``.
        options: What of the method is used.
    """

    def __init__(
        self, dense: DenseFeatures, labels: LabelSet | None = None, options: LangSegOptions = LangSegOptions()
    ) -> None:
        self._dense, self._options = dense, options
        described = labels is not None and options.descriptors
        self._descriptors = {item.phrases: item.descriptors for item in labels or ()} if described else {}
        digest = labels.content_hash() if labels is not None and described else ""
        self.name = f"langseg({dense.name})"
        self.version = f"langseg-1({dense.version}, {options}, {digest})"

    def maps(self, image: RGB, phrases: Sequence[Sequence[str]]) -> Vectors:
        """(h, w, C) float32: how probable each class is at each place of an image; what lacks to 1 is none of them.

        Args:
            image: (H, W, 3) uint8 RGB.
            phrases: For each of C classes the words that mean it.

        Raises:
            InvalidInput: If there is no class, a class has no words, or the family knows no language.
        """
        if not phrases or any(not words for words in phrases):
            raise InvalidInput("a class came without words; name at least one class, and what means it")
        options = self._options
        described = [(words, self._descriptors.get(tuple(words), ())) for words in phrases]
        if isinstance(self._dense, PhraseMaps):
            dense, groups = self._dense, [self._parts(*item) for item in described]
            return pyramid(image, options.levels, lambda tile: _shares(self._shown(dense, tile, groups)))
        parts = [self._parts(words, more) for words, more in described]
        if options.nothing:
            parts.append(self._parts(options.nothing, ()))
        columns = [words for part in parts for words in part]
        rows = self._dense.text([word for words in columns for word in words])
        vectors = np.split(rows, np.cumsum([len(words) for words in columns])[:-1])
        whole = self._dense.features(image)
        context = unit(whole.mean(axis=(0, 1)))

        def look(tile: RGB) -> Vectors:
            features = whole if tile is image else self._dense.features(tile)
            return best_words(class_scores(features, vectors, context, options), parts)

        scores = pyramid(image, options.levels, look)
        return probabilities(scores, scale=options.scale)[..., : len(phrases)]

    def _shown(self, dense: PhraseMaps, image: RGB, groups: Sequence[Sequence[tuple[str, ...]]]) -> Vectors:
        """(h, w, C) float32: how much a network itself sees of classes, told by their parts; each phrase asked once."""
        asked = list(dict.fromkeys(word for parts in groups for words in parts for word in words))
        shown = dict(zip(asked, np.moveaxis(dense.maps(image, asked), -1, 0), strict=True))
        together = np.mean if self._options.ensemble == "names" else np.max
        planes = [
            np.max([together([shown[word] for word in words], axis=0) for words in parts], axis=0) for parts in groups
        ]
        return np.stack(planes, axis=-1).astype(np.float32)

    def _parts(self, words: Sequence[str], descriptors: Sequence[str]) -> list[tuple[str, ...]]:
        """The words of a class that go together; of several such groups the best counts."""
        if self._options.ensemble == "names":
            return [(word, *descriptors) for word in words]
        return [(*words, *descriptors)]

    def classify(self, image: RGB, masks: Sequence[Mask], phrases: Sequence[Sequence[str]]) -> Vectors:
        """See ``protocols.RegionClassifier``; every look is taken once, however many regions there are."""
        if not masks or not phrases:
            return np.zeros((len(masks), len(phrases)), dtype=np.float32)
        return pool(self.maps(image, phrases), masks)


def _shares(shown: Vectors) -> Vectors:
    """What a network itself answers, as probabilities; what lacks to 1 is none of the classes."""
    shares: Vectors = shown / np.maximum(shown.sum(axis=-1, keepdims=True), 1)
    return shares


def pyramid(image: RGB, levels: Sequence[int], look: Look) -> Vectors:
    """Looks at an image as a whole and in tiles, put together: weights 1, 1/2, 1/4, ... from the finest level on.

    Args:
        image: (H, W, 3) uint8 RGB.
        levels: Tiles along each side.
        look: A tile, or the very image, to (h, w, C) float32 on a grid laid over it.

    Returns:
        (h', w', C) float32 on a grid laid over the image, as fine as the finest level's.
    """
    # A tile holds a pixel at least; slivers are seen in fewer tiles.
    most = min(image.shape[:2])
    tiles = sorted({min(level, most) for level in levels}, reverse=True)
    total: Vectors | None = None
    for index, level in enumerate(tiles):
        rows, columns = (_cuts(side, level) for side in image.shape[:2])
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                found = look(image if level == 1 else np.ascontiguousarray(image[top:bottom, left:right]))
                if total is None:
                    total = np.zeros((found.shape[0] * level, found.shape[1] * level, found.shape[2]), dtype=np.float32)
                down, across = _cuts(total.shape[0], level)[i], _cuts(total.shape[1], level)[j]
                enlarged = _enlarged(found, down[1] - down[0], across[1] - across[0])
                total[slice(*down), slice(*across)] += np.float32(0.5**index) * enlarged
    assert total is not None
    return total / np.float32(sum(0.5**index for index in range(len(tiles))))


def _cuts(length: int, parts: int) -> list[tuple[int, int]]:
    return [(part * length // parts, (part + 1) * length // parts) for part in range(parts)]


def _enlarged(maps: Vectors, height: int, width: int) -> Vectors:
    if maps.shape[:2] == (height, width):
        return maps
    planes = [
        cv2.resize(np.ascontiguousarray(maps[..., index]), (width, height), interpolation=cv2.INTER_LINEAR)
        for index in range(maps.shape[2])
    ]
    return np.stack(planes, axis=-1).astype(np.float32)
