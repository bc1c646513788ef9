"""Polygons: filling them, and tracing the outlines of a mask.

A pixel belongs to a polygon that holds its centre; the centre of the first pixel is (0.5, 0.5). A centre that lies
exactly on an outline belongs to the side to its right or below, so that polygons which share a side share no pixel
and leave none out. Insides are counted by the even-odd rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks.frames import Size, expand
from maskwright.masks.outlines import outlines
from maskwright.masks.runs import Edges, cancel, combine

Ring = NDArray[np.float64]
"""(N, 2) float64 xy corners in absolute pixels, N >= 3; the last corner joins the first."""

_MOST_CROSSINGS = 2**25


@dataclass(frozen=True, eq=False)
class Polygon:
    """One outline with its holes.

    Attributes:
        exterior: (N, 2) float64 xy corners in absolute pixels; the last joins the first.
        holes: Rings that are cut out of it.
    """

    exterior: Ring
    holes: tuple[Ring, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "exterior", _checked_ring(self.exterior))
        object.__setattr__(self, "holes", tuple(_checked_ring(hole) for hole in self.holes))

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The exterior and the holes."""
        return (self.exterior, *self.holes)


def _checked_ring(corners: ArrayLike) -> Ring:
    try:
        ring = np.array(corners, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput("a polygon is a list of [x, y] corners in pixels") from error
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
        raise InvalidInput(f"a polygon is a list of at least 3 [x, y] corners; this one has the shape {ring.shape}")
    if not np.isfinite(ring).all():
        raise InvalidInput("polygon corners must be finite numbers")
    ring.setflags(write=False)
    return ring


def fill(polygons: Iterable[Polygon | ArrayLike], size: Size) -> Edges:
    """Edges of the union of polygons; see the module for which pixels those are.

    Raises:
        InvalidInput: If a ring is malformed.
        TooLarge: If the outlines cross the columns of the frame more than 2**25 times.
    """
    shapes = [p if isinstance(p, Polygon) else Polygon(_checked_ring(p)) for p in polygons]
    filled = [_fill_rings(shape.rings, size) for shape in shapes]
    return filled[0] if len(filled) == 1 else combine(filled, [False, *[True] * len(filled)])


def _fill_rings(rings: Sequence[Ring], size: Size) -> Edges:
    """Even-odd filling: each side of a ring, where it crosses the centre line of a column, toggles all pixels below."""
    height, width = size
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # Columns whose centre line lies in [left end, right end) of the side, so that a corner on the line counts once.
    reach = np.clip(np.ceil(np.stack([start[:, 0], end[:, 0]]) - 0.5), 0, width).astype(np.int64)
    first, last = reach.min(axis=0), reach.max(axis=0)
    if int((last - first).sum()) > _MOST_CROSSINGS:
        raise TooLarge("the polygon's sides cross too many columns of the image; simplify it")
    side, columns = expand(first, last - first)
    (x0, y0), (x1, y1) = start[side].T, end[side].T
    y = y0 + (columns + 0.5 - x0) * ((y1 - y0) / (x1 - x0))
    rows = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    return cancel(columns * height + rows)


def trace(edges: Edges, size: Size, tolerance: float = 0.0) -> list[Polygon]:
    """Outlines along the edges of pixels; see :meth:`maskwright.masks.Mask.to_polygons`."""
    polygons = []
    for exterior, *holes in outlines(edges, size):
        simple = _simplified(exterior, tolerance)
        cut = [ring for hole in holes if (ring := _simplified(hole, tolerance)) is not None]
        polygons.append(Polygon(exterior if simple is None else simple, tuple(cut)))
    return polygons


def parts(edges: Edges, size: Size) -> list[Edges]:
    """Edges of every 8-connected part, in the order of their leftmost pixels."""
    return [_fill_rings(rings, size) for rings in outlines(edges, size)]


def _simplified(ring: Ring, tolerance: float) -> Ring | None:
    """The ring with fewer corners, or None where less than a triangle is left of it."""
    if tolerance <= 0:
        return ring
    simple = cv2.approxPolyDP(ring.astype(np.float32), tolerance, closed=True).reshape(-1, 2)
    return simple.astype(np.float64) if len(simple) >= 3 else None
