"""Masks as polygons without holes, as COCO and YOLO files have them, without losing a pixel.

Outlines run along the edges of pixels. A part with holes is cut into pieces by upright cuts through the holes, so that
each hole becomes a bay; the pieces fit together without a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask, Polygon
from maskwright.regions import Region

Ring = NDArray[np.float64]
"""(N, 2) float64 xy corners in absolute pixels; the last corner joins the first."""

_DIGITS = (3, 5)


def drawn_rings(region: Region) -> list[Ring] | None:
    """The polygons that a person drew, rounded to 3 or 5 decimals where the pixels stay the same.

    None where the region was not drawn as polygons without holes, where these do not give its pixels, because it
    was changed since, or where a corner lies outside the image, which some loaders refuse.
    """
    if not region.outlines or any(outline.holes for outline in region.outlines):
        return None
    exact = [outline.exterior for outline in region.outlines]
    height, width = region.mask.size
    if any((ring < 0).any() or (ring > (width, height)).any() for ring in exact):
        return None
    for digits in _DIGITS:
        rounded = [np.round(ring, digits) for ring in exact]
        if Mask.from_polygons(rounded, region.mask.size) == region.mask:
            return rounded
    return exact if Mask.from_polygons(exact, region.mask.size) == region.mask else None


def simple_rings(mask: Mask, tolerance: float = 0.0) -> list[Ring]:
    """Outlines of a mask without holes.

    Args:
        mask: Any mask; an empty one has no outline.
        tolerance: Pixels by which simplified outlines may stray (Douglas-Peucker). With 0 the union of the rings is
            the mask.

    Raises:
        InvalidInput: If the tolerance is not a finite number.
    """
    check_tolerance(tolerance)
    rings: list[Ring] = []
    waiting = [(mask, mask.to_polygons())]
    while waiting:
        part, polygons = waiting.pop()
        rings += [polygon.exterior for polygon in polygons if not polygon.holes]
        holed = [polygon for polygon in polygons if polygon.holes]
        for polygon in reversed(holed):
            alone = part if len(polygons) == 1 else Mask.from_polygons([polygon], mask.size)
            waiting += [(half, half.to_polygons()) for half in reversed(_halves(alone, polygon))]
    if tolerance <= 0:
        return rings
    return [simple for ring in rings for simple in _simplified(ring, tolerance)]


def check_tolerance(tolerance: float) -> None:
    """Refuse what is no distance to simplify by.

    Raises:
        InvalidInput: If the tolerance is not a finite number.
    """
    if not math.isfinite(tolerance):
        raise InvalidInput(f"a tolerance of {tolerance} pixels; give a finite number, 0 to keep every corner")


def _halves(part: Mask, polygon: Polygon) -> Sequence[Mask]:
    """A part cut in two through the hole that lies nearest to its middle, so that the depth of cuts stays small."""
    left, top, right, bottom = (int(value) for value in part.box)
    middles = [int((hole[:, 0].min() + hole[:, 0].max()) // 2) for hole in polygon.holes]
    cut = min(middles, key=lambda x: abs(2 * x - left - right))
    return [
        part.crop((x0, top, x1, bottom)).pasted(part.size, (x0, top)) for x0, x1 in ((left, cut), (cut, right))
    ]  # fmt: skip


def _simplified(ring: Ring, tolerance: float) -> list[Ring]:
    import cv2

    simple = cv2.approxPolyDP(ring.astype(np.float32), tolerance, closed=True).reshape(-1, 2)
    return [simple.astype(np.float64)] if len(simple) >= 3 else [ring]
