"""The mask: one binary region of an image, an immutable value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import coco, frames, pixels, polygons, runs, shapes
from maskwright.masks.frames import Size, checked_size
from maskwright.masks.pixel_set import PixelSet
from maskwright.masks.polygons import Polygon


class Mask(PixelSet):
    """One binary region of an image: a set of pixels in a frame, kept as run boundaries.

    Masks with the same size and the same pixels are equal and hash alike. They may be shared between threads, pickled
    and copied. Operations run on the runs: their time grows with the outline, not with the area. The constructors
    below check what they are given.
    """

    # --- from something else ---------------------------------------------------------------------------------------

    @classmethod
    def empty(cls, size: Size) -> Mask:
        """No pixel of a frame of ``size`` (height, width)."""
        return cls(size, runs.EMPTY)

    @classmethod
    def full(cls, size: Size) -> Mask:
        """Every pixel of a frame of ``size`` (height, width)."""
        return cls.empty(size).complement()

    @classmethod
    def from_array(cls, array: ArrayLike) -> Mask:
        """The pixels that are not 0.

        Args:
            array: (H, W) bool or integers.

        Raises:
            InvalidInput: If the array is not two-dimensional, has no pixel, or holds floats (compare logits or
                probabilities with a threshold first).
        """
        inside = np.asarray(array)
        if inside.ndim != 2:
            raise InvalidInput(f"a mask is an (H, W) array; this one has the shape {inside.shape}")
        if inside.dtype.kind not in "bui":
            raise InvalidInput(f"a mask is an array of bool or integers, not {inside.dtype}; apply a threshold first")
        size = checked_size(inside.shape)
        return cls(size, row_edges=pixels.edges_of(inside.astype(np.bool_, copy=False).reshape(-1)))

    @classmethod
    def from_crop(cls, array: ArrayLike, corner: tuple[int, int], size: Size) -> Mask:
        """Pixels of a part of a frame, the rest outside.

        Args:
            array: (h, w) bool or integers.
            corner: (x, y) of its first pixel in the frame; what lies outside of the frame is lost.
            size: (height, width) of the frame.

        Raises:
            InvalidInput: As :meth:`from_array`.
        """
        return cls.from_array(array).pasted(size, corner)

    @classmethod
    def from_runs(cls, size: Size, lengths: ArrayLike) -> Mask:
        """From uncompressed COCO counts: alternating run lengths down the columns, outside first.

        Raises:
            InvalidInput: If a length is negative or not an integer, or they do not add up to height times width.
        """
        size = checked_size(size)
        return cls(size, runs.from_lengths(coco.checked_lengths(size, lengths)))

    @classmethod
    def from_coco(cls, rle: Mapping[str, Any]) -> Mask:
        """From COCO's ``{"size": [height, width], "counts": ...}``; counts compressed (str, bytes) or a list.

        Safe on input from strangers.

        Raises:
            InvalidInput: If a key is missing or of the wrong form, or the run lengths do not fit the size.
            TooLarge: If the size is out of bounds.
        """
        size, lengths = coco.parse(rle)
        return cls(size, runs.from_lengths(lengths))

    @classmethod
    def from_box(cls, box: Sequence[float], size: Size) -> Mask:
        """The pixels whose centres lie in a box (xyxy, absolute pixels)."""
        left, top, right, bottom = (float(v) for v in box)
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        return cls.from_polygons([corners], size)

    @classmethod
    def from_polygons(cls, outlines: Iterable[Polygon | ArrayLike], size: Size) -> Mask:
        """The union of polygons; a pixel belongs to a polygon that holds its centre (even-odd rule, holes left out).

        Args:
            outlines: Polygons, or (N, 2) arrays of xy corners in absolute pixels, N >= 3. They may leave the frame.
            size: (height, width) in pixels.

        Raises:
            InvalidInput: If a ring is not (N, 2) with N >= 3, or holds a number that is not finite.
            TooLarge: If the outlines cross so many columns that it cannot be a shape somebody drew.
        """
        size = checked_size(size)
        return cls(size, polygons.fill(outlines, size))

    @classmethod
    def from_ellipse(cls, cx: float, cy: float, rx: float, ry: float, angle_deg: float, size: Size) -> Mask:
        """The pixels whose centres lie in an ellipse.

        Args:
            cx: Centre, x in pixels.
            cy: Centre, y in pixels.
            rx: Radius along the ellipse's own x axis, in pixels; 0 gives an empty mask.
            ry: Radius along its own y axis.
            angle_deg: Turn of its own axes, clockwise on the screen.
            size: (height, width) of the frame.

        Raises:
            InvalidInput: If a number is not finite or a radius is negative.
        """
        size = checked_size(size)
        return cls(size, shapes.ellipse_edges(cx, cy, rx, ry, angle_deg, size))

    # --- to something else -----------------------------------------------------------------------------------------

    def to_array(self) -> NDArray[np.bool_]:
        """All pixels, (H, W) bool, a fresh array."""
        return pixels.fill(self.row_edges, self.height * self.width).reshape(self.size)

    def crop_array(self, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
        """The pixels of rows [y0, y1) and columns [x0, x1), (y1 - y0, x1 - x0) bool; only these are produced.

        The box may leave the frame; beyond it every pixel is outside.

        Raises:
            InvalidInput: If the box holds no pixel.
        """
        return self.crop((x0, y0, x1, y1)).to_array()

    @cached_property
    def counts(self) -> bytes:
        """Compressed COCO counts, byte for byte as pycocotools writes them."""
        return coco.compress(runs.to_lengths(self.edges, self.height * self.width))

    def content_hash(self) -> str:
        """32 hex digits, equal for equal masks on every machine."""
        return hashlib.blake2b(b"%d %d " % self.size + self.counts, digest_size=16).hexdigest()

    def to_coco(self) -> dict[str, Any]:
        """``{"size": [height, width], "counts": str}`` as COCO's JSON files hold it."""
        return {"size": list(self.size), "counts": self.counts.decode("ascii")}

    def to_polygons(self, tolerance: float = 0.0) -> list[Polygon]:
        """Outlines on the edges of pixels, one polygon per 8-connected part, with its holes.

        Args:
            tolerance: Largest distance in pixels by which simplification (Douglas-Peucker) may move an outline. With
                0 the outlines are exact: ``Mask.from_polygons`` gives the mask back.
        """
        return polygons.trace(self.edges, self.size, tolerance)

    def components(self) -> list[Mask]:
        """The 8-connected parts, from left to right."""
        return [Mask(self.size, edges) for edges in polygons.parts(self.edges, self.size)]

    # --- questions and algebra -------------------------------------------------------------------------------------

    def contains(self, x: float, y: float) -> bool:
        """Whether the pixel that holds the point (absolute pixels) is inside; False beyond the frame."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            return False
        return runs.contains(self.edges, int(x) * self.height + int(y))

    def intersection_area(self, other: Mask) -> int:
        """How many pixels both masks hold."""
        self._check_same_size(other)
        return runs.overlap(self.edges, other.edges)

    def iou(self, other: Mask) -> float:
        """Intersection over union in [0, 1]; 0 where both masks are empty, as in pycocotools."""
        both = self.intersection_area(other)
        either = self.area + other.area - both
        return both / either if either else 0.0

    def union(self, *others: Mask) -> Mask:
        """The pixels that any of the masks holds."""
        return self._combined(others, [False, *[True] * (1 + len(others))])

    def intersection(self, *others: Mask) -> Mask:
        """The pixels that all of the masks hold."""
        return self._combined(others, [*[False] * (1 + len(others)), True])

    def difference(self, *others: Mask) -> Mask:
        """The pixels that this mask holds and none of the others does."""
        only = 1 + len(others)
        inside = [n == only for n in range(only + only)]
        return self._combined(others, inside, [only, *[1] * len(others)])

    __or__ = union
    __and__ = intersection
    __sub__ = difference

    def complement(self) -> Mask:
        """The pixels of the frame that this mask does not hold."""
        return Mask(self.size, runs.complement(self.edges, self.height * self.width))

    def eroded(self, distance: int) -> Mask:
        """The pixels whose square neighbourhood, ``distance`` pixels to every side, is wholly inside.

        Distance is the chessboard distance; pixels beyond the frame count as outside.
        """
        if distance < 0:
            raise InvalidInput("a distance to erode by is 0 or more pixels")
        return Mask(self.size, frames.eroded(self.edges, self.size, int(distance)))

    def boundary(self, width: int) -> Mask:
        """The pixels at most ``width`` pixels (chessboard distance) away from an outside pixel.

        This is the mask less its erosion, as in Boundary IoU (Cheng et al., CVPR 2021), where the frame's border
        counts as boundary too.
        """
        if width < 1:
            raise InvalidInput("a boundary is at least 1 pixel wide")
        return self.difference(self.eroded(width))

    def crop(self, box: Sequence[float]) -> Mask:
        """The part inside a box of whole pixels (xyxy, may leave the frame), as a mask of the box's size.

        Raises:
            InvalidInput: If the box holds no pixel.
        """
        x0, y0, x1, y1 = (int(v) for v in box)
        return self.pasted((y1 - y0, x1 - x0), (-x0, -y0))

    def pasted(self, size: Size, corner: tuple[int, int]) -> Mask:
        """The mask in another frame.

        Args:
            size: (height, width) of the new frame.
            corner: (x, y) in the new frame of this mask's first pixel; what leaves the frame is lost.
        """
        size, (x, y) = checked_size(size), (int(v) for v in corner)
        if self.runs_by_column:
            return Mask(size, frames.reframe(self.edges, self.size, size, (x, y)))
        return Mask(size, row_edges=frames.reframe(self.row_edges, self.size[::-1], size[::-1], (y, x)))

    def _combined(self, others: Sequence[Mask], inside: Sequence[bool], weights: Sequence[int] | None = None) -> Mask:
        for other in others:
            self._check_same_size(other)
        return Mask(self.size, runs.combine([self.edges, *(m.edges for m in others)], inside, weights))

    def _check_same_size(self, other: Mask) -> None:
        if self.size != other.size:
            raise InvalidInput(f"masks of different sizes do not go together: {self.size} and {other.size}")
