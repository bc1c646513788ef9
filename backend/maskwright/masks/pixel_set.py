"""A set of pixels in a frame, as a value: what it holds, whether it equals another, where it lies."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from maskwright.masks.frames import Size, bounds, checked_size, transpose
from maskwright.masks.runs import EMPTY, Edges, count

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in absolute pixels (xyxy); right and bottom are exclusive edges."""


class PixelSet:
    """Pixels as run boundaries, immutable.

    Runs may be followed down the columns, as COCO does, or along the rows. A set is made from either, finds the other
    when it is asked for, and keeps both.

    Args:
        size: (height, width) of the frame in pixels, both at least 1.
        edges: (2k,) int64, made read-only: strictly increasing positions ``column * height + row`` at which outside
            turns to inside and back (see :mod:`maskwright.masks.runs`). Not checked.
        row_edges: The same at positions ``row * width + column``. Give one of the two; without any the set is empty.

    Attributes:
        size: (height, width) of the frame in pixels.

    Raises:
        InvalidInput: If the size is not two whole numbers of at least 1.
        TooLarge: If the frame has too many pixels.
    """

    size: Size

    def __init__(self, size: Size, edges: Edges | None = None, *, row_edges: Edges | None = None) -> None:
        self.__dict__["size"] = checked_size(size)
        if row_edges is not None:
            self.__dict__["row_edges"] = _frozen(row_edges)
        if edges is not None or row_edges is None:
            self.__dict__["edges"] = EMPTY if edges is None else _frozen(edges)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a mask is a value and does not change; make another")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.size, self.edges)

    def __repr__(self) -> str:
        left, top, right, bottom = self._bounds
        return f"{type(self).__name__}(size={self.size}, area={self.area}, box=({left}, {top}, {right}, {bottom}))"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PixelSet):
            return NotImplemented
        return self.size == other.size and np.array_equal(self.edges, other.edges)

    def __hash__(self) -> int:
        return hash((self.size, self.edges.tobytes()))

    @cached_property
    def edges(self) -> Edges:
        """(2k,) int64, read-only: the edges at column-major positions ``column * height + row``."""
        return _frozen(transpose(self.row_edges, (self.width, self.height)))

    @cached_property
    def row_edges(self) -> Edges:
        """(2k,) int64, read-only: the edges at row-major positions, for formats that run along the rows."""
        return _frozen(transpose(self.edges, self.size))

    @property
    def runs_by_column(self) -> bool:
        """Whether the column-major edges are at hand already; if not, the row-major ones are."""
        return "edges" in self.__dict__

    @property
    def height(self) -> int:
        """Height of the frame in pixels."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Width of the frame in pixels."""
        return self.size[1]

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is inside."""
        return not self.area

    @cached_property
    def area(self) -> int:
        """How many pixels are inside."""
        return count(self.edges if self.runs_by_column else self.row_edges)

    @property
    def box(self) -> Box:
        """The tight box (xyxy, right and bottom exclusive); (0, 0, 0, 0) where the set is empty."""
        left, top, right, bottom = self._bounds
        return float(left), float(top), float(right), float(bottom)

    @cached_property
    def _bounds(self) -> tuple[int, int, int, int]:
        if self.runs_by_column:
            return bounds(self.edges, self.height)
        top, left, bottom, right = bounds(self.row_edges, self.width)
        return left, top, right, bottom


def _frozen(edges: Edges) -> Edges:
    edges.setflags(write=False)
    return edges
