"""Which class gets which number: the same in every export of a project, whatever is added to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from maskwright.annotated import TaskReader
from maskwright.errors import InvalidInput
from maskwright.export.documents import TaskDocument, located

MOST = 100_000


def number_classes(names: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """Ids for class names.

    Args:
        names: The classes of the dataset.
        known: Ids that were given before. They stay, also those of classes that are no longer there; new classes get
            the numbers after the largest.

    Returns:
        Ids from 1 by name, in the order of ids.
    """
    numbers = dict(known)
    following = max(numbers.values(), default=0) + 1
    for name in names:
        if name not in numbers:
            numbers[name] = following
            following += 1
    return dict(sorted(numbers.items(), key=lambda item: item[1]))


def keep_numbers(written: Mapping[str, int], registered: Mapping[str, int], place: str) -> dict[str, int]:
    """Ids that are taken: those of an earlier dataset for the classes it has, the register's for the others.

    Args:
        written: Ids of the earlier dataset.
        registered: Ids that the project's register keeps.
        place: Where the earlier dataset is, for the message.

    Raises:
        InvalidInput: If the register has given the id of a class of the dataset to another one.
    """
    numbers = dict(written)
    holders = {number: name for name, number in written.items()}
    for name, number in registered.items():
        if name in written:
            continue
        if number in holders:
            raise InvalidInput(
                f"the project's register gives the id {number} to the class {name!r}, but the dataset in {place} gave "
                f"it to {holders[number]!r}; export into another folder, or say which ids are meant: --categories FILE"
            )
        numbers[name] = number
    return numbers


def read_categories(path: Path) -> dict[str, int]:
    """Ids by class name from a file that a person gives.

    It may be a COCO file (its ``categories``), a JSON list of names, a JSON object of ids by name, or text with a name
    per line. Names without ids are numbered from 1.

    Raises:
        InvalidInput: If it cannot be read, or names or ids are missing, malformed or given twice.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read the categories in {path}: {error.strerror}") from error
    stripped = text.removeprefix(b"\xef\xbb\xbf").strip()
    pairs: list[tuple[Any, Any]]
    if stripped[:1] in (b"{", b"["):
        try:
            document = orjson.loads(stripped)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"{path.name}, line {error.lineno}: {error.msg}") from error
        pairs = _pairs(document, path.name)
    else:
        try:
            lines = stripped.decode().splitlines()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path.name} is not UTF-8 text with a class name per line") from error
        pairs = [(line.strip(), number) for number, line in enumerate(filter(str.strip, lines), start=1)]
    return checked_ids(pairs, path.name)


def collect_names(source: Iterable[TaskDocument], reader: TaskReader) -> list[str]:
    """The class names of all tasks, sorted.

    Raises:
        InvalidInput: If a task cannot be read, naming the place.
    """
    found: set[str] = set()
    for document in source:
        try:
            found.update(reader.label_names(document.data))
        except InvalidInput as error:
            raise located(error, document) from error
    return sorted(found)


def _pairs(document: Any, name: str) -> list[tuple[Any, Any]]:
    if isinstance(document, dict) and isinstance(document.get("categories"), list):
        document = document["categories"]
    if isinstance(document, dict):
        return list(document.items())
    if not isinstance(document, list):
        raise InvalidInput(f"{name} holds no categories: give a COCO file, a list of names, or ids by name")
    if all(isinstance(entry, dict) for entry in document):
        return [(entry.get("name"), entry.get("id")) for entry in document]
    return [(entry, number) for number, entry in enumerate(document, start=1)]


def checked_ids(pairs: list[tuple[Any, Any]], name: str) -> dict[str, int]:
    """Ids by class name, in the order of ids.

    Args:
        pairs: (class name, id) as they were read.
        name: What they were read from, for messages.

    Raises:
        InvalidInput: If there are none or too many, or names or ids are malformed or given twice.
    """
    if not pairs or len(pairs) > MOST:
        raise InvalidInput(f"{name} names {len(pairs)} categories; give between 1 and {MOST}")
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    for label, number in pairs:
        if not isinstance(label, str) or not label.strip():
            raise InvalidInput(f"{name}: {label!r} is no name of a category")
        if type(number) is not int or not 0 < number < 2**31:
            raise InvalidInput(f"{name}: the id of category {label!r} is {number!r}; ids are whole numbers from 1")
        if label in numbers:
            raise InvalidInput(f"{name} names the category {label!r} twice")
        if number in taken:
            raise InvalidInput(f"{name} gives the id {number} twice")
        numbers[label] = number
        taken.add(number)
    return dict(sorted(numbers.items(), key=lambda item: item[1]))
