"""Many masks against many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks.mask import Mask
from maskwright.masks.runs import covered


def pairwise_intersection(first: Sequence[Mask], second: Sequence[Mask]) -> NDArray[np.int64]:
    """How many pixels each mask of the one list shares with each of the other.

    Only pairs whose boxes meet are looked at.

    Args:
        first: M masks.
        second: N masks of the same size.

    Returns:
        (M, N) int64 areas in pixels.

    Raises:
        InvalidInput: If the masks are not all of one size.
    """
    if len({mask.size for mask in (*first, *second)}) > 1:
        raise InvalidInput("masks of different sizes do not go together")
    areas = np.zeros((len(first), len(second)), dtype=np.int64)
    if not areas.size:
        return areas
    height, width = first[0].size
    edges = [mask.edges for mask in first]
    boxes = np.array([mask.box for mask in first])
    # The edges of all masks on one increasing scale, to find for all of them at once which runs lie in some columns.
    behind = height * width + 1
    scale = np.concatenate([e + m * behind for m, e in enumerate(edges)])
    offsets = np.cumsum([0, *map(len, edges)])[:-1]
    for n, other in enumerate(second):
        left, top, right, bottom = other.box
        meets = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
        near = np.flatnonzero(meets)
        columns = np.array([left, right], dtype=np.int64)[:, None] * height
        begin, end = np.searchsorted(scale, columns + near * behind) - offsets[near]
        begin, end = begin & ~1, (end + 1) & ~1  # whole runs
        near, begin, end = near[begin < end], begin[begin < end], end[begin < end]
        if len(near):
            parts = [edges[m][b:e] for m, b, e in zip(near.tolist(), begin.tolist(), end.tolist(), strict=True)]
            reached = covered(other.edges, np.concatenate(parts))
            runs = (end - begin) // 2
            areas[near, n] = np.add.reduceat(reached[1::2] - reached[::2], np.cumsum(runs) - runs)
    return areas


def pairwise_iou(first: Sequence[Mask], second: Sequence[Mask]) -> NDArray[np.float64]:
    """Intersection over union of each mask of the one list with each of the other; 0 for two empty masks.

    Args:
        first: M masks.
        second: N masks of the same size.

    Returns:
        (M, N) float64 in [0, 1].

    Raises:
        InvalidInput: If the masks are not all of one size.
    """
    both = pairwise_intersection(first, second)
    areas = [np.array([mask.area for mask in masks], dtype=np.int64) for masks in (first, second)]
    either = areas[0][:, None] + areas[1][None, :] - both
    iou: NDArray[np.float64] = both / np.maximum(either, 1)
    return iou
