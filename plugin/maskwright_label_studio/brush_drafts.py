"""Brush regions of drafts, which Label Studio stores as strokes and not as pixels.

While an annotation is not submitted, its browser keeps the brush's path (``touches`` of a region's value), drawn over
the ``rle`` of an earlier submission where there is one. On submission it strokes the paths on a canvas of the image's
size (``exportRLE`` in its ``utils/canvas.js``): round caps and joins, every pixel that is touched gets some alpha, and
an eraser takes away only those that it covers wholly. The pixels here follow that rule up to the browser's rounding: of
the 431 pixels of a recorded stroke, 11 at its outline come out differently.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks import Mask, Size

_MOST_DISTANCES = 1 << 31
_MOST_PIXELS = 1 << 30
_SHALLOW = 0.1
"""How many pixels deep a stroke must reach into a pixel for Chromium's antialiasing to give it alpha; measured."""


def add_touches(mask: Mask, touches: object) -> Mask:
    """A brush region's mask after its strokes.

    Args:
        mask: What it was before them.
        touches: Objects with ``type`` (``add`` or ``eraser``), ``relativePoints`` (x and y in turn, per cent of the
            image) and ``relativeStrokeWidth`` (per cent of the width).

    Raises:
        InvalidInput: If that is not their form.
        TooLarge: If the image or the strokes are larger than anybody could have drawn.
    """
    if not isinstance(touches, list):
        raise InvalidInput("the strokes of a brush draft ('touches') must be a list")
    if mask.height * mask.width > _MOST_PIXELS:
        raise TooLarge("a brush draft can be read on images of less than 2**30 pixels; submit the annotation")
    pixels: NDArray[np.bool_] = mask.to_array()
    for touch in touches:
        points, radius = _path(touch, mask.size)
        erase = touch.get("type") == "eraser"
        left, top, right, bottom = _frame(points, radius, mask.size)
        if left >= right or top >= bottom:
            continue
        if (right - left + 1) * (bottom - top + 1) * len(points) > _MOST_DISTANCES:
            raise TooLarge("a stroke of a brush draft has too many points; submit the annotation and export it again")
        inside = (_covered if erase else _touched)(points, radius, (left, top, right, bottom))
        view = pixels[top:bottom, left:right]
        view[inside] = not erase
    return Mask.from_array(pixels)


def _path(touch: object, size: Size) -> tuple[NDArray[np.float64], float]:
    """(N, 2) float64 xy points in pixels and half the stroke's width."""
    height, width = size
    try:
        if not isinstance(touch, Mapping):
            raise TypeError
        points = np.array(touch["relativePoints"], dtype=np.float64).reshape(-1, 2) * (width / 100, height / 100)
        radius = float(touch["relativeStrokeWidth"]) * width / 200
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput("a stroke of a brush draft needs 'relativePoints' and 'relativeStrokeWidth'") from error
    if not len(points) or not np.isfinite(points).all() or not 0 <= radius <= max(size):
        raise InvalidInput("a stroke of a brush draft needs points and a width that are finite numbers")
    return points, radius


def _frame(points: NDArray[np.float64], radius: float, size: Size) -> tuple[int, int, int, int]:
    """The whole pixels that a stroke may touch: left, top, right, bottom."""
    low = np.clip(np.floor(points.min(axis=0) - radius - 1), 0, size[::-1]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + radius + 1), 0, size[::-1]).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _touched(points: NDArray[np.float64], radius: float, frame: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Pixels that the stroke reaches into, (h, w) bool."""
    left, top, right, bottom = frame
    distance, reach = _distances(points, _steps(left, right) + 0.5, _steps(top, bottom) + 0.5)
    inside: NDArray[np.bool_] = distance < radius + reach - _SHALLOW
    return inside


def _covered(points: NDArray[np.float64], radius: float, frame: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Pixels that lie in the stroke with all four corners, (h, w) bool."""
    left, top, right, bottom = frame
    distance, _ = _distances(points, _steps(left, right + 1), _steps(top, bottom + 1))
    corner = distance <= radius
    inside: NDArray[np.bool_] = corner[:-1, :-1] & corner[:-1, 1:] & corner[1:, :-1] & corner[1:, 1:]
    return inside


def _steps(start: int, stop: int) -> NDArray[np.float64]:
    return np.arange(start, stop, dtype=np.float64)


def _distances(
    points: NDArray[np.float64], xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per place (y, x): the distance to the path, and how far a pixel around the place reaches towards it."""
    nearest: NDArray[np.float64] = np.full((len(ys), len(xs)), np.inf)
    reach = np.full_like(nearest, 0.5)
    x, y = xs[None, :], ys[:, None]
    starts, ends = points[: max(len(points) - 1, 1)], points[-max(len(points) - 1, 1) :]
    for (x0, y0), (dx, dy) in zip(starts, ends - starts, strict=True):
        length = dx * dx + dy * dy
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / length, 0, 1) if length else 0.0
        across, down = np.abs(x - x0 - along * dx), np.abs(y - y0 - along * dy)
        distance = np.hypot(across, down)
        better = distance < nearest
        nearest[better] = distance[better]
        with np.errstate(invalid="ignore"):
            reach[better] = np.where(distance > 0, (across + down) / (2 * distance), 0.5)[better]
    return nearest, reach
