"""N x N cells laid over an image: which pixels each holds, how much of it a mask fills, and masks made of whole cells.

Pixel y of a frame of H rows lies in cell row ``floor((y + 1/2) * N / H)``, and the middle of cell row c is in pixel
``floor((c + 1/2) * H / N)``: nearest-neighbour resizing by centres, to the grid and back. Everything is worked
out from run lengths; no image is made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.masks.frames import Size, Spans, expand, from_spans, to_spans
from maskwright.masks.mask import Mask


def cell_bounds(length: int, side: int) -> NDArray[np.int64]:
    """(side + 1,) int64: the first pixel of each cell along an axis of ``length`` pixels, then ``length``.

    Where an axis has fewer pixels than cells, some cells hold none.
    """
    edges = 2 * length * np.arange(side + 1, dtype=np.int64)
    bounds: NDArray[np.int64] = -((side - edges) // (2 * side))
    return bounds


def cell_middles(length: int, side: int) -> NDArray[np.int64]:
    """(side,) int64: the pixel that holds the middle of each cell along an axis of ``length`` pixels."""
    middles: NDArray[np.int64] = (2 * np.arange(side, dtype=np.int64) + 1) * length // (2 * side)
    return middles


def cell_sizes(size: Size, side: int) -> NDArray[np.int64]:
    """(side, side) int64: how many pixels of an (H, W) frame each cell holds."""
    rows, columns = (np.diff(cell_bounds(length, side)) for length in size)
    sizes: NDArray[np.int64] = np.outer(rows, columns)
    return sizes


def cells_by_middle(mask: Mask, side: int) -> NDArray[np.bool_]:
    """(side, side) bool: whether the pixel in the middle of each cell is inside."""
    rows, columns = (cell_middles(length, side) for length in mask.size)
    if mask.runs_by_column:
        edges, positions = mask.edges, columns * mask.height + rows[:, None]
    else:
        edges, positions = mask.row_edges, rows[:, None] * mask.width + columns
    inside: NDArray[np.bool_] = np.searchsorted(edges, positions.reshape(-1), side="right") % 2 == 1
    return inside.reshape(side, side)


def cell_areas(mask: Mask, side: int) -> NDArray[np.int64]:
    """(side, side) int64: how many pixels of the mask lie in each cell."""
    if mask.runs_by_column:
        return _areas(mask.edges, mask.size, side).T
    return _areas(mask.row_edges, mask.size[::-1], side)


def _areas(edges: NDArray[np.int64], size: Size, side: int) -> NDArray[np.int64]:
    """Areas with the lines of the runs along the first axis; ``size`` is (length of a line, number of lines)."""
    lines, starts, ends = to_spans(edges, size[0])
    bounds = cell_bounds(size[0], side)
    first = np.searchsorted(bounds, starts, side="right") - 1
    last = np.searchsorted(bounds, ends - 1, side="right") - 1
    owner, along = expand(first, last - first + 1)
    pixels = np.minimum(ends[owner], bounds[along + 1]) - np.maximum(starts[owner], bounds[along])
    across = (2 * lines[owner] + 1) * side // (2 * size[1])
    # Sums of whole numbers in float64 are exact up to 2**53, far above the largest frame.
    areas = np.bincount(across * side + along, weights=pixels, minlength=side * side)
    return areas.astype(np.int64).reshape(side, side)


def mask_of_cells(cells: NDArray[np.bool_], size: Size) -> Mask:
    """The pixels of an (H, W) frame that lie in the marked ones of (side, side) cells."""
    side = cells.shape[0]
    framed = np.zeros((side, side + 2), dtype=np.int8)
    framed[:, 1:-1] = cells.T
    steps = np.diff(framed, axis=1)
    columns, tops = np.nonzero(steps == 1)
    bottoms = np.nonzero(steps == -1)[1]
    rows, across = cell_bounds(size[0], side), cell_bounds(size[1], side)
    owner, lines = expand(across[columns], across[columns + 1] - across[columns])
    order = np.argsort(lines, kind="stable")
    owner, lines = owner[order], lines[order]
    spans = Spans(lines, rows[tops[owner]], rows[bottoms[owner]])
    return Mask(size, from_spans(spans, size[0]))
