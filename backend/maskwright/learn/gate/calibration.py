"""How far a model's own estimate of its IoU can be trusted, and a map that mends it.

The expected calibration error is that of Guo et al. ("On Calibration of Modern Neural Networks", ICML 2017), with the
IoU that was reached in the place of accuracy and bins of equal mass (Nguyen and O'Connor, EMNLP 2015). The map is
isotonic regression by pool-adjacent-violators (Ayer et al. 1955; Zadrozny and Elkan, KDD 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput

BINS = 15
_FEWEST = 2
"""Answers without which nothing can be fitted."""


def expected_calibration_error(predicted: ArrayLike, true: ArrayLike, bins: int = BINS) -> float:
    """Mean over bins of |mean predicted - mean true|, weighted by how many answers they hold.

    Answers with equal predictions count as so many answers of their mean IoU, so that their order does not matter.

    Args:
        predicted: (n,) predicted IoU; those outside [0, 1] count as 0 or 1.
        true: (n,) IoU that was reached, in [0, 1].
        bins: Of equal mass; with fewer answers, one for each.

    Returns:
        A number in [0, 1]; 0 where there are no answers.

    Raises:
        InvalidInput: If the arrays differ in length, hold a number that is not finite, or ``bins`` is below 1.
    """
    x, y = _checked(predicted, true)
    if bins < 1:
        raise InvalidInput(f"{bins} bins; the calibration error needs at least 1")
    if not len(x):
        return 0.0
    values, owner, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(owner, y) / counts
    gap = np.repeat(values - means, counts)
    parts = np.array_split(gap, min(bins, len(gap)))
    return float(sum(abs(part.mean()) * len(part) for part in parts) / len(gap))


@dataclass(frozen=True)
class Calibration:
    """A map from predicted to expected IoU that never falls: straight lines between knots, constant beyond them.

    Attributes:
        predicted: Where the knots lie, strictly increasing, in [0, 1].
        expected: The IoU to expect there, in [0, 1], never falling.

    Raises:
        InvalidInput: If they are not so.
    """

    predicted: tuple[float, ...] = (0.0, 1.0)
    expected: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        x, y = np.array(self.predicted, dtype=np.float64), np.array(self.expected, dtype=np.float64)
        inside = bool(((x >= 0) & (x <= 1)).all() and ((y >= 0) & (y <= 1)).all())
        if not len(x) or x.shape != y.shape or not inside or (np.diff(x) <= 0).any() or (np.diff(y) < 0).any():
            raise InvalidInput(
                "a calibration has as many rising predicted as never falling expected IoU, all in [0, 1]"
            )

    def __call__(self, predicted: ArrayLike) -> NDArray[np.float64]:
        """The IoU to expect, of the shape of ``predicted``; NaN where that is NaN."""
        return np.asarray(np.interp(np.asarray(predicted, dtype=np.float64), self.predicted, self.expected))

    @classmethod
    def fitted(cls, predicted: ArrayLike, true: ArrayLike) -> Calibration:
        """The map that comes closest to what was reached, in the mean square; no change where too little is known.

        Args:
            predicted: (n,) predicted IoU; those outside [0, 1] count as 0 or 1.
            true: (n,) IoU that was reached, in [0, 1].

        Raises:
            InvalidInput: If the arrays differ in length or hold a number that is not finite.
        """
        x, y = _checked(predicted, true)
        if len(x) < _FEWEST:
            return cls()
        values, owner, counts = np.unique(x, return_inverse=True, return_counts=True)
        sums = np.bincount(owner, y)
        # Blocks of (answers, sum of predicted, sum of true), pooled while a mean does not exceed the one before.
        blocks: list[tuple[float, float, float]] = []
        for block in zip(counts.astype(float), values * counts, sums, strict=True):
            n, at, reached = (float(number) for number in block)
            while blocks and blocks[-1][2] / blocks[-1][0] >= reached / n:
                before = blocks.pop()
                n, at, reached = n + before[0], at + before[1], reached + before[2]
            blocks.append((n, at, reached))
        knots: dict[float, float] = {}
        place = 0.0
        for n, at, reached in blocks:  # blocks too close for their places to be told apart become one knot
            place = max(place, min(1.0, at / n))
            knots[place] = min(1.0, reached / n)
        return cls(tuple(knots), tuple(knots.values()))

    def to_json(self) -> dict[str, list[float]]:
        """As JSON-able values."""
        return {"predicted": [*self.predicted], "expected": [*self.expected]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: As for the class, or if it is something else.
        """
        try:
            return cls(tuple(map(float, value["predicted"])), tuple(map(float, value["expected"])))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"this is no calibration: {error!r}") from error


def _checked(predicted: ArrayLike, true: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InvalidInput(f"predicted {x.shape} and true IoU {y.shape} are two lists of one length")
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or ((y < 0) | (y > 1)).any():
        raise InvalidInput("predicted and true IoU are finite numbers, the true ones in [0, 1]")
    return np.clip(x, 0.0, 1.0), y
