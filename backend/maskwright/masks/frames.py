"""Runs in two dimensions: the same pixels seen from another frame.

Positions in a frame of height h and width w run down the columns, as in COCO's run lengths: pixel (row, column) is at
``column * h + row``. Every function here works on edges (see :mod:`maskwright.masks.runs`) and never makes pixels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks.runs import Edges, cancel

Size = tuple[int, int]
"""Height and width in pixels."""

MOST_PIXELS = 2**31 - 1
"""Bound on height times width, so that positions and their sums stay far from the end of int64."""


def checked_size(size: Any) -> Size:
    """Height and width as Python ints.

    Raises:
        InvalidInput: If they are not two whole numbers of at least 1.
        TooLarge: If the frame has more than ``MOST_PIXELS`` pixels.
    """
    try:
        height, width = (int(v) for v in size)
        exact = [height, width] == list(size)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput("a mask's size is [height, width] in whole pixels") from error
    if not exact or height < 1 or width < 1:
        raise InvalidInput("a mask's size is [height, width] in whole pixels, at least 1 each")
    if height * width > MOST_PIXELS:
        raise TooLarge(f"a mask can have at most {MOST_PIXELS} pixels, which its size exceeds")
    return height, width


class Spans(NamedTuple):
    """Runs cut at the ends of columns: rows [top, bottom) of a column are inside.

    Attributes:
        columns: (s,) int64, not decreasing.
        tops: (s,) int64 first row inside.
        bottoms: (s,) int64 first row no longer inside, above ``tops``.
    """

    columns: NDArray[np.int64]
    tops: NDArray[np.int64]
    bottoms: NDArray[np.int64]


def expand(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Count up from every start.

    Args:
        starts: (m,) int64.
        lengths: (m,) int64, how many values to count from each start.

    Returns:
        The index in [0, m) and the value for each of the ``lengths.sum()`` counts.
    """
    owner = np.repeat(np.arange(len(starts)), lengths)
    offset = starts - (np.cumsum(lengths) - lengths)
    return owner, np.arange(len(owner), dtype=np.int64) + offset[owner]


def to_spans(edges: Edges, height: int) -> Spans:
    """Cut runs at the ends of columns."""
    starts, ends = edges[::2], edges[1::2]
    first, last = starts // height, (ends - 1) // height
    if (first == last).all():
        return Spans(first, starts - first * height, ends - first * height)
    owner, columns = expand(first, last - first + 1)
    base = columns * height
    tops, bottoms = np.maximum(starts[owner] - base, 0), np.minimum(ends[owner] - base, height)
    return Spans(columns, tops, bottoms)


def from_spans(spans: Spans, height: int) -> Edges:
    """Join spans into runs; ``height`` is the frame's. Spans that overlap cancel where they do."""
    positions = np.empty(2 * len(spans.columns), dtype=np.int64)
    base = spans.columns * height
    positions[::2], positions[1::2] = base + spans.tops, base + spans.bottoms
    return cancel(positions)


def transpose(edges: Edges, size: Size) -> Edges:
    """The edges of the transposed frame, that is: from runs down the columns to runs along the rows.

    Seen along a row, a pixel is an edge where it differs from its left neighbour. Those pixels are the mask xor the
    mask moved by one column, which in column order is a shift by the height. Sorting them by row first gives the
    answer, with time and memory by the length of the outline.

    Args:
        edges: Edges in a frame of ``size`` (height, width).
        size: The frame before. Apply again with the size swapped to go back.

    Returns:
        Edges in row-major positions ``row * width + column``.
    """
    height, width = size
    changes = cancel(np.concatenate([edges, edges + height]))
    _, positions = expand(changes[::2], changes[1::2] - changes[::2])
    columns = positions // height
    # A run that ends at the right border has its edge in column `width`: the first pixel of the next row, as it should.
    return cancel((positions - columns * height) * width + columns)


def reframe(edges: Edges, size: Size, new_size: Size, offset: tuple[int, int]) -> Edges:
    """Cut from, or place into, another frame; what lies outside of it is lost.

    Args:
        edges: Edges in a frame of ``size``.
        size: (height, width) before.
        new_size: (height, width) after.
        offset: (x, y) of the old frame's first pixel in the new frame; may be negative.
    """
    height, width = new_size
    x, y = offset
    columns, tops, bottoms = to_spans(edges, size[0])
    columns = columns + x
    tops, bottoms = np.clip(tops + y, 0, height), np.clip(bottoms + y, 0, height)
    kept = (columns >= 0) & (columns < width) & (tops < bottoms)
    return from_spans(Spans(columns[kept], tops[kept], bottoms[kept]), height)


def bounds(edges: Edges, height: int) -> tuple[int, int, int, int]:
    """Tight (left, top, right, bottom), the last two exclusive; all 0 where nothing is inside."""
    if not len(edges):
        return 0, 0, 0, 0
    starts, ends = edges[::2], edges[1::2]
    first, last = starts // height, (ends - 1) // height
    left, right = int(first[0]), int(last[-1]) + 1
    if (first != last).any():  # a run that turns into the next column touches the frame's bottom and top
        return left, 0, right, height
    return left, int((starts - first * height).min()), right, int((ends - first * height).max())


def eroded(edges: Edges, size: Size, distance: int) -> Edges:
    """Pixels whose whole square neighbourhood of (2 * distance + 1) pixels a side is inside; beyond the frame is not.

    The square is the sum of a vertical and a horizontal segment, so runs are trimmed at both ends, first down the
    columns, then along the rows.
    """
    for _ in range(2):
        columns, tops, bottoms = to_spans(edges, size[0])
        tops, bottoms = tops + distance, bottoms - distance
        kept = tops < bottoms
        edges = from_spans(Spans(columns[kept], tops[kept], bottoms[kept]), size[0])
        edges, size = transpose(edges, size), (size[1], size[0])
    return edges
