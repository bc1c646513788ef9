"""How far a model's own estimate of its IoU can be trusted; ``learn.acquisition.calibration`` has a map that mends it.

The expected calibration error is that of Guo et al. ("On Calibration of Modern Neural Networks", ICML 2017), with the
IoU that was reached in the place of accuracy and bins of equal mass (Nguyen and O'Connor, EMNLP 2015).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput

BINS = 15


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


def _checked(predicted: ArrayLike, true: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InvalidInput(f"predicted {x.shape} and true IoU {y.shape} are two lists of one length")
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or ((y < 0) | (y > 1)).any():
        raise InvalidInput("predicted and true IoU are finite numbers, the true ones in [0, 1]")
    return np.clip(x, 0.0, 1.0), y
