"""The JSON text of single tasks on its way into an export, and where each came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from maskwright.annotated import AnnotatedTask, TaskReader
from maskwright.errors import InvalidInput

_BEGINNING = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task begins, for messages.

    Attributes:
        name: A file's name, or a phrase such as ``task 12 of project 3``.
        line: Counted from 1; 0 where the source has no lines.
        column: Bytes from the beginning of the line, counted from 1.
    """

    name: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.name}, line {self.line}, column {self.column}" if self.line else self.name

    def moved(self, line: int, column: int) -> Place:
        """The place at a line and column (counted from 1) of the text that begins here."""
        if not self.line:
            return Place(self.name, line, column)
        return Place(self.name, self.line + line - 1, column if line > 1 else self.column + column - 1)


class TaskDocument(NamedTuple):
    """One task: its JSON text and where it was found."""

    data: bytes
    place: Place


class Fault(NamedTuple):
    """What is wrong with a JSON text, and where."""

    place: Place
    reason: str
    is_cut_off: bool


def find_fault(document: TaskDocument) -> Fault | None:
    """The first place at which a task's text breaks the rules of JSON; None if it does not."""
    try:
        orjson.loads(document.data)
    except orjson.JSONDecodeError as error:
        if error.doc:
            where = document.place.moved(error.lineno, error.colno)
            return Fault(where, error.msg, error.msg.startswith("unexpected end of data"))
        return _encoding_fault(document)
    except RecursionError:
        return Fault(document.place, "nested too deeply", is_cut_off=False)
    return None


def _encoding_fault(document: TaskDocument) -> Fault:
    try:
        document.data.decode()
    except UnicodeDecodeError as error:
        lines = document.data.count(b"\n", 0, error.start)
        column = error.start - document.data.rfind(b"\n", 0, error.start)
        is_cut_off = error.start >= len(document.data) - 3
        return Fault(document.place.moved(lines + 1, column), "not UTF-8 text", is_cut_off)
    return Fault(document.place, "empty, or a surrogate that JSON may not hold", not document.data)


def read_tasks(source: Iterable[TaskDocument], reader: TaskReader) -> Iterator[AnnotatedTask]:
    """The tasks of a source, one by one.

    Raises:
        InvalidInput: If one cannot be read; the message names the place.
    """
    for document in source:
        try:
            task = reader(document.data)
        except InvalidInput as error:
            raise located(error, document) from error
        yield task


def located(error: InvalidInput, document: TaskDocument) -> InvalidInput:
    """What was wrong with a task, with the place; where its text is not JSON, the place of that."""
    fault = find_fault(document)
    if fault is None:
        return type(error)(f"{document.place}: {error}")
    where = f" in line {document.place.line}" if document.place.line else ""
    return InvalidInput(f"{fault.place}: {fault.reason}, in the task that begins{where} with {_beginning(document)!r}")


def _beginning(document: TaskDocument) -> str:
    text = document.data[:_BEGINNING].decode("utf-8", "replace")
    return " ".join(text.split())
