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
            rings += [_fitted(part, tolerance, max_vertices)] if len(polygons) == 1 else [p.exterior for p in polygons]
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
    return [ring for ring in rings if len(ring) >= 3]


def _fitted(part: Mask, tolerance: float, max_vertices: int) -> Ring:
    while True:
        polygons = part.to_polygons(tolerance)
        ring = max((p.exterior for p in polygons), key=len, default=np.zeros((0, 2)))
        if len(ring) <= max_vertices:
            return ring
        tolerance = max(tolerance, 0.5) * _TOLERANCE_GROWTH


def _bridged(pieces: Sequence[Mask], tolerance: float, max_vertices: int) -> list[Ring]:
    while True:
        polygons = [p for piece in pieces for p in piece.to_polygons(tolerance) if len(p.exterior) >= 3]
        if not polygons:
            return []
        ring = _joined(polygons)
        if len(ring) <= max_vertices:
            return [ring]
        if len(pieces) > 1 and tolerance > max(pieces[0].size) / 8:
            # Simplification alone cannot fit so many parts; the smallest ones go.
            pieces = pieces[: len(pieces) // 2]
        elif tolerance > max(pieces[0].size):
            return [_fitted(pieces[0], tolerance, max_vertices)]
        tolerance = max(tolerance, 0.5) * _TOLERANCE_GROWTH


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
