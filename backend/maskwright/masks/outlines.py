"""Tracing the outlines of a mask along the edges of its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.masks.frames import Size, to_spans, transpose
from maskwright.masks.runs import Edges, combine

_ONLY_FIRST = (False, True, False, False)
_ONLY_SECOND = (False, False, True, False)


def outlines(edges: Edges, size: Size) -> list[list[NDArray[np.float64]]]:
    """The rings of every 8-connected part, in the order of their leftmost pixels.

    An outline is found from its vertical sides alone, the stretches between an inside and an outside pixel. A side
    runs up where the inside is to its right (it opens) and down where it is to its left (it closes). On each line
    between two rows the ends of sides, taken from left to right, are joined in pairs by the outline's horizontal
    sides, which says for every side which one follows it. Where two inside pixels touch by a corner only, the side
    that opens is taken first, which keeps the two in one ring.

    Args:
        edges: Column-major edges of the mask.
        size: Its (height, width).

    Returns:
        For every part its rings, the exterior first and then its holes: (N, 2) float64 xy corners.
    """
    if not len(edges):
        return []
    height = size[0]
    moved = edges + height
    opening = to_spans(combine([edges, moved], _ONLY_FIRST, (1, 2)), height)
    closing = to_spans(combine([edges, moved], _ONLY_SECOND, (1, 2)), height)
    x = np.concatenate([opening.columns, closing.columns])
    tops = np.concatenate([opening.tops, closing.tops])
    bottoms = np.concatenate([opening.bottoms, closing.bottoms])
    opens = np.arange(len(x)) < len(opening.columns)
    order = np.lexsort((tops, x))
    x, tops, bottoms, opens = x[order], tops[order], bottoms[order], opens[order]
    starts, ends = np.where(opens, bottoms, tops), np.where(opens, tops, bottoms)

    rings = _cycles(_following(x, starts, ends, opens))
    corners = np.stack([np.repeat(x, 2), np.stack([starts, ends], axis=1).reshape(-1)], axis=1).astype(np.float64)

    ring_of = np.empty(len(x), dtype=np.int64)
    for number, ring in enumerate(rings):
        ring_of[ring] = number
    first = np.array([ring[0] for ring in rings])
    enclosing = ring_of[_side_to_the_left(edges, size, x, tops, first)]

    parts: list[list[NDArray[np.float64]]] = []
    part_of: list[int] = []
    for number, ring in enumerate(rings):
        # The leftmost side of an exterior opens and that of a hole closes; rings come in the order of those sides.
        if opens[ring[0]]:
            part_of.append(len(parts))
            parts.append([])
        else:
            part_of.append(part_of[enclosing[number]])
        sides = np.array(ring)
        parts[part_of[-1]].append(corners[np.stack([2 * sides, 2 * sides + 1], axis=1).reshape(-1)])
    return parts


def _following(
    x: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], opens: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The side that follows each side around its ring."""
    n = len(x)
    order = np.lexsort((np.tile(~opens, 2), np.tile(x, 2), np.concatenate([starts, ends])))
    left, right = order[::2], order[1::2]  # numbers below n are starts, the others ends; each pair has one of both
    following = np.empty(n, dtype=np.int64)
    following[np.maximum(left, right) - n] = np.minimum(left, right)
    return following


def _cycles(following: NDArray[np.int64]) -> list[list[int]]:
    """The cycles of a permutation, each from its lowest number, in the order of these."""
    successor = following.tolist()
    cycles = []
    for first in range(len(successor)):
        cycle, item = [], first
        while successor[item] >= 0:
            cycle.append(item)
            successor[item], item = -1, successor[item]
        if cycle:
            cycles.append(cycle)
    return cycles


def _side_to_the_left(
    edges: Edges, size: Size, x: NDArray[np.int64], tops: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For some sides that close, the side where the run that they end begins; meaningless for sides that open."""
    height, width = size
    by_row = transpose(edges, size)
    rows = tops[first]
    begin = by_row[np.searchsorted(by_row, rows * width + x[first]) - 1]
    column = np.maximum(begin - rows * width, 0)  # a run that began in an earlier row enters this one at column 0
    sides: NDArray[np.int64] = np.searchsorted(x * height + tops, column * height + rows, side="right") - 1
    return sides
