"""Which objects of several people are the same object: by overlap, each at most once per person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import pairwise_iou
from maskwright.regions import Region

MATCH_IOU = 0.5
_SAME_CLASS = 1e-6
"""Bonus that only decides between pairings of equal overlap."""

Pair = tuple[int, int, float]
"""Number of an object of the first, of the second person, and their IoU."""


@dataclass(frozen=True)
class Matching:
    """Objects of several people put together.

    Attributes:
        pairs: By (person, other person), numbers with the first below the second: their matched objects.
        groups: Each a mapping from person to the number of that person's object. Every object is in exactly one group,
            alone if nobody else drew it. In the order of drawing: by the mean place in their drawers' lists.
    """

    pairs: dict[tuple[int, int], list[Pair]]
    groups: list[dict[int, int]]


def match_pair(first: Sequence[Region], second: Sequence[Region]) -> list[Pair]:
    """Pairs of objects with IoU of at least 0.5 that together overlap most (Hungarian algorithm).

    Classes do not matter, but where pairings overlap equally the one with equal classes is taken.

    Raises:
        InvalidInput: If the masks are not all of one size.
    """
    if not first or not second:
        return []
    iou = pairwise_iou([region.mask for region in first], [region.mask for region in second])
    near = iou >= MATCH_IOU
    if (near.sum(axis=0) <= 1).all() and (near.sum(axis=1) <= 1).all():
        rows, columns = np.nonzero(near)
    else:
        rows, columns = _assigned(iou, near, first, second)
    return [(int(i), int(j), float(iou[i, j])) for i, j in zip(rows, columns, strict=True)]


def _assigned(
    iou: NDArray[np.float64], near: NDArray[np.bool_], first: Sequence[Region], second: Sequence[Region]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    same = np.array([[a.label == b.label for b in second] for a in first])
    worth = np.where(near, iou + _SAME_CLASS * same, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    kept = near[rows, columns]
    return rows[kept], columns[kept]


def match(people: Sequence[Sequence[Region]]) -> Matching:
    """Match every two people, then join the pairs to groups, best overlap first.

    A pair is joined unless that would put two objects of one person into a group, so the order of the people does not
    matter.

    Args:
        people: The objects of each person in the order of drawing, masks of one size.

    Raises:
        InvalidInput: If the masks are not all of one size.
    """
    numbers = range(len(people))
    pairs = {(a, b): match_pair(people[a], people[b]) for a in numbers for b in numbers if a < b}
    group_of = {(person, i): {person: i} for person in numbers for i in range(len(people[person]))}
    joins = sorted((-iou, a, i, b, j) for (a, b), found in pairs.items() for i, j, iou in found)
    for _, a, i, b, j in joins:
        one, other = group_of[a, i], group_of[b, j]
        if one is other or one.keys() & other.keys():
            continue
        one.update(other)
        for member in other.items():
            group_of[member] = one
    groups = {id(group): dict(sorted(group.items())) for group in group_of.values()}

    def place(group: dict[int, int]) -> tuple[float, list[tuple[int, int]]]:
        return sum(i / len(people[p]) for p, i in group.items()) / len(group), list(group.items())

    return Matching(pairs, sorted(groups.values(), key=place))
