"""Which class pixels have and which they were given, counted over a data set.

The measures are those in which ADE20K and COCO-Stuff are reported: IoU = TP / (TP + FP + FN) of a class, its mean over
the classes that are shown or were given anywhere, pixel accuracy = trace / sum, mean accuracy = mean of the recalls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

Labels = NDArray[np.integer]
"""(H, W) class of each pixel; any number that is no class, such as 255 or -1, is none."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of pixels; those that the truth gives no class are left out.

    Attributes:
        counts: (C, C + 1) int64: pixels of each true class (row) by the class that they were given (column); the last
            column holds those that were given none, which are wrong.
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Self:
        """No pixel, of so many classes."""
        return cls(np.zeros((classes, classes + 1), dtype=np.int64))

    @classmethod
    def of(cls, truth: Labels, given: Labels, classes: int) -> Self:
        """Count one image.

        Args:
            truth: (H, W) true class of each pixel, 0 to C - 1; pixels with any other number are ignored.
            given: (H, W) class that each was given; any other number is none.
            classes: C.

        Raises:
            InvalidInput: If the two are not of one shape.
        """
        if truth.shape != given.shape:
            raise InvalidInput(f"the truth is of {truth.shape} pixels, what is compared with it of {given.shape}")
        known = (truth >= 0) & (truth < classes)
        rows, columns = truth[known].astype(np.int64), given[known].astype(np.int64)
        columns = np.where((columns >= 0) & (columns < classes), columns, classes)
        flat = np.bincount(rows * (classes + 1) + columns, minlength=classes * (classes + 1))
        return cls(flat.reshape(classes, classes + 1).astype(np.int64))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts)

    @property
    def parts(self) -> NDArray[np.int64]:
        """(3, C) int64: of each class the pixels that are right, that show it, and that were given it."""
        return np.stack([np.diagonal(self.counts), self.counts.sum(axis=1), self.counts[:, :-1].sum(axis=0)])

    @property
    def ious(self) -> NDArray[np.float64]:
        """(C,) IoU of each class; NaN where no pixel shows it or was given it."""
        return ious(self.parts)

    @property
    def recalls(self) -> NDArray[np.float64]:
        """(C,) share of each class's pixels that are right; NaN where no pixel shows it."""
        right, shown, _ = self.parts
        return _ratio(right, shown)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that are shown or were given; NaN without any."""
        return _mean(self.ious)

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over the classes that are shown; NaN without any."""
        return _mean(self.recalls)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that are right; NaN without any."""
        total = int(self.counts.sum())
        return int(np.trace(self.counts)) / total if total else float("nan")


def ious(parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(..., C) IoU of each class from (..., 3, C) parts; NaN where a class is neither shown nor given."""
    right, shown, given = np.moveaxis(parts, -2, 0)
    return _ratio(right, shown + given - right)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return shares


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
