"""What needs no idea of the image: classes by lot, and the class that a place usually has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.semantic.label_maps import LabelMap
from maskwright.regions import Region

CELLS = (180, 240)
"""Rows and columns on which the usual classes are kept."""


def random_classes(regions: Sequence[Region], names: Sequence[str], rng: np.random.Generator) -> list[Region]:
    """The same regions, each with a class drawn by lot, all being as likely."""
    return [replace(region, label=names[int(rng.integers(len(names)))]) for region in regions]


@dataclass(frozen=True, eq=False)
class PositionPrior:
    """The most frequent class of every place, learnt from true label maps: a strong guess where cameras stand alike.

    Attributes:
        counts: (C, h, w) int64: how often each class was seen at each place.
    """

    counts: NDArray[np.int64]

    @classmethod
    def fit(cls, maps: Iterable[LabelMap], classes: int, cells: tuple[int, int] = CELLS) -> Self:
        """Learn from label maps of any sizes; pixels without a class teach nothing.

        Args:
            maps: At least one.
            classes: C.
            cells: (h, w) places.

        Raises:
            InvalidInput: If there is none.
        """
        counts = np.zeros((classes, *cells), dtype=np.int64)
        rows, columns = np.indices(cells)
        seen = 0
        for labels in maps:
            small = _resized(labels, cells)
            known = (small >= 0) & (small < classes)
            np.add.at(counts, (small[known], rows[known], columns[known]), 1)
            seen += 1
        if not seen:
            raise InvalidInput("the usual class of each place is learnt from label maps; there is none")
        return cls(counts)

    def predict(self, size: tuple[int, int]) -> LabelMap:
        """The usual class of each pixel of an image of (H, W); of equally frequent ones the commonest of all.

        Places where no class was seen get the commonest of all too.
        """
        # Less than one sighting, so that it decides between equals only.
        usual = self.counts.sum(axis=(1, 2)) / (self.counts.sum() + 1)
        best = (self.counts + usual[:, None, None]).argmax(axis=0).astype(np.int32)
        return _resized(best, size)


def _resized(labels: LabelMap, size: tuple[int, int]) -> LabelMap:
    nearest: LabelMap = cv2.resize(labels.astype(np.int32), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return nearest
