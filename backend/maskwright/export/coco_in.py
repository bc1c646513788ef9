"""COCO files of any size in: image by image with its regions, wherever the annotations stand in the file.

The file is read twice: first its entries are checked and found (``coco_index``), then those of one image after the
other are made into masks. So it must be a regular file; its annotations may come before its images and in any order.

Polygons are filled by the rule of ``maskwright.masks``, not by pycocotools' (which draws at five times the size and
rounds): the two differ in pixels that the outline crosses, as many gained as lost. Outlines traced from 4,251
nuclei have a mean IoU of 0.9994 between the two, coarse random stars below 32 x 32 pixels 0.988.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.coco_entries import CocoImage, entry_title, identifier, read_image, read_shape
from maskwright.export.coco_index import CocoIndex
from maskwright.export.json_lists import parse_element
from maskwright.masks import Mask, Polygon, Size
from maskwright.regions import Provenance, Region

SizeOf = Callable[[CocoImage], Size | None]
"""Tells (H, W) of an image as displayed, or None where it is not known; refuses an image whose size is wrong."""

_PROVENANCE = Provenance("import")


@dataclass(frozen=True, eq=False)
class ImportedImage:
    """An image of a COCO file.

    Attributes:
        title: What it is called in messages.
        file_name: As written; it may lead anywhere, see ``image_folder``.
        size: (H, W) in pixels, or None where nothing tells it; then it has no region.
        regions: In the file's order. ``outlines`` are the polygons as written, ``key`` is ``coco-<id>``, ``score`` is 1
            where none is written. A region with a box and no segmentation holds the pixels of the box.
        without_pixels: Titles of annotations that hold no pixel; they are not among the regions.
        boxes: Titles of the regions that have a box and no segmentation.
    """

    title: str
    file_name: str
    size: Size | None
    regions: tuple[Region, ...]
    without_pixels: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageEntries:
    """An image and its annotations as the file holds them. Can be pickled.

    Attributes:
        image: The image.
        places: Places of the annotations in their list, rising.
        texts: Their JSON, which has been parsed and checked once.
    """

    image: CocoImage
    places: tuple[int, ...]
    texts: tuple[bytes, ...]


class CocoReader:
    """An open COCO file; a context manager.

    Args:
        path: A regular file.

    Attributes:
        categories: Category id by name, in the file's order.
        image_count: How many images there are.
        annotation_count: How many annotations.

    Raises:
        InvalidInput: If the file cannot be read or is no COCO file, or an entry is wrong in anything but its shape; the
            message names the entry and its line.
        TooLarge: If an entry is beyond all bounds.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InvalidInput(f"there is no COCO file {path} (a pipe will not do: the file is read twice)")
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise InvalidInput(f"the COCO file {path} cannot be read: {error.strerror}") from error
        self._name = path.name
        try:
            self._stamp = self._state()
            self._index = CocoIndex(self._file, path.name)
        except BaseException:
            self._file.close()
            raise
        self.categories: Mapping[str, int] = self._index.categories
        self.image_count, self.annotation_count = len(self._index.images), len(self._index.annotations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def images(self, size_of: SizeOf | None = None) -> Iterator[ImportedImage]:
        """Every image in the order of the list, with its regions.

        Args:
            size_of: Asked for every image; its answer comes before what the file says.

        Raises:
            InvalidInput: If an annotation's shape is malformed or of another size than its image, or the file has
                changed since it was opened.
            TooLarge: If a shape is beyond all bounds.
        """
        for entries in self.entries(size_of):
            yield self.read(entries)

    def entries(self, size_of: SizeOf | None = None) -> Iterator[ImageEntries]:
        """What ``images`` makes regions of, for many processes to do so; raises for images and the file alone."""
        for place in range(self.image_count):
            _, image = read_image(place, self._index.image(place))
            try:
                size = size_of(image) if size_of is not None else None
            except MaskwrightError as error:
                raise self._index.located(error, self._index.images.offsets[place]) from error
            places = self._index.annotations_of(place)
            texts = tuple(self._index.annotation_text(n) for n in places)
            yield ImageEntries(replace(image, size=size or image.size), tuple(places), texts)
        if self._state() != self._stamp:
            raise InvalidInput(f"{self._name} was changed while it was read; run the import again")

    def read(self, entries: ImageEntries) -> ImportedImage:
        """An image with its regions; raises like :meth:`images`."""
        try:
            return read_entries(entries, self.categories)
        except EntryError as error:
            cause = error.cause
            raise self._index.located(cause, self._index.annotations.offsets[error.place]) from cause

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


class EntryError(Exception):
    """What is wrong with the annotation at a place."""

    def __init__(self, place: int, cause: MaskwrightError) -> None:
        super().__init__(place, cause)
        self.place, self.cause = place, cause


def read_entries(entries: ImageEntries, categories: Mapping[str, int]) -> ImportedImage:
    """Make regions of the annotations of one image; a pure function.

    Args:
        entries: Image and annotations.
        categories: Category id by name.

    Raises:
        EntryError: If an annotation's shape is malformed or of another size than its image.
    """
    labels = {number: name for name, number in categories.items()}
    image = entries.image
    regions: list[Region] = []
    without_pixels: list[str] = []
    boxes: list[str] = []
    for place, text in zip(entries.places, entries.texts, strict=True):
        entry = parse_element(text)
        title = entry_title("annotation", place, entry)
        is_box = entry.get("segmentation") in (None, []) and bool(entry.get("bbox"))
        try:
            mask, outlines = _box(title, entry, image) if is_box else read_shape(title, entry, image)
        except MaskwrightError as error:
            raise EntryError(place, error) from error
        # Run lengths bring their size; where nothing else tells it, what follows must agree with the first.
        image = image if image.size else replace(image, size=mask.size)
        if mask.is_empty:
            without_pixels.append(title)
            continue
        boxes += [title] if is_box else []
        number = identifier(entry.get("id"))
        regions.append(
            Region(
                mask, labels[entry["category_id"]], float(entry.get("score", 1)), _PROVENANCE,
                key=f"coco-#{place}" if number is None else f"coco-{number}", outlines=outlines,
                is_crowd=bool(entry.get("iscrowd")),
            )
        )  # fmt: skip
    return ImportedImage(image.title, image.file_name, image.size, tuple(regions), tuple(without_pixels), tuple(boxes))


def _box(title: str, entry: Mapping[str, Any], image: CocoImage) -> tuple[Mask, tuple[Polygon, ...]]:
    if image.size is None:
        raise InvalidInput(
            f"{title}: its box needs the height and width of {image.title}, which the file does not give"
        )
    x, y, width, height = entry["bbox"]
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    outline = Polygon(np.array(corners, dtype=np.float64))
    return Mask.from_polygons([outline], image.size), (outline,)
