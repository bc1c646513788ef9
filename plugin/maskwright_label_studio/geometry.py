"""Label Studio's geometry in percent of the image, and ours in pixels.

``x`` and ``width`` are percent of the width, ``y`` and ``height`` of the height. A rectangle turns clockwise by
``rotation`` degrees around its first corner (x, y), an ellipse around its centre (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

_ALONG_X = frozenset({"x", "width", "radiusX"})
_ELLIPSE_VERTICES = 128
Points = NDArray[np.float64]


def number(value: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """The finite number under ``key`` of a region's value.

    Raises:
        InvalidInput: If it is missing without a default, or not a finite number.
    """
    found = value.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise InvalidInput(f"a region's value needs a number under {key!r}")
    if abs(found) > 1e9:
        raise InvalidInput(f"the number under {key!r} of a region's value is out of range")
    return float(found)


def to_pixels(value: Mapping[str, Any], keys: Sequence[str], size: tuple[int, int]) -> tuple[float, ...]:
    """Numbers under ``keys`` in pixels of an image of ``size`` (h, w)."""
    height, width = size
    return tuple(number(value, key) * (width if key in _ALONG_X else height) / 100 for key in keys)


def rectangle_corners(value: Mapping[str, Any], size: tuple[int, int]) -> Points:
    """(4, 2) float64 xy of a rectangle's corners in pixels, clockwise from (x, y)."""
    x, y, width, height = to_pixels(value, ("x", "y", "width", "height"), size)
    offsets = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    return np.array([x, y]) + _turned(offsets, number(value, "rotation", 0))


def ellipse_outline(value: Mapping[str, Any], size: tuple[int, int]) -> Points:
    """(128, 2) float64 xy on an ellipse in pixels."""
    x, y, radius_x, radius_y = to_pixels(value, ("x", "y", "radiusX", "radiusY"), size)
    angles = np.linspace(0, 2 * math.pi, _ELLIPSE_VERTICES, endpoint=False)
    offsets = np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)
    return np.array([x, y]) + _turned(offsets, number(value, "rotation", 0))


def _turned(offsets: Points, degrees: float) -> Points:
    # With y pointing down, the usual counter-clockwise matrix turns clockwise on the screen.
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: Points = offsets @ np.array([(cosine, sine), (-sine, cosine)])
    return turned
