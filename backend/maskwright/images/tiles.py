"""Large images in pieces: a grid of haloed tiles over the whole, and a window around a prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maskwright.errors import InvalidInput

IntBox = tuple[int, int, int, int]
"""xyxy in whole pixels; x1 and y1 are just outside."""


@dataclass(frozen=True)
class Tile:
    """One piece of an image.

    Attributes:
        core: The part that this tile answers for; the cores of a grid cover every pixel exactly once.
        box: The part to look at: the core with its halo, inside the image.
    """

    core: IntBox
    box: IntBox


def tile_grid(size: tuple[int, int], tile: int, halo: int) -> tuple[Tile, ...]:
    """Cut an image into the fewest evenly spread tiles, row by row.

    Every box has sides of exactly ``tile`` pixels, or the image's where that is shorter. Neighbouring boxes overlap by
    at least ``2 * halo``; cores meet in the middle of the overlap, so each core keeps ``halo`` pixels of context on
    every side that is not the image's border.

    Args:
        size: (height, width) in pixels.
        tile: Side of a box in pixels.
        halo: Context in pixels around each core.

    Raises:
        InvalidInput: If ``size`` or ``tile`` is below 1, or ``halo`` is negative or not below half of ``tile``.
    """
    height, width = size
    if height < 1 or width < 1:
        raise InvalidInput(f"an image of {width} x {height} pixels cannot be tiled")
    if tile < 1 or halo < 0 or 2 * halo >= tile:
        raise InvalidInput(f"a tile of {tile} pixels with a halo of {halo} leaves nothing; halo must be below tile / 2")
    columns = _spans(width, tile, halo)
    return tuple(
        Tile((cx0, cy0, cx1, cy1), (bx0, by0, bx1, by1))
        for cy0, cy1, by0, by1 in _spans(height, tile, halo)
        for cx0, cx1, bx0, bx1 in columns
    )


def _spans(length: int, tile: int, halo: int) -> list[tuple[int, int, int, int]]:
    """(core start, core end, box start, box end) along one axis."""
    if length <= tile:
        return [(0, length, 0, length)]
    count = math.ceil((length - 2 * halo) / (tile - 2 * halo))
    starts = [i * (length - tile) // (count - 1) for i in range(count)]
    cuts = [0, *((starts[i] + tile + starts[i + 1]) // 2 for i in range(count - 1)), length]
    return [(cuts[i], cuts[i + 1], start, start + tile) for i, start in enumerate(starts)]


def crop_window(size: tuple[int, int], extent: tuple[float, float, float, float], tile: int) -> IntBox | None:
    """The window to encode for a prompt on a large image.

    Its sides are exactly ``tile`` pixels, or the image's where that is shorter. Where it may start is snapped to
    multiples of ``tile // 2`` (and the image's far border), so that clicks near each other share one window and its
    embedding: a click has at least ``tile // 4`` pixels of context on every side inside the image. An extent too long
    for a snapped window gets an unsnapped one.

    Args:
        size: (height, width) in pixels.
        extent: xyxy in pixels around everything that the prompt holds; parts outside the image are ignored.
        tile: Longest side of a window in pixels.

    Returns:
        xyxy in whole pixels, holding the extent; None if the extent is longer than ``tile``.
    """
    height, width = size
    x = _window_span(width, extent[0], extent[2], tile)
    y = _window_span(height, extent[1], extent[3], tile)
    return (x[0], y[0], x[1], y[1]) if x is not None and y is not None else None


def _window_span(length: int, low: float, high: float, tile: int) -> tuple[int, int] | None:
    if length <= tile:
        return 0, length
    first = math.floor(min(max(low, 0), length - 1))
    # The pixel under the highest coordinate belongs to the extent, unless only its left edge just fits.
    last = max(math.ceil(high), min(math.floor(high) + 1, first + tile))
    last = max(first + 1, min(last, length))
    earliest, latest = max(0, last - tile), min(first, length - tile)
    if earliest > latest:
        return None
    step = max(1, tile // 2)
    wanted = (first + last - tile) / 2
    snapped = min(max(round(wanted / step) * step, 0), length - tile)
    start = snapped if earliest <= snapped <= latest else round(min(max(wanted, earliest), latest))
    return start, start + tile
