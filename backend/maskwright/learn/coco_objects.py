"""Objects of a COCO file (https://cocodataset.org/#format-data) from whoever sent it, and the images they lie in.

Polygons are filled by the rule of ``maskwright.masks``: a pixel belongs to the polygon that holds its centre, the
polygons of one annotation are united. Run lengths may be compressed or not. Crowds are objects like all others: their
masks are evaluated as one.
"""

from __future__ import annotations

import json
import math
import random
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.images import Image, ImageLimits, load_image
from maskwright.masks import Mask, Size

T = TypeVar("T")

_FARTHEST = 1e7
"""Pixels from the origin beyond which no corner of a polygon can be meant."""
_LONGEST_SHOWN = 120


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An entry of ``images``: what it is called in messages, its file's name as written, its size or None."""

    title: str
    file_name: str
    size: Size | None


@dataclass(frozen=True, eq=False)
class CocoObject:
    """An annotation.

    Attributes:
        title: What it is called in messages.
        image: Where it lies.
        mask: Its pixels, not empty.
    """

    title: str
    image: CocoImage
    mask: Mask


@dataclass(frozen=True, eq=False)
class Selection:
    """Objects chosen from a file.

    Attributes:
        by_file: For every image file with chosen objects, in the order of names, these objects.
        left_out: Titles of annotations that were chosen but hold no pixel; others were taken for them.
    """

    by_file: Mapping[str, Sequence[CocoObject]]
    left_out: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many objects were chosen."""
        return sum(len(objects) for objects in self.by_file.values())


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The images and annotations of a file, checked but for the segmentations, which are read when chosen."""

    images: Mapping[int | str, CocoImage]
    annotations: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> CocoFile:
        """Read a file.

        Raises:
            InvalidInput: If it cannot be read or is not a COCO file; the message names the entry at fault.
        """
        if not path.is_file():
            raise InvalidInput(f"there is no COCO file {path}")
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            raise InvalidInput(f"the COCO file {path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path.name} is not a JSON file: {error}") from error
        return cls.of(document)

    @classmethod
    def of(cls, document: object) -> CocoFile:
        """Check a parsed file; see :meth:`read`."""
        if not isinstance(document, dict) or not all(
            isinstance(document.get(key), list) for key in ("images", "annotations")
        ):
            raise InvalidInput('a COCO file is an object with the lists "images" and "annotations"')
        images: dict[int | str, CocoImage] = {}
        for position, entry in enumerate(document["images"]):
            number, image = _image(position, entry)
            if number in images:
                raise InvalidInput(f"{image.title}: two images have this id; give every image its own")
            images[number] = image
        for position, entry in enumerate(document["annotations"]):
            title = _title("annotation", position, entry)
            owner = _identifier(entry.get("image_id"))
            if owner is None or owner not in images:
                raise InvalidInput(
                    f"{title}: its image_id {_shown(entry.get('image_id'))} is none of the file's images"
                )
        return cls(images, document["annotations"])

    def select(self, limit: int, seed: int) -> Selection:
        """Choose at random.

        Args:
            limit: Most objects.
            seed: Equal seeds choose equal objects.

        Raises:
            InvalidInput: If the segmentation of a chosen annotation is malformed, or none holds a pixel.
        """
        chosen: list[CocoObject] = []
        left_out: list[str] = []
        for position in shuffled(range(len(self.annotations)), seed):
            if len(chosen) == limit:
                break
            found = self._object(position)
            if found.mask.is_empty:
                left_out.append(found.title)
            else:
                chosen.append(found)
        if not chosen:
            raise InvalidInput("the COCO file has no annotation with a pixel, so there is nothing to evaluate")
        by_file: dict[str, list[CocoObject]] = {}
        for one in sorted(chosen, key=lambda item: item.image.file_name):
            by_file.setdefault(one.image.file_name, []).append(one)
        return Selection(by_file, tuple(left_out))

    def _object(self, position: int) -> CocoObject:
        entry = self.annotations[position]
        title, image = _title("annotation", position, entry), self.images[entry["image_id"]]
        try:
            mask = _mask(entry.get("segmentation"), image)
        except MaskwrightError as error:
            raise type(error)(f"{title}: {error}") from error
        if image.size is not None and mask.size != image.size:
            raise InvalidInput(f"{title}: its mask is {_by(mask.size)} pixels, but {image.title} is {_by(image.size)}")
        return CocoObject(title, image, mask)


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items in an order that depends on the seed only."""
    order = list(items)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, not a secret
    return order


def locate_image(folder: Path, file_name: str) -> Path:
    """The file that a COCO file names, which must lie in a folder wherever links lead.

    Raises:
        InvalidInput: If it is not there or lies elsewhere.
    """
    try:
        root, path = folder.resolve(), (folder / file_name).resolve()
        inside, there = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"file_name {_shown(file_name)} cannot be a file's name") from error
    if not inside:
        raise InvalidInput(f"file_name {_shown(file_name)} leads out of the folder of images; name a file inside it")
    if not there:
        raise InvalidInput(f"there is no file {_shown(file_name)} in the folder of images")
    return path


def load_pixels(path: Path, objects: Sequence[CocoObject], limits: ImageLimits) -> Image:
    """Load the image that objects lie in.

    Raises:
        MaskwrightError: If it cannot be decoded, or is not of the size that the masks of the objects have.
    """
    first = objects[0]
    try:
        image = load_image(path, limits=limits)
    except MaskwrightError as error:
        raise type(error)(f"{first.image.title}, of {first.title}: {error}") from error
    for one in objects:
        if one.mask.size != image.size:
            raise InvalidInput(
                f"{one.title}: its mask is {_by(one.mask.size)} pixels, but the file {path.name!r} shows "
                f"{_by(image.size)} (turned as its EXIF data say); the COCO file must describe the image as displayed"
            )
    return image


def _image(position: int, entry: object) -> tuple[int | str, CocoImage]:
    title = _title("image", position, entry)
    if not isinstance(entry, dict):
        raise InvalidInput(f"{title} is not an object")
    number, name = _identifier(entry.get("id")), entry.get("file_name")
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


def _mask(segmentation: object, image: CocoImage) -> Mask:
    if isinstance(segmentation, dict):
        return Mask.from_coco(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        raise InvalidInput("its segmentation must be a list of polygons or run lengths with size and counts")
    if image.size is None:
        raise InvalidInput(f"its polygons need the height and width of {image.title}, which the file does not give")
    return Mask.from_polygons([_ring(position, ring) for position, ring in enumerate(segmentation)], image.size)


def _ring(position: int, flat: object) -> NDArray[np.float64]:
    where = f"polygon {position} of its segmentation"
    if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
        raise InvalidInput(f"{where} must be a list x1, y1, x2, y2, ... of at least three corners")
    for value in flat:
        if type(value) not in (int, float) or not abs(value) <= _FARTHEST or math.isnan(value):
            raise InvalidInput(f"{where} holds {_shown(value)}; corners are numbers of pixels")
    return np.array(flat, dtype=np.float64).reshape(-1, 2)


def _identifier(value: object) -> int | str | None:
    return value if type(value) in (int, str) else None  # type: ignore[return-value]


def _title(kind: str, position: int, entry: object) -> str:
    """``annotation 12`` by its id, or by its place where it has none."""
    if not isinstance(entry, dict):
        raise InvalidInput(f"the {kind} at place {position} (counted from 0) is not an object")
    number = _identifier(entry.get("id"))
    return f"the {kind} at place {position} (counted from 0)" if number is None else f"{kind} {_shown(number)}"


def _shown(value: object) -> str:
    short = reprlib.Repr()  # bounds depth as well as length
    short.maxstring = short.maxother = short.maxlong = _LONGEST_SHOWN
    return short.repr(value)


def _by(size: Size) -> str:
    return f"{size[1]} x {size[0]}"
