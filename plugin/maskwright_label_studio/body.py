"""Request bodies, read once, without reading the masks that nobody asked about.

Label Studio sends every annotation, draft and prediction of a task in full with each click, so a body holds megabytes
of brush masks. Their integers are skipped at the speed of a memory search, and read only for a stroke that is a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from maskwright.errors import InvalidInput

_SMALL = 1 << 15
_KEY = b'"rle"'
_ARRAY = re.compile(rb"\s*:\s*\[")
_NO_BYTES = "the 'rle' of a brush region is not a list of integers from 0 to 255"


@dataclass(frozen=True)
class RequestBody:
    """A parsed JSON object.

    Attributes:
        document: The object, in which arrays under a key ``rle`` may be replaced by their position in ``arrays``.
        arrays: The JSON text of those arrays.
    """

    document: dict[str, Any]
    arrays: tuple[bytes, ...] = ()

    def run_lengths(self, value: Mapping[str, Any]) -> bytes:
        """The array under ``rle`` of a region's value.

        Raises:
            InvalidInput: If there is none, or it is not a list of bytes.
        """
        found = value.get("rle")
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < len(self.arrays):
            return _parsed(self.arrays[found])
        if not isinstance(found, list) or not set(map(type, found)) <= {int}:
            raise InvalidInput(_NO_BYTES)
        return _packed(found)


def _parsed(text: bytes) -> bytes:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(_NO_BYTES) from error
    # ``bytes`` takes true and false for 1 and 0 and refuses fractions; of the words, each of those two has an e.
    if b"e" in text:
        raise InvalidInput(_NO_BYTES)
    return _packed(found)


def _packed(numbers: list[Any]) -> bytes:
    try:
        return bytes(numbers)
    except (TypeError, ValueError) as error:
        raise InvalidInput(_NO_BYTES) from error


def read_body(data: bytes, what: str = "the request body") -> RequestBody:
    """Parse a request body, or another document of tasks.

    Args:
        data: Its JSON text.
        what: What the messages call it.

    Raises:
        InvalidInput: If it is not a JSON object.
    """
    text, arrays = (data, []) if len(data) < _SMALL else _without_arrays(data)
    try:
        document = _parsed_document(text, data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{what} is not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise InvalidInput(f"{what} is nested too deeply") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{what} must be a JSON object")
    return RequestBody(document, tuple(arrays))


def _parsed_document(text: bytes, whole: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # A list in a list of run lengths makes the cut wrong; and only the whole text gives the place of an error.
        if text is whole:
            raise
        return orjson.loads(whole)


def _without_arrays(data: bytes) -> tuple[bytes, list[bytes]]:
    kept: list[bytes] = []
    arrays: list[bytes] = []
    start = at = 0
    while (at := data.find(_KEY, at)) >= 0:
        at += len(_KEY)
        opening = _ARRAY.match(data, at)
        # A quote after a backslash is inside a string; any other makes "rle" a whole string, here a key.
        if opening is None or data[at - len(_KEY) - 1] == 0x5C:
            continue
        end = data.find(b"]", opening.end())
        if end < 0:
            break
        kept += (data[start : opening.end() - 1], b"%d" % len(arrays))
        arrays.append(data[opening.end() - 1 : end + 1])
        start = at = end + 1
    kept.append(data[start:])
    return b"".join(kept), arrays
