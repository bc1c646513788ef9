"""Masks as Label Studio polygons, which have one outline and no holes.

``split`` gives several polygons: every part its own, and a part with holes is cut through them. ``bridge`` gives one:
holes and further parts are joined to the outline by seams of no width. Both lose nothing by themselves; what
simplification and the vertex cap cost is measured as IoU.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask, Polygon

MAX_PARTS = 32
_MAX_CUTS = 64
_TOLERANCE_GROWTH = 1.5
Ring = NDArray[np.float64]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outlines:
    """Simple polygons that stand for a mask.

    Attributes:
        rings: Each (N, 2) float64 xy in pixels, N >= 3.
        iou: IoU of the rasterised rings with the mask.
    """

    rings: tuple[Ring, ...]
    iou: float


def outlines(
    mask: Mask, *, tolerance: float, max_vertices: int, parts: Literal["split", "bridge"] = "split"
) -> Outlines:
    """Simple polygons for a mask.

    Args:
        mask: Any mask; an empty one has no outlines.
        tolerance: Pixels that an outline may stray; raised by half until the vertices fit.
        max_vertices: Most vertices of one ring.
        parts: See the module.
    """
    if mask.is_empty:
        return Outlines((), 1.0)
    pieces = sorted(mask.components(), key=lambda part: -part.area)
    kept = pieces[:MAX_PARTS]
    if parts == "split":
        rings = [ring for piece in kept for ring in _split(piece, tolerance, max_vertices)]
    else:
        rings = _bridged(kept, tolerance, max_vertices)
    iou = Mask.from_polygons(rings, mask.size).iou(mask) if rings else 0.0
    log.info(
        "polygon answer: IoU %.4f with its mask (%d parts, %d left out, %d rings, %d vertices, %s)",
        iou, len(pieces), len(pieces) - len(kept), len(rings), sum(map(len, rings)), parts,
    )  # fmt: skip
    return Outlines(tuple(rings), iou)


def _split(piece: Mask, tolerance: float, max_vertices: int) -> list[Ring]:
    rings: list[Ring] = []
    waiting = [piece]
    cuts = 0
    while waiting:
        part = waiting.pop()
        polygons = part.to_polygons(tolerance)
        holes = [hole for polygon in polygons for hole in polygon.holes]
        if not holes or cuts >= _MAX_CUTS:
            rings += [_fitted(polygon.exterior, tolerance, max_vertices) for polygon in polygons]
            continue
        cuts += 1
        # The largest hole is cut through its middle, so that each half has at least one hole less.
        hole = max(holes, key=lambda ring: float(np.ptp(ring[:, 0]) * np.ptp(ring[:, 1])))
        middle = round(float(hole[:, 0].min() + hole[:, 0].max()) / 2)
        left, top, right, bottom = (int(v) for v in part.box)
        for x0, x1 in ((left, middle), (middle, right)):
            if x1 > x0:
                half = Mask.from_crop(part.crop_array(x0, top, x1, bottom), (x0, top), part.size)
                waiting += half.components()
    return rings


def _bridged(pieces: Sequence[Mask], tolerance: float, max_vertices: int) -> list[Ring]:
    polygons = [polygon for piece in pieces for polygon in piece.to_polygons(tolerance)]
    if not polygons:
        return []
    limit = float(max(pieces[0].size))
    while tolerance <= limit:
        # Seams add a vertex at either end of each; they are joined once it is known that all of it fits.
        if sum(len(ring) + 2 for polygon in polygons for ring in polygon.rings) - 2 <= max_vertices:
            return [_joined(polygons)]
        tolerance = max(tolerance, 0.5) * _TOLERANCE_GROWTH
        polygons = [smaller for polygon in polygons if (smaller := _simplified_polygon(polygon, tolerance)) is not None]
        if not polygons:
            break
    return [_fitted(max(pieces, key=lambda p: p.area).to_polygons()[0].exterior, tolerance, max_vertices)]


def _simplified_polygon(polygon: Polygon, tolerance: float) -> Polygon | None:
    exterior = _simplified(polygon.exterior, tolerance)
    if exterior is None:
        return None
    holes = (_simplified(hole, tolerance) for hole in polygon.holes)
    return Polygon(exterior, tuple(hole for hole in holes if hole is not None))


def _fitted(ring: Ring, tolerance: float, max_vertices: int) -> Ring:
    """The ring with few enough vertices, in the worst case its upright box."""
    fitted: Ring | None = ring
    while fitted is not None and len(fitted) > max_vertices:
        tolerance = max(tolerance, 0.5) * _TOLERANCE_GROWTH
        fitted = _simplified(ring, tolerance)
    if fitted is not None:
        return fitted
    (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _simplified(ring: Ring, tolerance: float) -> Ring | None:
    """Douglas-Peucker; None where less than a triangle is left."""
    simple = cv2.approxPolyDP(ring.astype(np.float32), tolerance, closed=True).reshape(-1, 2)
    return simple.astype(np.float64) if len(simple) >= 3 else None


def _joined(polygons: Sequence[Polygon]) -> Ring:
    ring = polygons[0].exterior
    for hole in polygons[0].holes:
        ring = _seam(ring, hole)
    for polygon in polygons[1:]:
        ring = _seam(ring, _joined([polygon]))
    return ring


def _seam(ring: Ring, other: Ring) -> Ring:
    """Walk ``ring`` to its vertex nearest to ``other``, over, once round ``other``, back, and on."""
    distances = ((ring[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    round_trip = np.concatenate([other[there:], other[: there + 1]])
    return np.concatenate([ring[: here + 1], round_trip, ring[here:]])
