"""From the IoU that a segmenter predicts to the IoU that is to be expected."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput

BINS = 20
PRIOR_WEIGHT = 2.0
"""Every bin believes in the prediction as much as in so many corrected regions: few corrections change little."""


def _ends() -> NDArray[np.float64]:
    return np.array([0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Calibration:
    """A map of [0, 1] into itself that never falls, linear between its knots. Without any it changes nothing.

    Attributes:
        predicted: (k,) float64, rising.
        expected: (k,) float64, never falling.
    """

    predicted: NDArray[np.float64] = field(default_factory=_ends)
    expected: NDArray[np.float64] = field(default_factory=_ends)

    def __call__(self, predicted: ArrayLike) -> NDArray[np.float64]:
        """Expected IoU of regions with these predictions, any shape; what lies outside [0, 1] is clipped."""
        values = np.clip(np.asarray(predicted, dtype=np.float64), 0, 1)
        return np.asarray(np.interp(values, self.predicted, self.expected), dtype=np.float64)


def calibrate(predicted: ArrayLike, actual: ArrayLike) -> Calibration:
    """Isotonic regression of the true on the predicted IoU (Zadrozny & Elkan, KDD 2002), in bins with a prior.

    Args:
        predicted: (n,) what the segmenter said of regions that a person corrected.
        actual: (n,) IoU of each with what the person left; 0 for deleted ones.

    Raises:
        InvalidInput: If the lengths differ or a number does not lie between 0 and 1.
    """
    said, true = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if said.shape != true.shape or said.ndim != 1:
        raise InvalidInput(f"calibration: {said.shape} predictions came with {true.shape} true values; give one each")
    for name, values in (("predicted", said), ("actual", true)):
        if not ((values >= 0) & (values <= 1)).all():
            raise InvalidInput(f"calibration: {name} IoU must lie between 0 and 1")
    if not len(said):
        return Calibration()
    owner = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    weight = np.bincount(owner, minlength=BINS) + PRIOR_WEIGHT
    centres = (np.arange(BINS) + 0.5) / BINS
    places = (np.bincount(owner, said, BINS) + PRIOR_WEIGHT * centres) / weight
    means = (np.bincount(owner, true, BINS) + PRIOR_WEIGHT * centres) / weight
    return Calibration(places, never_falling(means, weight))


def never_falling(values: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The nearest sequence that never falls, in weighted squares, by pooling adjacent violators (Ayer et al. 1955).

    Args:
        values: (n,) float64.
        weights: (n,) float64, positive.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] >= value:
            before, heavy, many = blocks.pop()
            value = (value * weight + before * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + many
        blocks.append((value, weight, count))
    return np.repeat(np.array([block[0] for block in blocks], dtype=np.float64), [block[2] for block in blocks])
