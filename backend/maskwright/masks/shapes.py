"""Shapes that people draw: ellipses and turned rectangles. Angles turn clockwise in an image, where y runs down."""

from __future__ import annotations

import math

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.masks.frames import Size, Spans, from_spans
from maskwright.masks.polygons import Polygon
from maskwright.masks.runs import EMPTY, Edges


def rotated_rectangle(cx: float, cy: float, width: float, height: float, angle_deg: float) -> Polygon:
    """The four corners of a rectangle turned around its centre.

    Args:
        cx: Centre, x in pixels.
        cy: Centre, y in pixels.
        width: Along the rectangle's own x axis, in pixels.
        height: Along its own y axis.
        angle_deg: Clockwise turn.

    Raises:
        InvalidInput: If a number is not finite.
    """
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    corners = np.array([(-width, -height), (width, -height), (width, height), (-width, height)]) / 2
    return Polygon(corners @ np.array([(cos, sin), (-sin, cos)]) + (cx, cy))


def ellipse_edges(cx: float, cy: float, rx: float, ry: float, angle_deg: float, size: Size) -> Edges:
    """Edges of an ellipse; see :meth:`maskwright.masks.Mask.from_ellipse`.

    With u and v the coordinates along the ellipse's own axes, its inside is ``(u / rx)^2 + (v / ry)^2 < 1``. On the
    centre line of a column this is a quadratic in y, whose two roots bound the rows.

    Raises:
        InvalidInput: If a number is not finite or a radius is negative.
    """
    if not all(map(math.isfinite, (cx, cy, rx, ry, angle_deg))) or rx < 0 or ry < 0:
        raise InvalidInput("an ellipse takes finite numbers, and radii of 0 or more pixels")
    if rx == 0 or ry == 0:
        return EMPTY
    height, width = size
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    # With x and y from the centre: u = x cos + y sin and v = y cos - x sin, so the inside is a y^2 + 2 b y + c < 0.
    columns = np.arange(width, dtype=np.int64)
    x = columns + 0.5 - cx
    a = (sin / rx) ** 2 + (cos / ry) ** 2
    b = x * (sin * cos * (rx**-2 - ry**-2))
    c = x**2 * ((cos / rx) ** 2 + (sin / ry) ** 2) - 1
    discriminant = b**2 - a * c
    hit = discriminant > 0
    middle, half = cy - b[hit] / a, np.sqrt(discriminant[hit]) / a
    tops, bottoms = (np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64) for y in (middle - half, middle + half))
    return from_spans(Spans(columns[hit], tops, bottoms), height)
