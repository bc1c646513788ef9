"""Measures of segments: panoptic quality, and answers to phrases. On run lengths.

Panoptic quality (Kirillov et al., CVPR 2019): PQ = (sum of IoU over matches) / (TP + FP / 2 + FN / 2), which is the
mean IoU of the matches (SQ) times how many segments have a match (RQ), per class and then the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.masks.pairs import pairwise_intersection
from maskwright.models.dense.pooling import Segment, compete
from maskwright.regions import Region

MATCHED = 0.5
"""Segments that share no pixel have at most one counterpart with a higher IoU."""


@dataclass(frozen=True, eq=False)
class PanopticQuality:
    """Of C classes; NaN where a class has no segment on either side.

    Attributes:
        quality: (C,) PQ.
        segmentation: (C,) SQ, mean IoU of the matches; NaN without any.
        recognition: (C,) RQ.
    """

    quality: NDArray[np.float64]
    segmentation: NDArray[np.float64]
    recognition: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Mean PQ over the classes that are there; NaN without any."""
        known = self.quality[~np.isnan(self.quality)]
        return float(known.mean()) if len(known) else float("nan")


@dataclass(eq=False)
class PanopticTally:
    """Counts matches over images.

    Attributes:
        classes: C.
    """

    classes: int
    _overlap: NDArray[np.float64] = field(init=False)
    _counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._overlap = np.zeros(self.classes)
        self._counts = np.zeros((3, self.classes), dtype=np.int64)

    def add(self, truth: Sequence[Segment], found: Sequence[Segment]) -> None:
        """Count an image.

        What no true segment holds is void: it takes no part in a found segment's IoU, and a found segment that mostly
        lies there is neither right nor wrong.

        Args:
            truth: Segments that share no pixel.
            found: The same.

        Raises:
            InvalidInput: If the masks are not all of one size.
        """
        both = pairwise_intersection([one.mask for one in truth], [one.mask for one in found])
        known = both.sum(axis=0)
        either = np.array([[one.mask.area] for one in truth]).reshape(-1, 1) + known - both
        alike = np.array([[a.label == b.label for b in found] for a in truth], dtype=bool).reshape(both.shape)
        iou = np.where(alike, both / np.maximum(either, 1), 0)
        matched = iou > MATCHED
        for row, one in enumerate(truth):
            self._counts[0 if matched[row].any() else 2, one.label] += 1
            self._overlap[one.label] += iou[row][matched[row]].sum()
        for column, one in enumerate(found):
            if not matched[:, column].any() and 2 * known[column] >= one.mask.area:
                self._counts[1, one.label] += 1

    def quality(self) -> PanopticQuality:
        """What it comes to."""
        right, wrong, missed = self._counts
        there, any_right = right + wrong + missed > 0, right > 0
        weight = np.where(there, right + (wrong + missed) / 2, np.nan)
        return PanopticQuality(
            self._overlap / weight, np.where(any_right, self._overlap / np.maximum(right, 1), np.nan), right / weight
        )


def true_segments(regions: Sequence[Region], names: Sequence[str], countable: Sequence[bool]) -> tuple[Segment, ...]:
    """What people drew, each pixel of one segment: of overlapping regions the smallest, as a sign before a building.

    Args:
        regions: Of an image; those of other classes, or of none, leave their pixels free.
        names: Of the classes.
        countable: For each class whether its regions are objects; those of the others are one segment for each class.
    """
    found = segments_of(regions, names)
    apart = (
        compete([replace(one, score=-one.mask.area) for one in found], regions[0].mask.size, kept=0) if found else ()
    )
    things = [one for one in apart if countable[one.label]]
    areas: dict[int, Segment] = {}
    for one in apart:
        if not countable[one.label]:
            known = areas.get(one.label)
            areas[one.label] = one if known is None else replace(known, mask=known.mask | one.mask)
    return (*things, *areas.values())


def segments_of(regions: Sequence[Region], names: Sequence[str]) -> list[Segment]:
    """Regions of these classes as segments."""
    numbers = {name: number for number, name in enumerate(names)}
    return [Segment(one.mask, numbers[one.label], one.score) for one in regions if one.label in numbers]


@dataclass(frozen=True)
class ReferringQuality:
    """Answers to phrases.

    Attributes:
        cumulative_iou: Sum of intersections over sum of unions (cIoU, oIoU): large objects weigh more.
        mean_iou: Mean IoU of the answers (gIoU); nothing where nothing is meant counts 1.
        precision: Share of the answers with an IoU above .5 (precision@.5); the same pairs count.
        none_accuracy: Share of the phrases that mean nothing to which nothing was answered; NaN without such phrases.
    """

    cumulative_iou: float
    mean_iou: float
    precision: float
    none_accuracy: float


def referring_quality(pairs: Sequence[tuple[Mask, Mask]]) -> ReferringQuality:
    """Measure (true, found) masks, one pair a phrase; all NaN without any.

    Raises:
        InvalidInput: If the masks of a pair are not of one size.
    """
    both = np.array([true.intersection_area(found) for true, found in pairs], dtype=np.int64)
    either = np.array([true.area + found.area for true, found in pairs], dtype=np.int64) - both
    nothing = [found.is_empty for true, found in pairs if true.is_empty]
    ious = np.where(either > 0, both / np.maximum(either, 1), 1)
    return ReferringQuality(
        _share(int(both.sum()), int(either.sum())),
        _share(float(ious.sum()), len(pairs)),
        _share(int((ious > MATCHED).sum()), len(pairs)),
        _share(sum(nothing), len(nothing)),
    )


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
