"""The lists of one large JSON object, element by element: memory holds one element, however long the file is.

An element is cut out by a regular expression (strings, brackets nested up to a bound, everything possessive, so that
no input makes it go back), at the speed of a search; it is for the caller to parse it. Grammar: RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import IO, Any, NamedTuple, NoReturn

import orjson

from maskwright.errors import InvalidInput, TooLarge

CHUNK_BYTES = 1 << 20
LONGEST_ELEMENT = 1 << 28
"""Bytes beyond which an element cannot be meant: some 100 times the largest mask that people draw."""
DEEPEST = 24
"""How many brackets may be open at once inside an element."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = rb'[^\[\]{}"]++'


def _bracketed(depth: int) -> bytes:
    """Anything in brackets, nested up to ``depth``; which bracket closes which is left to the parser."""
    inside = _PLAIN + b"|" + _STRING
    pattern = rb"[\[{](?:" + inside + rb")*+[\]}]"
    for _ in range(depth - 1):
        pattern = rb"[\[{](?:" + inside + b"|" + pattern + rb")*+[\]}]"
    return pattern


_VALUE = re.compile(_bracketed(DEEPEST) + b"|" + _STRING + rb'|[^\[\]{}",:\s]++(?=[\s,\]}])', re.DOTALL)
_NAME = re.compile(_STRING, re.DOTALL)
_MARK = re.compile(_STRING + rb'|"[^"\\]*+(?:\\.[^"\\]*+)*+\\?\Z|[\[{]|[\]}]', re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*+")


class Element(NamedTuple):
    """One element of a list.

    Attributes:
        list_name: The list's key.
        place: Its place in the list, from 0.
        offset: Its first byte in the file, from 0.
        text: Its JSON text.
    """

    list_name: str
    place: int
    offset: int
    text: bytes


def read_lists(file: IO[bytes], names: Collection[str], file_name: str) -> Iterator[Element]:
    """The elements of some lists of the object that a file holds, in the file's order. Other keys are passed over.

    Args:
        file: The open file, at its beginning; it can be sought in.
        names: Keys of the lists, all of which must be there.
        file_name: What the file is called in messages.

    Raises:
        InvalidInput: If the file is no JSON object, is cut off, or lacks a list; the message names line and byte.
        TooLarge: If an element has more than ``LONGEST_ELEMENT`` bytes.
    """
    yield from _Scanner(file, file_name).elements(names)


def line_of(file: IO[bytes], offset: int) -> int:
    """The line, from 1, that a byte of a file is in."""
    file.seek(0)
    line, left = 1, offset
    while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
        line, left = line + chunk.count(b"\n"), left - len(chunk)
    return line


class _Scanner:
    """A window that moves over the file: ``_text[_at:]`` comes next."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._text, self._at, self._start = b"", 0, 0
        self._is_last = False
        self._inside = ""

    def elements(self, names: Collection[str]) -> Iterator[Element]:
        if self._peek() == 0xEF and self._text.startswith(b"\xef\xbb\xbf"):
            self._at = 3
        if self._peek() != 0x7B:
            self._fail("the file is not a JSON object; it must begin with {")
        self._at += 1
        found: set[str] = set()
        first = True
        while self._next(first, 0x7D):
            first = False
            key = self._key()
            if key in names and key in found:
                self._fail(f'"{key}" is there twice')
            if self._peek() == 0x5B:
                yield from self._list(key, key in names)
                found.add(key)
            elif key in names:
                self._fail(f'"{key}" must be a list')
            else:
                self._take(f"the value of {key[:60]!r}")
        if self._peek() is not None:
            self._fail("the object ends, but the file goes on")
        missing = [name for name in names if name not in found]
        if missing:
            raise InvalidInput(f'{self._name}: there is no list "{missing[0]}"')

    def _list(self, name: str, wanted: bool) -> Iterator[Element]:
        self._at += 1
        place = 0
        while self._next(place == 0, 0x5D):
            self._inside = f'"{name[:60]}", place {place} (counted from 0)'
            offset, text = self._take(self._inside)
            if wanted:
                yield Element(name, place, offset, text)
            place += 1
        self._inside = ""

    def _next(self, first: bool, end: int) -> bool:
        """Whether another member follows; the comma before it, or the bracket after the last, is passed over."""
        byte = self._peek()
        if byte == end:
            self._at += 1
            return False
        if first and byte is not None:
            return True
        if byte != 0x2C:
            self._fail(f"a comma or {chr(end)} is missing")
        self._at += 1
        if self._peek() == end:
            self._fail("nothing follows a comma")
        return True

    def _key(self) -> str:
        if self._peek() != 0x22:
            self._fail("the name of a member is missing")
        _, text = self._take("a name", _NAME)
        try:
            key = str(orjson.loads(text))
        except orjson.JSONDecodeError:
            self._fail("the name of a member is not JSON")
        if self._peek() != 0x3A:
            self._fail(f"a colon is missing after {key[:60]!r}")
        self._at += 1
        return key

    def _take(self, what: str, pattern: re.Pattern[bytes] = _VALUE) -> tuple[int, bytes]:
        """Offset and text of the value that comes next."""
        self._peek()
        while (match := pattern.match(self._text, self._at)) is None:
            if self._at >= len(self._text) or self._text[self._at] in b"]},:":
                self._fail(f"{what}: a value is missing")
            self._check_depth(what)
            if self._is_last:
                self._fail(f"the file ends inside {what}; is it whole?")
            if len(self._text) - self._at > LONGEST_ELEMENT:
                raise TooLarge(self._message(f"{what} is longer than {LONGEST_ELEMENT} bytes"))
            self._fill()
        offset = self._start + self._at
        self._at = match.end()
        return offset, match[0]

    def _check_depth(self, what: str) -> None:
        depth = 0
        for mark in _MARK.finditer(self._text, self._at):
            byte = mark[0][0]
            depth += (byte in b"[{") - (byte in b"]}")
            if depth > DEEPEST:
                self._fail(f"{what} is nested more than {DEEPEST} brackets deep")
            if depth <= 0:
                return

    def _peek(self) -> int | None:
        """The next byte that is not blank, or None at the end; it is at ``_at`` then."""
        while True:
            match = _BLANK.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_last:
                return None
            self._fill()

    def _fill(self) -> None:
        rest = self._text[self._at :]
        # Reading as much again as there is keeps the work on one long element linear.
        try:
            more = self._file.read(max(CHUNK_BYTES, len(rest)))
        except OSError as error:
            raise InvalidInput(f"{self._name} cannot be read: {error.strerror}") from error
        self._start += self._at
        self._text, self._at = rest + more, 0
        self._is_last = not more

    def _fail(self, reason: str) -> NoReturn:
        if self._is_last and self._at >= len(self._text):
            reason = "the file ends too early; is it whole?"
        raise InvalidInput(self._message(reason))

    def _message(self, reason: str) -> str:
        offset = self._start + self._at
        where = f" after {self._inside}" if self._inside and self._inside not in reason else ""
        return f"{self._name}, line {line_of(self._file, offset)}, byte {offset}: {reason}{where}"


def parse_element(text: bytes) -> Any:
    """The value of an element. ``NaN`` and infinities, which are not JSON but are written, come through as floats.

    Raises:
        InvalidInput: If it is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(f"not JSON: {reason}") from None
