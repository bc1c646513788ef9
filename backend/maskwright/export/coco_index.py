"""The first reading of a COCO file: where its entries are, and every check that needs no pixels.

It keeps some 50 bytes for an annotation and a few hundred for an image, so files of millions of annotations fit.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Mapping
from hashlib import blake2b
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.coco_entries import FARTHEST, Identifier, entry_title, identifier, read_image, shown
from maskwright.export.json_lists import Element, line_of, parse_element, read_lists
from maskwright.masks.frames import checked_size

LISTS = ("images", "annotations", "categories")
_INT64 = 2**63


class CocoIndex:
    """Places of the entries of a COCO file.

    Args:
        file: The open file.
        name: What it is called in messages.

    Attributes:
        categories: Category id by name, in the file's order.
        images: Offset and length in bytes of every image's entry.
        annotations: Offset and length of every annotation's entry.

    Raises:
        InvalidInput: If it is no COCO file or an entry is wrong; the message names line and entry.
        TooLarge: If an entry is beyond all bounds.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self.categories: dict[str, int] = {}
        self.images, self.annotations = Places(), Places()
        image_numbers: dict[Identifier, int] = {}
        owners, classes, ids = _Column(), _Column(), array("q")
        category_ids: dict[Identifier, str] = {}
        for element in read_lists(file, LISTS, name):
            try:
                entry = _parsed(element)
                if element.list_name == "images":
                    self._add_image(element, entry, image_numbers)
                elif element.list_name == "categories":
                    self._add_category(element, entry, category_ids)
                else:
                    owner, category = _checked_annotation(element.place, entry)
                    owners.append(owner)
                    classes.append(category)
                    ids.append(_as_int64(entry.get("id"), element.place))
                    self.annotations.append(element)
            except MaskwrightError as error:
                raise self.located(error, element.offset) from error
        self._check_known(owners, image_numbers, "its image_id {} is none of the file's images")
        self._check_known(classes, category_ids, "its category_id {} is none of the file's categories")
        self._check_different(np.frombuffer(ids, dtype=np.int64))
        to_image = np.array([image_numbers[owner] for owner in owners.values], dtype=np.int64)
        image_of = to_image[owners.codes()]
        self._order = np.argsort(image_of, kind="stable")
        self._firsts = np.searchsorted(image_of[self._order], np.arange(len(self.images) + 1))

    def annotations_of(self, image: int) -> list[int]:
        """Places in the list of the annotations of the image at a place, rising."""
        found: list[int] = self._order[self._firsts[image] : self._firsts[image + 1]].tolist()
        return found

    def located(self, error: MaskwrightError, offset: int) -> MaskwrightError:
        """An error of an entry with the file's name and the line of the entry."""
        return type(error)(f"{self._name}, line {line_of(self._file, offset)}: {error}")

    def _add_image(self, element: Element, entry: object, numbers: dict[Identifier, int]) -> None:
        number, image = read_image(element.place, entry)
        if number in numbers:
            raise InvalidInput(f"{image.title}: two images have this id; give every image its own")
        if image.size is not None:
            try:
                checked_size(image.size)
            except MaskwrightError as error:
                raise type(error)(f"{image.title}: {error}") from error
        numbers[number] = len(numbers)
        self.images.append(element)

    def _add_category(self, element: Element, entry: Any, names: dict[Identifier, str]) -> None:
        title = entry_title("category", element.place, entry)
        number, name = entry.get("id"), entry.get("name")
        if type(number) is not int:
            raise InvalidInput(f"{title}: its id must be a whole number")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InvalidInput(f"{title}: its name must be a text without control characters, and not blank")
        if number in names:
            raise InvalidInput(f"{title}: two categories have this id; give every category its own")
        if name in self.categories:
            raise InvalidInput(
                f"{title} and category {self.categories[name]} are both named {shown(name)}; "
                "a labelling project tells classes by their names, so rename one"
            )
        names[number] = name
        self.categories[name] = number

    def _check_known(self, column: _Column, known: Mapping[Identifier, Any], message: str) -> None:
        unknown = [code for code, value in enumerate(column.values) if value not in known]
        if unknown:
            place = int(np.flatnonzero(np.isin(column.codes(), unknown))[0])
            self._refuse(place, message.format(shown(column.values[column.codes()[place]])))

    def _check_different(self, ids: NDArray[np.int64]) -> None:
        order = np.argsort(ids, kind="stable")
        for again in np.flatnonzero(ids[order][1:] == ids[order][:-1]).tolist():
            one, other = int(order[again]), int(order[again + 1])
            number = self.annotation(other).get("id")
            if identifier(number) is not None and self.annotation(one).get("id") == number:
                self._refuse(other, f"the annotation at place {one} has this id too; give every annotation its own")

    def _refuse(self, place: int, reason: str) -> None:
        title = entry_title("annotation", place, self.annotation(place))
        raise self.located(InvalidInput(f"{title}: {reason}"), self.annotations.offsets[place])

    def annotation(self, place: int) -> dict[str, Any]:
        """The entry of the annotation at a place, read again.

        Raises:
            InvalidInput: If the file was changed since.
        """
        found: dict[str, Any] = parse_element(self.annotation_text(place))
        return found

    def annotation_text(self, place: int) -> bytes:
        """Its JSON; raises like :meth:`annotation`."""
        return self._text(self.annotations, place)

    def image(self, place: int) -> dict[str, Any]:
        """The entry of the image at a place, read again; raises like :meth:`annotation`."""
        found: dict[str, Any] = parse_element(self._text(self.images, place))
        return found

    def _text(self, places: Places, place: int) -> bytes:
        self._file.seek(places.offsets[place])
        try:
            text = self._file.read(places.lengths[place])
        except OSError as error:
            raise InvalidInput(f"{self._name} cannot be read any more: {error.strerror}") from error
        if zlib.crc32(text) != places.checksums[place]:
            raise InvalidInput(f"{self._name} was changed while it was read; run the import again")
        return text


