"""One closed ring for a mask of several parts with holes: loops joined by seams of no width.

A format that has one ring per object can still hold holes: go around the outside, cross to the hole, around it, and
back along the same way. Filled by the even-odd rule, the way that is walked twice cancels. Rings here run through the
centres of pixels, and whoever fills them draws their lines as well (``cv2.fillPoly`` does), so a seam costs nothing
where it crosses the object and adds a line of pixels where it crosses the background, as between two parts.

A hole is joined to what lies to its left by a straight walk through the object along a row: nothing is added. Parts are
joined by a minimum spanning tree of their distances, whose candidates are the places where the regions of pixels
nearest to one part and to another touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import minimum_spanning_tree  # type: ignore[import-untyped]

Points = NDArray[np.int64]
"""(N, 2) int64 xy, columns and rows of pixels."""

_Seam = tuple[int, int]
"""Positions in the list of all loops' points, one in each of the loops that it joins."""


def ring(inside: NDArray[np.bool_]) -> Points:
    """The ring of a mask, through the centres of its border pixels.

    Args:
        inside: (h, w) bool with at least one pixel inside.

    Returns:
        (N, 2) int64 columns and rows, N >= 3; a mask of one or two pixels repeats them. The last joins the first.
    """
    picture = inside.astype(np.uint8)
    contours, tree = cv2.findContours(picture, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    loops = [np.asarray(contour, dtype=np.int64).reshape(-1, 2) for contour in contours]
    if len(loops) == 1:
        return _corners(loops[0])
    parents = tree[0][:, 3].tolist()
    # Within a part the outside comes first, then holes from left to right: a hole is joined to an earlier loop.
    outer = {i: rank for rank, i in enumerate(i for i, parent in enumerate(parents) if parent < 0)}
    part = [outer[i if parents[i] < 0 else parents[i]] for i in range(len(loops))]
    order = sorted(range(len(loops)), key=lambda i: (part[i], parents[i] >= 0, int(loops[i][:, 0].min())))
    loops, part, holes = [loops[i] for i in order], [part[i] for i in order], [parents[i] >= 0 for i in order]
    points = np.concatenate(loops)
    firsts = np.cumsum([0, *(len(loop) for loop in loops)])
    finder = _Finder(points, inside.shape[1])
    seams = [_hole_seam(inside, points, firsts, i, finder) for i, is_hole in enumerate(holes) if is_hole]
    if len(outer) > 1:
        seams += _part_seams(inside, points, np.repeat(part, np.diff(firsts)), finder)
    return _corners(np.concatenate(list(_walk(points, firsts, seams))))


class _Finder:
    """Where a pixel stands in the list of points; the first place if it stands there several times."""

    def __init__(self, points: Points, width: int) -> None:
        self._width = width
        codes = points[:, 1] * width + points[:, 0]
        self._order = np.argsort(codes, kind="stable")
        self._codes = codes[self._order]

    def __call__(self, x: NDArray[np.int64] | int, y: NDArray[np.int64] | int) -> NDArray[np.int64]:
        at: NDArray[np.int64] = self._order[np.searchsorted(self._codes, np.asarray(y) * self._width + x)]
        return at


def _hole_seam(
    inside: NDArray[np.bool_], points: Points, firsts: NDArray[np.int64], loop: int, finder: _Finder
) -> _Seam:
    """From a leftmost point of a hole's loop, left through the object to the next background or the picture's edge.

    The pixel before it lies on a loop that reaches further left, or is the outside: an earlier one in any case.
    """
    start = int(firsts[loop]) + int(np.argmin(points[firsts[loop] : firsts[loop + 1], 0]))
    x, y = points[start].tolist()
    background = np.flatnonzero(~inside[y, :x])
    return start, int(finder(int(background[-1]) + 1 if len(background) else 0, y))


def _part_seams(inside: NDArray[np.bool_], points: Points, part: NDArray[np.int64], finder: _Finder) -> list[_Seam]:
    """Shortest ways between parts that together join them all."""
    height, width = inside.shape
    outside = (~inside).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(int(labels.max()) + 1, dtype=np.int64)  # by label: the pixel of the object that it stands for
    nearest[labels[inside]] = np.flatnonzero(inside)
    nearest = nearest[labels]
    # Pixels inside a part are nearest to themselves and need not lie on its outline; they meet no other part.
    border = np.full(height * width, -1, dtype=np.int64)
    border[points[:, 1] * width + points[:, 0]] = part
    pairs = [
        np.stack([one.reshape(-1), other.reshape(-1)])
        for one, other in ((nearest[:, :-1], nearest[:, 1:]), (nearest[:-1], nearest[1:]))
    ]
    one, other = np.concatenate(pairs, axis=1)
    meet = (border[one] >= 0) & (border[other] >= 0) & (border[one] != border[other])
    one, other = one[meet], other[meet]
    squared = (one // width - other // width) ** 2 + (one % width - other % width) ** 2
    low, high = np.minimum(border[one], border[other]), np.maximum(border[one], border[other])
    order = np.lexsort((squared, high, low))
    one, other, low, high, squared = (v[order] for v in (one, other, low, high, squared))
    first = np.append(True, (low[1:] != low[:-1]) | (high[1:] != high[:-1]))
    one, other, low, high, squared = (v[first] for v in (one, other, low, high, squared))
    parts = int(part.max()) + 1
    tree = minimum_spanning_tree(coo_array((squared.astype(float), (low, high)), shape=(parts, parts)).tocsr()).tocoo()
    chosen = np.searchsorted(low * parts + high, tree.row.astype(np.int64) * parts + tree.col)
    ends = [finder(at % width, at // width).tolist() for at in (one[chosen], other[chosen])]
    return list(zip(*ends, strict=True))


def _walk(points: Points, firsts: NDArray[np.int64], seams: list[_Seam]) -> Iterator[Points]:
    """Around all loops, from one to the other and back along the seams, which form a tree."""
    loop_of = np.searchsorted(firsts, np.array(seams, dtype=np.int64).reshape(-1), side="right") - 1
    ends: list[list[_Seam]] = [[] for _ in range(len(firsts) - 1)]
    for (a, b), (of_a, of_b) in zip(seams, loop_of.reshape(-1, 2).tolist(), strict=True):
        ends[of_a].append((a, b))
        ends[of_b].append((b, a))

    def around(entry: int, came_from: int) -> Iterator[Points | _Seam]:
        """The points of the loop from ``entry`` back to ``entry``, and the seams where they leave it."""
        loop = int(np.searchsorted(firsts, entry, side="right")) - 1
        first, n = int(firsts[loop]), int(firsts[loop + 1] - firsts[loop])
        own = np.arange(entry, entry + n + 1)
        cycle = points[first + (own - first) % n]
        leaving = sorted(
            ((here - entry) % n, there) for here, there in ends[loop] if (here, there) != (entry, came_from)
        )
        at = 0
        for offset, there in leaving:
            yield cycle[at : offset + 1]
            yield entry + offset if entry + offset < first + n else entry + offset - n, there
            at = offset
        yield cycle[at:]

    stack: list[Iterator[Any]] = [around(0, -1)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
        elif isinstance(step, tuple):
            here, there = step
            stack.append(around(there, here))
        else:
            yield step


def _corners(path: Points) -> Points:
    """The path without repeated points and without points in the middle of a straight line, but at least 3 points."""
    moved = (path != np.roll(path, 1, axis=0)).any(axis=1)
    path = path[moved] if moved.any() else path[:1]
    if len(path) > 2:
        back, ahead = path - np.roll(path, 1, axis=0), np.roll(path, -1, axis=0) - path
        straight = (back[:, 0] * ahead[:, 1] == back[:, 1] * ahead[:, 0]) & ((back * ahead).sum(axis=1) > 0)
        path = path[~straight]
    return np.concatenate([path, np.repeat(path[-1:], max(0, 3 - len(path)), axis=0)])
