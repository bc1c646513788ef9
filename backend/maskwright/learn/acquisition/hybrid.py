"""Orders made of others: information per second of labour, the hybrid that is the default, and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import AcquisitionFunction, Candidate, Context, Scores
from maskwright.learn.acquisition.coreset import features
from maskwright.learn.acquisition.ordering import canonical, ranks, select_batch
from maskwright.learn.acquisition.typicality import typicality

EXPERIENCED = 50
"""Labelled images from which on doubt alone counts; before, typical images do too, at the very first nothing else."""
LEAST_COST = 0.1
"""Costs below this quantile count as the quantile: an image that seems to cost nothing is often an empty one."""


@dataclass(frozen=True, eq=False)
class PerSecond:
    """What labelling an image tells, per second that it is expected to take.

    Settles, Craven & Friedland (2008); see ``cost``.

    Attributes:
        information: What labelling tells, by rank.
        power: Of the cost: 1 is information per second, 0 ignores cost.
    """

    information: AcquisitionFunction
    power: float = 1.0
    name = "correction-cost"

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """See ``AcquisitionFunction``; with equal information the cheaper image comes first."""
        canonical([candidate.key for candidate in candidates])
        told = ranks(self.information.score(candidates, context))
        return told / relative_cost(candidates, context) ** self.power


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Uncertainty x diversity / cost, by greedy choice of a batch; at first typicality in place of uncertainty.

    Uncertainty is the mean rank of the signals, diversity the distance to what is labelled or chosen (k-centre), cost
    the expected seconds. Combinations of this kind hold up best over redundant and diverse pools alike (Mittal et al.,
    "Best Practices in Active Learning for Semantic Segmentation", 2023, arXiv 2302.04075).

    Uncertainty is a mean over regions and cost grows with their number; objects of one image being alike, information
    grows slower, hence the root of the cost. Twenty images chosen from 40 pools of 50 of the first 100 nuclei images
    (``tests/bench/bench_acquisition.py --signals predicted-iou,disagreement --proposals 6``), relative to random ones:
    error of the segmenter on them, clicks to label them, distance of the pool to them. Without cost 1.27, 1.39, 0.84;
    with its root 1.19, 1.10, 0.89; with all of it 0.97, 0.45, 1.07; without cost and diversity 1.27, 1.41, 1.20.

    Without experience the most uncertain images are the ones that cost most and teach least: on nuclei the first ten
    of them took 13.7 clicks an object, ten random ones 5.7, and taught less. So doubt gains weight with every labelled
    image, and typicality (see there) loses it.

    Attributes:
        uncertainty: One function or more, usually signals.
        diversity: Power of the distance.
        cost: Power of the cost.
        experienced: Labelled images from which on typicality does not count; 0 = never.
    """

    uncertainty: tuple[AcquisitionFunction, ...]
    diversity: float = 1.0
    cost: float = 0.5
    experienced: int = EXPERIENCED
    name = "hybrid"

    def __post_init__(self) -> None:
        if not self.uncertainty or min(self.diversity, self.cost, self.experienced) < 0:
            raise InvalidInput("the hybrid needs one uncertainty or more, and no negative numbers")

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """See ``AcquisitionFunction``: the batch first, in its order, in (1, 2]; then the others, in [0, 1]."""
        order = canonical([candidate.key for candidate in candidates])
        found = np.zeros(len(order), dtype=np.float64)
        if not len(order):
            return found
        listed = [candidates[i] for i in order]
        doubt = np.mean([ranks(function.score(listed, context)) for function in self.uncertainty], axis=0)
        vectors = features(listed)
        doubt_share = min(len(context.labelled) / self.experienced, 1.0) if self.experienced else 1.0
        if doubt_share < 1:
            doubt = doubt_share * doubt + (1 - doubt_share) * ranks(typicality(vectors))
        worth = doubt / relative_cost(listed, context) ** self.cost
        batch = select_batch(worth, vectors, context.batch, labelled=context.labelled, weight=self.diversity)
        found[order] = ranks(worth)
        found[order[batch]] = 2.0 - np.arange(len(batch)) / (len(batch) + 1)
        return found


class Chance:
    """No preference: what every other order must beat. Every image keeps its number whatever images come and go."""

    name = "random"

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """See ``AcquisitionFunction``; uniform in [0, 1)."""
        canonical([candidate.key for candidate in candidates])
        return np.array([context.generator(candidate.key).random() for candidate in candidates], dtype=np.float64)


def relative_cost(candidates: Sequence[Candidate], context: Context) -> NDArray[np.float64]:
    """(n,) float64 expected seconds of labour over their median; images of unknown effort count as the median."""
    known = [i for i, candidate in enumerate(candidates) if candidate.effort is not None]
    found = np.ones(len(candidates), dtype=np.float64)
    if known:
        seconds = context.cost.seconds([e for i in known if (e := candidates[i].effort) is not None])
        found[known] = np.maximum(seconds, np.quantile(seconds, LEAST_COST)) / np.median(seconds)
    return found
