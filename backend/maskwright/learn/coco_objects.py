"""Objects of a COCO file from whoever sent it, and the images they lie in.

Entries are read by ``maskwright.export.coco_entries``. Crowds are objects like all others: their masks are evaluated as
one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.coco_entries import (
    CocoImage,
    by,
    entry_title,
    identifier,
    read_image,
    read_mask,
    shown,
)
from maskwright.export.image_folder import locate_image
from maskwright.images import Image, ImageLimits, load_image
from maskwright.masks import Mask

__all__ = ["CocoFile", "CocoImage", "CocoObject", "Selection", "load_pixels", "locate_image", "shuffled"]

T = TypeVar("T")


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
            number, image = read_image(position, entry)
            if number in images:
                raise InvalidInput(f"{image.title}: two images have this id; give every image its own")
            images[number] = image
        for position, entry in enumerate(document["annotations"]):
            title = entry_title("annotation", position, entry)
            owner = identifier(entry.get("image_id"))
            if owner is None or owner not in images:
                raise InvalidInput(f"{title}: its image_id {shown(entry.get('image_id'))} is none of the file's images")
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
        title, image = entry_title("annotation", position, entry), self.images[entry["image_id"]]
        return CocoObject(title, image, read_mask(title, entry, image))


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items in an order that depends on the seed only."""
    order = list(items)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, not a secret
    return order


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
                f"{one.title}: its mask is {by(one.mask.size)} pixels, but the file {path.name!r} shows "
                f"{by(image.size)} (turned as its EXIF data say); the COCO file must describe the image as displayed"
            )
    return image
