"""Entries of a COCO file (https://cocodataset.org/#format-data) from whoever sent it, checked one by one.

Polygons are filled by the rule of ``maskwright.masks``: a pixel belongs to the polygon that holds its centre, the
polygons of one annotation are united. Run lengths may be compressed or not. Every message names the entry.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.masks import Mask, Polygon, Size

FARTHEST = 1e7
"""Pixels from the origin beyond which no corner of a polygon can be meant."""
_LONGEST_SHOWN = 120

Identifier = int | str


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An entry of ``images``: what it is called in messages, its file's name as written, its size or None."""

    title: str
    file_name: str
    size: Size | None


def read_image(position: int, entry: object) -> tuple[Identifier, CocoImage]:
    """Id and content of an entry of ``images``.

    Args:
        position: Its place in the list, from 0.
        entry: As parsed.

    Raises:
        InvalidInput: If it is malformed.
    """
    title = entry_title("image", position, entry)
    if not isinstance(entry, dict):
        raise InvalidInput(f"{title} is not an object")
    number, name = identifier(entry.get("id")), entry.get("file_name")
    if number is None:
        raise InvalidInput(f"{title}: its id must be a whole number or a text")
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{title}: file_name must be the name of a file in the folder of images")
    sides = entry.get("height"), entry.get("width")
    if sides == (None, None):
        return number, CocoImage(title, name, None)
    if not all(type(side) is int and side > 0 for side in sides):
        raise InvalidInput(f"{title}: height and width must be whole numbers of pixels above 0")
    return number, CocoImage(title, name, (int(sides[0]), int(sides[1])))  # type: ignore[arg-type]


def read_mask(title: str, entry: Mapping[str, Any], image: CocoImage) -> Mask:
    """The pixels of an annotation, maybe none; see :func:`read_shape`."""
    return read_shape(title, entry, image)[0]


def read_shape(title: str, entry: Mapping[str, Any], image: CocoImage) -> tuple[Mask, tuple[Polygon, ...]]:
    """The pixels of an annotation, maybe none, and its polygons as written where it has such.

    Args:
        title: What the annotation is called in messages.
        entry: The annotation.
        image: Where it lies; the mask has its size, where it is known.

    Raises:
        InvalidInput: If its segmentation is malformed or of another size.
        TooLarge: If its size is out of bounds.
    """
    try:
        mask, outlines = _shape(entry.get("segmentation"), image)
    except MaskwrightError as error:
        raise type(error)(f"{title}: {error}") from error
    if image.size is not None and mask.size != image.size:
        raise InvalidInput(f"{title}: its mask is {by(mask.size)} pixels, but {image.title} is {by(image.size)}")
    return mask, outlines


def identifier(value: object) -> Identifier | None:
    """An id as COCO files have them, or None for what cannot be one."""
    return value if type(value) in (int, str) else None  # type: ignore[return-value]


def entry_title(kind: str, position: int, entry: object) -> str:
    """``annotation 12`` by its id, or by its place where it has none.

    Raises:
        InvalidInput: If the entry is not an object.
    """
    if not isinstance(entry, dict):
        raise InvalidInput(f"the {kind} at place {position} (counted from 0) is not an object")
    number = identifier(entry.get("id"))
    return f"the {kind} at place {position} (counted from 0)" if number is None else f"{kind} {shown(number)}"


def shown(value: object) -> str:
    """A value for a message: short, however long or deep it is."""
    short = reprlib.Repr()  # bounds depth as well as length
    short.maxstring = short.maxother = short.maxlong = _LONGEST_SHOWN
    return short.repr(value)


def by(size: Size) -> str:
    """A size for a message: width x height."""
    return f"{size[1]} x {size[0]}"


def _shape(segmentation: object, image: CocoImage) -> tuple[Mask, tuple[Polygon, ...]]:
    if isinstance(segmentation, dict):
        return Mask.from_coco(segmentation), ()
    if not isinstance(segmentation, list) or not segmentation:
        raise InvalidInput("its segmentation must be a list of polygons or run lengths with size and counts")
    if image.size is None:
        raise InvalidInput(f"its polygons need the height and width of {image.title}, which the file does not give")
    outlines = tuple(Polygon(_ring(position, ring)) for position, ring in enumerate(segmentation))
    return Mask.from_polygons(outlines, image.size), outlines


def _ring(position: int, flat: object) -> NDArray[np.float64]:
    where = f"polygon {position} of its segmentation"
    if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
        raise InvalidInput(f"{where} must be a list x1, y1, x2, y2, ... of at least three corners")
    if set(map(type, flat)) <= {int, float}:
        with contextlib.suppress(OverflowError):
            ring = np.array(flat, dtype=np.float64)
            if np.abs(ring).max() <= FARTHEST:  # false for NaN, too
                return ring.reshape(-1, 2)
    wrong = next(v for v in flat if type(v) not in (int, float) or not abs(v) <= FARTHEST)
    raise InvalidInput(f"{where} holds {shown(wrong)}; corners are numbers of pixels")