class Places:
    """Where the elements of a list are in the file (bytes from its beginning, lengths in bytes), and their CRC-32."""

    def __init__(self) -> None:
        self.offsets, self.lengths = array("q"), array("q")
        self.checksums = array("I")

    def __len__(self) -> int:
        return len(self.offsets)

    def append(self, element: Element) -> None:
        """Note the next element."""
        self.offsets.append(element.offset)
        self.lengths.append(len(element.text))
        self.checksums.append(zlib.crc32(element.text))


class _Column:
    """Values of which many are equal, kept once each."""

    def __init__(self) -> None:
        self.values: list[Identifier] = []
        self._codes: dict[Identifier, int] = {}
        self._rows = array("q")

    def append(self, value: Identifier) -> None:
        code = self._codes.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        self._rows.append(code)

    def codes(self) -> NDArray[np.int64]:
        return np.frombuffer(self._rows, dtype=np.int64)


def _parsed(element: Element) -> Any:
    try:
        return parse_element(element.text)
    except InvalidInput as error:
        kind = element.list_name[:-1] if element.list_name != "categories" else "category"
        raise InvalidInput(f"the {kind} at place {element.place} (counted from 0) is {error}") from error


def _checked_annotation(place: int, entry: Any) -> tuple[Identifier, Identifier]:
    """Its image_id and category_id."""
    title = entry_title("annotation", place, entry)
    owner, category = identifier(entry.get("image_id")), identifier(entry.get("category_id"))
    if owner is None:
        raise InvalidInput(f"{title}: its image_id {shown(entry.get('image_id'))} is none of the file's images")
    if category is None:
        raise InvalidInput(f"{title}: its category_id {shown(entry.get('category_id'))} is no category's id")
    if entry.get("iscrowd") not in (None, 0, 1):
        raise InvalidInput(f"{title}: iscrowd must be 0 or 1, not {shown(entry['iscrowd'])}")
    box = entry.get("bbox")
    if box not in (None, []) and not (isinstance(box, list) and len(box) == 4 and all(map(_is_length, box))):
        raise InvalidInput(f"{title}: bbox must be four numbers x, y, width, height in pixels, not {shown(box)}")
    if box and min(box[2:]) < 0:
        raise InvalidInput(f"{title}: bbox has the negative width or height {shown(min(box[2:]))}")
    score = entry.get("score", 1)
    if type(score) not in (int, float) or not 0 <= score <= 1:
        raise InvalidInput(f"{title}: score must be a number from 0 to 1, not {shown(score)}")
    return owner, category


def _is_length(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= FARTHEST  # type: ignore[arg-type]


def _as_int64(value: object, place: int) -> int:
    """A number that is the same for the same id, and hardly ever for different ones."""
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    text = f"#{place}" if identifier(value) is None else f"={value!r}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True)
