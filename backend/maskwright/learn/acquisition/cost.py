"""What labelling an image will cost, so that what is learnt per second of labour can be maximised.

Cost-sensitive active learning: Settles, Craven & Friedland, "Active Learning with Real Annotation Costs" (NIPS workshop
2008); for segmentation by clicks, Mackowiak et al., "CEREALS" (BMVC 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput

OPENING, LOOKING, MENDING = 4.0, 2.0, 18.0
"""Seconds that opening an image takes, looking at a region, and mending one that is all wrong, before any lead time is
known: with a click at two to three seconds, nine clicks at worst. Only their ratios matter for the order."""
SCATTER = 0.5
"""Standard deviation of the logarithm of lead times around what can be foreseen: people differ, and take breaks."""
BELIEF = np.array([1.0, 0.3, 0.5, 0.3, 0.2])
"""Standard deviation of every coefficient around its prior, which makes the ridge."""
SECONDS = (0.5, 3600.0)
"""Lead times outside say that nothing was done, or something else."""


@dataclass(frozen=True)
class Effort:
    """What can be known before of the work on an image.

    Attributes:
        regions: Proposed regions.
        predicted_iou: Their mean predicted IoU, in [0, 1].
        size: Mean square root of their share of the image's area, in [0, 1].
    """

    regions: int
    predicted_iou: float = 0.5
    size: float = 0.1

    def __post_init__(self) -> None:
        if self.regions < 0 or not 0 <= self.predicted_iou <= 1 or not 0 <= self.size <= 1:
            raise InvalidInput(
                f"effort: {self.regions} regions, predicted IoU {self.predicted_iou}, size {self.size}; "
                "a count is 0 or more, the others lie between 0 and 1"
            )


def _prior() -> NDArray[np.float64]:
    return np.array([0.0, 1.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True, eq=False)
class CostModel:
    """A log-linear model of the seconds (or clicks) that an image takes.

    Attributes:
        coefficients: (5,) float64 of the columns of ``_columns``; by default those of the prior.
    """

    coefficients: NDArray[np.float64] = field(default_factory=_prior)

    def seconds(self, efforts: Sequence[Effort]) -> NDArray[np.float64]:
        """(n,) float64 expected seconds, each positive."""
        if not efforts:
            return np.zeros(0, dtype=np.float64)
        return np.asarray(np.exp(np.clip(_columns(efforts) @ self.coefficients, *np.log(SECONDS))), dtype=np.float64)


def learn_cost(efforts: Sequence[Effort], seconds: ArrayLike) -> CostModel:
    """Ridge regression of the logarithm of lead times, drawn towards the prior (Hoerl & Kennard 1970).

    Clicks may be given in place of seconds; costs are then clicks.

    Args:
        efforts: Of n images that were labelled, as they were before.
        seconds: (n,) lead time of each; what is not finite or absurd is left out.

    Raises:
        InvalidInput: If there are not as many lead times as efforts.
    """
    taken = np.asarray(seconds, dtype=np.float64)
    if taken.shape != (len(efforts),):
        raise InvalidInput(f"cost: {len(efforts)} images came with lead times of shape {taken.shape}; give one each")
    sane = np.isfinite(taken) & (taken >= SECONDS[0]) & (taken <= SECONDS[1])
    if not sane.any():
        return CostModel()
    columns = _columns([effort for effort, fine in zip(efforts, sane, strict=True) if fine])
    penalty = np.diag(SCATTER**2 / BELIEF**2)
    surprise = np.log(taken[sane]) - columns @ _prior()
    return CostModel(_prior() + np.linalg.solve(columns.T @ columns + penalty, columns.T @ surprise))


def _columns(efforts: Sequence[Effort]) -> NDArray[np.float64]:
    """(n, 5): one, logarithm of the seconds foreseen without any lead time, doubt, number and size of the regions.

    The last three are centred on what is usual, so that the prior of each stays its own.
    """
    facts = np.array([(e.regions, e.predicted_iou, e.size) for e in efforts], dtype=np.float64)
    count, doubt = facts[:, 0], 1 - facts[:, 1]
    foreseen = OPENING + count * (LOOKING + MENDING * doubt)
    return np.stack(
        [
            np.ones(len(facts)),
            np.log(foreseen),
            np.where(count > 0, doubt - 0.5, 0.0),
            np.log1p(count) - np.log1p(10),
            np.where(count > 0, np.log(np.maximum(facts[:, 2], 1e-3)) - np.log(0.1), 0.0),
        ],
        axis=1,
    )
