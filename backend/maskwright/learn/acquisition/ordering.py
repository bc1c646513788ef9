"""From priorities to an order: ranks, the scores of predictions, and batches that do not repeat themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput

UNKNOWN = 0.5
"""Where an image about which nothing is known stands: neither before nor behind the others."""
OUTLIERS = 0.99
"""Distances beyond this quantile count as the quantile: what lies far from everything is often broken, not new."""


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """(n,) float64 mid-ranks in (0, 1) of (n,) numbers, equal for equal ones; NaN becomes ``UNKNOWN``.

    Ranks, because signals of different kinds share no scale, and one outlier would squeeze all others together.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(numbers))
    found = np.full(len(numbers), UNKNOWN)
    if len(known):
        _, place, counts = np.unique(numbers[known], return_inverse=True, return_counts=True)
        before = np.cumsum(counts) - counts
        found[known] = (before + counts / 2)[place] / len(known)
    return found


def by_priority(priorities: Mapping[str, float]) -> list[str]:
    """The keys, highest priority first, equal ones by key; NaN lies in the middle of the others."""
    keys = sorted(priorities)
    order = np.argsort(-ranks([priorities[key] for key in keys]), kind="stable")
    return [keys[i] for i in order]


def normalise(priorities: Mapping[str, float]) -> dict[str, float]:
    """The score of every image's prediction: 1 - normalised priority, in [0, 1], lowest = to be labelled first.

    Scores are evenly spaced and all different, so that platforms that order by score alone show one order; equal
    priorities go by key, NaN into the middle.
    """
    order = by_priority(priorities)
    last = max(len(order) - 1, 1)
    return {key: place / last for place, key in enumerate(order)}


def canonical(keys: Sequence[str]) -> NDArray[np.int64]:
    """(n,) int64 positions of the keys in alphabetic order: working in it makes results independent of the given one.

    Raises:
        InvalidInput: If a key comes twice.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for one, other in pairwise(order):
        if keys[one] == keys[other]:
            raise InvalidInput(f"image {keys[one]} was given twice; keys of candidates must differ")
    return np.array(order, dtype=np.int64)


def select_batch(
    scores: ArrayLike,
    diversity: NDArray[np.floating],
    k: int,
    *,
    labelled: NDArray[np.floating] | None = None,
    weight: float = 1.0,
) -> NDArray[np.int64]:
    """Choose images that are each worth labelling and together not alike, greedily.

    The next one has the highest product of score and distance to the nearest image that is labelled or chosen
    already, relative to the largest such distance but for ``OUTLIERS``. An exact repetition of a chosen image comes
    after everything else.

    Args:
        scores: (n,) numbers, 0 or more; NaN counts as the median.
        diversity: (n, d) vectors of the images, compared by Euclidean distance.
        k: How many to choose; at most n are.
        labelled: (m, d) vectors of images that need no labelling any more.
        weight: Power of the distance; 0 ignores it.

    Returns:
        (min(k, n),) int64 positions, the first to be labelled first; among equals the earlier position.

    Raises:
        InvalidInput: If the shapes do not fit, or a score is negative.
    """
    worth = np.asarray(scores, dtype=np.float64)
    if diversity.ndim != 2 or worth.shape != (len(diversity),) or k < 0:
        raise InvalidInput(f"batch of {k}: scores {worth.shape} and vectors {diversity.shape} do not fit together")
    if (worth < 0).any():
        raise InvalidInput("batch: scores must be 0 or more; give ranks of priorities")
    known = worth[~np.isnan(worth)]
    worth = np.where(np.isnan(worth), np.median(known) if len(known) else 1.0, worth)
    spread = Spread(diversity, labelled)
    left = np.ones(len(worth), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(k, len(worth))):
        apart = spread.reach()
        far = np.quantile(apart[left], OUTLIERS) or apart[left].max()
        share = np.minimum(apart / far, 1.0) if far > 0 else np.ones(len(worth))
        gain = np.where(left, worth * share**weight, -1.0)
        best = int(gain.argmax())
        if gain[best] == 0:  # only repetitions are left: the worthiest first
            best = int(np.where(left, worth, -1.0).argmax())
        left[best] = False
        chosen.append(best)
        spread.cover(best)
    return np.array(chosen, dtype=np.int64)


class Spread:
    """How far each of n images lies from the nearest covered one.

    Args:
        vectors: (n, d).
        covered: (m, d) vectors that are covered from the start; empty ones count as none.
    """

    def __init__(self, vectors: NDArray[np.floating], covered: NDArray[np.floating] | None = None) -> None:
        # Differences from the mean are exact where it matters, whatever the vectors' own offset.
        self._middle = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(vectors.shape[1:])
        self._vectors = np.ascontiguousarray(vectors - self._middle, dtype=np.float32)
        self._squares = np.einsum("nd,nd->n", self._vectors, self._vectors)
        self._apart = np.full(len(vectors), np.inf, dtype=np.float64)
        if covered is not None and covered.size:
            if covered.ndim != 2 or covered.shape[1:] != vectors.shape[1:]:
                raise InvalidInput(
                    f"vectors of labelled images have shape {covered.shape}, those of candidates {vectors.shape}: "
                    "measure both with the same model"
                )
            for row in np.asarray(covered - self._middle, dtype=np.float32):
                self._near(row)

    def reach(self) -> NDArray[np.float64]:
        """(n,) distance to the nearest covered image; where none is, to the mean of all turned round.

        Without any covered image the one nearest to the mean lies farthest from nothing, so it is the natural first.
        """
        if np.isinf(self._apart).all() and len(self._apart):
            central = np.sqrt(self._squares.astype(np.float64))
            return np.asarray(central.max() - central + (central.max() == 0), dtype=np.float64)
        return self._apart

    def cover(self, index: int) -> None:
        """Count one of the n images as covered."""
        self._near(self._vectors[index])
        self._apart[index] = 0.0

    def _near(self, row: NDArray[np.float32]) -> None:
        squared = self._squares - 2 * (self._vectors @ row) + row @ row
        # What rounding leaves between equal vectors is no distance.
        squared[squared < 1e-5 * (self._squares + row @ row)] = 0.0
        np.minimum(self._apart, np.sqrt(squared, dtype=np.float64), out=self._apart)
