"""Which places of a picture look like the places of an example, and like nothing around it.

After Matcher (Liu et al., ICLR 2024, arXiv 2305.13310) a match counts only if it holds both ways: what a place of the
example finds in a picture must itself find the example. There, the example's surroundings are all that it is not; here
more of the same kind may stand beside it, so that surroundings teach only where they are unlike it.
Nothing depends on the order of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.models.peaks import coverage

Vectors = NDArray[np.float32]
Cells = NDArray[np.bool_]

COVERED = 0.5
"""Part of a cell that a mask must cover to own it."""
SELF_QUANTILE = 0.25
"""So many of an example's places may be less alike to its others than what counts as alike."""
ALONE = 0.9
"""What counts as alike where the example is a single place."""
MOST_MATCHES = 40
"""Of more matches only the better half is kept, as Matcher does."""
SPREAD = 256
"""Places of an example that are matched, and that completeness is measured on."""
MOST_WANTED, MOST_OTHERS = 2048, 16384
"""Places that are remembered; of more, a sample that is the same for the same places."""
RIVALS = 1024
"""Places of what the example is not that take part in the way back: those most like what was found."""
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Example:
    """A picture's features with what is known of it.

    Attributes:
        features: (h, w, d) float32 unit vectors.
        wanted: (h, w) bool: shows the wanted thing.
        unknown: (h, w) bool: says nothing, such as cells on a border.
        unwanted: (h, w) bool: shows what is not wanted, however alike.
    """

    features: Vectors
    wanted: Cells
    unknown: Cells
    unwanted: Cells


@dataclass(frozen=True, eq=False)
class Likeness:
    """What examples teach.

    Attributes:
        wanted: (n, d) float32 places of the wanted thing, n > 0.
        others: (m, d) float32 places of what it is not.
        alike: Cosine from which a place is as alike to the example as the example is to itself.
        level: Cosine from which a place is counted, halfway from the others to ``alike``.
    """

    wanted: Vectors
    others: Vectors
    alike: float
    level: float

    def cells(self, features: Vectors) -> Cells:
        """(h, w) bool: the places of (h, w, d) features that are alike, and more so than to anything else."""
        near = _nearest(features, self.wanted)
        marked: Cells = (near >= self.level) & (near > _nearest(features, self.others))
        return marked

    def matches(self, places: Vectors) -> NDArray[np.int64]:
        """Positions of those of (k, d) places that match both ways, most alike first.

        Each place of the example is assigned to one of the places and back, both times at the best sum of cosines; a
        place stays if it comes back to the example and not to what it is not.
        """
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

        wanted = self.wanted[:SPREAD]
        cosines = wanted @ places.T
        _, there = linear_sum_assignment(cosines, maximize=True)
        rivals = np.argsort(-_nearest(self.others, places[there]), kind="stable")[:RIVALS]
        back = places[there] @ np.concatenate([wanted, self.others[rivals]]).T
        who, home = linear_sum_assignment(back, maximize=True)
        stay = there[who[home < len(wanted)]]
        order = stay[np.argsort(-cosines[:, stay].max(axis=0), kind="stable")]
        kept: NDArray[np.int64] = order[: len(order) // 2 if len(order) > MOST_MATCHES else len(order)]
        return kept

    def completeness(self, places: Vectors) -> float:
        """In [0, 1]: how much of the example (k, d) places show, each of its own places by the one most like it."""
        if not len(places):
            return 0.0
        best = _nearest(self.wanted[:SPREAD], places)
        return float(np.clip(best / max(self.alike, 1e-6), 0, 1).mean())


def learn(examples: Sequence[Example]) -> Likeness:
    """What examples teach; at least one of them has a wanted cell."""
    wanted = _sample(np.concatenate([example.features[example.wanted] for example in examples]), MOST_WANTED)
    alike = _self_likeness(wanted)
    nearness = [_nearest(example.features, wanted) for example in examples]
    rest = [~example.wanted & ~example.unknown & ~example.unwanted for example in examples]
    beside = np.concatenate([near[cells] for near, cells in zip(nearness, rest, strict=True)])
    usual = float(np.median(beside)) if len(beside) else alike
    # A hair below, for sums of products of equal vectors differ in their last digits.
    level = min((alike + usual) / 2, alike) - 1e-4
    others = [
        example.features[example.unwanted | (cells & (near < level))]
        for example, near, cells in zip(examples, nearness, rest, strict=True)
    ]
    return Likeness(wanted, _sample(np.concatenate(others), MOST_OTHERS), alike, level)


def surroundings_alike(example: Example, reach: int = 2) -> float:
    """Part of the cells just around an example that are as alike to it as it is to itself; 0 where there are none.

    High where a mask is shifted off its object, or is only a part of what looks the same.
    """
    wide = cv2.dilate(
        (example.wanted | example.unknown).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    )
    ring = (wide > 0) & ~example.wanted & ~example.unknown
    if not ring.any():
        return 0.0
    wanted = _sample(example.features[example.wanted], MOST_WANTED)
    return float((_nearest(example.features[ring], wanted) >= _self_likeness(wanted) - 1e-4).mean())


def owned(masks: Sequence[Mask], grid: tuple[int, int]) -> Cells:
    """(h, w) bool: the cells that masks own, at least one of each mask that is not empty."""
    cells = np.zeros(grid, dtype=np.bool_)
    for part in coverage(masks, grid):
        cells |= part >= min(COVERED, float(part.max())) if part.any() else False
    return cells


def touched(masks: Sequence[Mask], grid: tuple[int, int]) -> Cells:
    """(h, w) bool: the cells of which masks hold any part."""
    cells = np.zeros(grid, dtype=np.bool_)
    for part in coverage(masks, grid):
        cells |= part > 0
    return cells


def _self_likeness(wanted: Vectors) -> float:
    if len(wanted) < 2:
        return ALONE
    cosines = wanted @ wanted.T
    np.fill_diagonal(cosines, -1)
    return float(np.quantile(cosines.max(axis=1), SELF_QUANTILE))


def _sample(vectors: Vectors, most: int) -> Vectors:
    """At most so many of the rows, in an order of their own: what comes first changes neither sample nor draws."""
    digests = [blake2b(row.tobytes(), digest_size=8).digest() for row in vectors]
    sample: Vectors = vectors[sorted(range(len(vectors)), key=digests.__getitem__)[:most]]
    return sample


def _nearest(vectors: Vectors, references: Vectors) -> NDArray[np.float32]:
    """(...) highest cosine of (..., d) unit vectors with any of (n, d); -1 where there are none."""
    best = np.full(vectors.shape[:-1], -1, dtype=np.float32)
    for start in range(0, len(references), BLOCK):
        best = np.maximum(best, (vectors @ references[start : start + BLOCK].T).max(axis=-1))
    return best
