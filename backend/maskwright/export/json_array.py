"""Splitting a huge JSON array into the texts of its elements: constant memory, close to the speed of the disk.

Only quotes, backslashes and brackets matter for where an element ends. They are found with numpy, block by block; the
masks between them (run lengths, base64) are never looked at. What an element holds is for whoever parses it to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, TooLarge
from maskwright.export.documents import Place, TaskDocument, find_fault

BLOCK_BYTES = 1 << 22
LARGEST_ELEMENT = 1 << 28
"""Bytes of the longest element. A forgotten quote can make one of the whole rest of a file."""

_FIRST_LOOK = 1 << 24
"""Bytes of an element from which on its beginning is checked, so that a forgotten quote is found early."""
_QUOTE, _BACKSLASH, _ARRAY_BEGINS, _ARRAY_ENDS = b'"\\[]'
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \t\r\n]*")
_COMMA = re.compile(rb"[ \t\r\n]*(?:,[ \t\r\n]*)?")
_SHOWN = 40


def read_array(path: Path) -> Iterator[TaskDocument]:
    """The elements of the JSON array in a file.

    Yields:
        The text of every element, an object or array, with its place.

    Raises:
        InvalidInput: If the file cannot be read, is not a JSON array of objects, or ends early; the message names
            file, line and column. Errors inside an element are left to its reader.
        TooLarge: If an element has more than 2**28 bytes.
    """
    try:
        with path.open("rb") as stream:
            yield from split_array(stream, path.name)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


def split_array(stream: BinaryIO, name: str, block_bytes: int = BLOCK_BYTES) -> Iterator[TaskDocument]:
    """As :func:`read_array`, from an open file.

    Args:
        stream: Read from where it stands.
        name: What messages call it.
        block_bytes: How much is read at once.
    """
    splitter = _Splitter(name)
    first = True
    while block := stream.read(block_bytes):
        if first and block.startswith(_BYTE_ORDER_MARK):
            block = block[len(_BYTE_ORDER_MARK) :]
        first = False
        yield from splitter.feed(block)
    splitter.end()


class _Splitter:
    def __init__(self, name: str) -> None:
        self._name = name
        self._in_string = False
        self._escaped = False  # the first byte of the next block stands after a backslash that counts
        self._depth = 0
        self._closed = False
        self._count = 0
        self._gap = b""  # what stands between elements
        self._pieces: list[bytes] = []
        self._held = 0
        self._look_at = _FIRST_LOOK
        self._begin = Place(name, 1, 1)  # of the element at hand, or of the gap
        self._line, self._line_start = 1, 0  # at the offset self._at
        self._at = 0

    def feed(self, block: bytes) -> Iterator[TaskDocument]:
        """The elements that end in a block."""
        brackets, steps = self._brackets(block)
        depths = self._depth + np.cumsum(steps)
        begins, ends = (steps > 0) & (depths <= 2), (steps < 0) & (depths <= 1)
        base, start = self._at, 0
        for index in np.flatnonzero(begins | ends).tolist():
            position, depth = int(brackets[index]), int(depths[index])
            if steps[index] > 0 and depth == 2:
                self._check_gap(block[start:position], is_before_element=True)
                self._advance(block, base, position)
                self._begin = Place(self._name, self._line, position + base - self._line_start + 1)
                start = position
            elif steps[index] < 0 and depth == 1:
                yield self._element(block[start : position + 1])
                self._advance(block, base, position + 1)
                self._begin = Place(self._name, self._line, position + 1 + base - self._line_start + 1)
                start = position + 1
            else:
                self._check_outer(block, start, position, depth)
                self._advance(block, base, position + 1)
                self._begin = Place(self._name, self._line, position + 1 + base - self._line_start + 1)
                start = position + 1
        if len(depths):
            self._depth = int(depths[-1])
        if self._depth >= 2:
            self._hold(block[start:])
        else:
            self._check_gap(block[start:], is_before_element=False)
        self._advance(block, base, len(block))

    def end(self) -> None:
        """Check that the array has ended."""
        if self._closed:
            return
        if self._depth >= 2:
            self._explain_element()
        if not self._depth and not self._gap:
            raise InvalidInput(f"{self._name} is empty; it should hold a JSON list of tasks")
        raise InvalidInput(
            f"{self._name}, line {self._line}: the file ends before its list does; it was probably cut off"
        )

    def _brackets(self, block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the brackets outside of strings, and 1 or -1 for those that open and close."""
        codes = np.frombuffer(block, dtype=np.uint8)
        folded = codes | 0x20  # turns [ and ] into { and }
        hits = np.flatnonzero((codes == _QUOTE) | (codes == _BACKSLASH) | (folded == 0x7B) | (folded == 0x7D))
        found = codes[hits]
        quotes = hits[found == _QUOTE]
        escaped = self._escaped_positions(hits[found == _BACKSLASH], len(block))
        if len(escaped):
            quotes = quotes[~np.isin(quotes, escaped)]
        is_bracket = (found != _QUOTE) & (found != _BACKSLASH)
        brackets, kinds = hits[is_bracket], found[is_bracket]
        outside = (np.searchsorted(quotes, brackets) + self._in_string) % 2 == 0
        self._in_string = bool((len(quotes) + self._in_string) % 2)
        brackets, kinds = brackets[outside], kinds[outside]
        return brackets, np.where((kinds | 0x20) == 0x7B, 1, -1)

    def _escaped_positions(self, backslashes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Where bytes stand whose backslash is not itself escaped; notes whether the next block begins with one."""
        pending, self._escaped = self._escaped, False
        if not len(backslashes):
            return np.zeros(int(pending), dtype=np.int64)
        first = np.flatnonzero(np.diff(backslashes, prepend=-2) > 1)
        lengths = np.diff(first, append=len(backslashes))
        after = backslashes[first] + lengths
        extra = []
        if pending:
            if backslashes[0] == 0:
                lengths[0] -= 1
            else:
                extra = [0]
        escaped = after[lengths % 2 == 1]
        if len(escaped) and escaped[-1] == length:
            self._escaped, escaped = True, escaped[:-1]
        return np.concatenate([np.array(extra, dtype=np.int64), escaped])

    def _advance(self, block: bytes, base: int, position: int) -> None:
        before = self._at - base
        if lines := block.count(b"\n", before, position):
            self._line += lines
            self._line_start = base + block.rfind(b"\n", before, position) + 1
        self._at = base + position

    def _element(self, last: bytes) -> TaskDocument:
        data = b"".join([*self._pieces, last]) if self._pieces else last
        self._pieces, self._held, self._look_at = [], 0, _FIRST_LOOK
        self._count += 1
        return TaskDocument(data, self._begin)

    def _hold(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held >= self._look_at:
            self._look_at *= 2
            self._explain_element(only_faults=True)
        if self._held > LARGEST_ELEMENT:
            raise TooLarge(
                f"{self._begin}: this task has more than {LARGEST_ELEMENT >> 20} MB, which cannot be meant; "
                "is a quote missing?"
            )

    def _explain_element(self, only_faults: bool = False) -> None:
        fault = find_fault(TaskDocument(b"".join(self._pieces), self._begin))
        if fault is not None and not fault.is_cut_off:
            raise InvalidInput(f"{fault.place}: {fault.reason}, in the task that begins in line {self._begin.line}")
        if not only_faults:
            raise InvalidInput(
                f"{self._name}: the file ends within the task that begins in line {self._begin.line}, "
                f"column {self._begin.column}; it was probably cut off"
            )

    def _check_gap(self, text: bytes, *, is_before_element: bool) -> None:
        """What stands before, between and behind elements: white space and, between two, one comma."""
        self._gap += text
        rest = self._gap.strip(b" \t\r\n")
        if self._depth == 0 or self._count == 0:
            allowed = not rest
        else:
            allowed = rest == b"," or (not is_before_element and not rest)
        if not allowed:
            self._refuse_gap()
        if is_before_element:
            self._gap = b""

    def _check_outer(self, block: bytes, start: int, position: int, depth: int) -> None:
        """The brackets of the array itself."""
        self._gap += block[start:position]
        rest = self._gap.strip(b" \t\r\n")
        opens = block[position] == _ARRAY_BEGINS
        fits = not rest and (
            (opens and depth == 1 and not self._closed and self._count == 0)
            or (block[position] == _ARRAY_ENDS and depth == 0)
        )
        if not fits:
            self._gap += block[position : position + _SHOWN]
            self._refuse_gap()
        self._gap = b""
        self._closed = not opens
        self._depth = depth  # so that gaps further on are judged by it

    def _refuse_gap(self) -> None:
        skipped = (_COMMA if self._count and not self._closed else _SPACE).match(self._gap)
        lead = self._gap[: skipped.end()] if skipped else b""
        lines = lead.count(b"\n")
        where = self._begin.moved(lines + 1, len(lead) - lead.rfind(b"\n") if lines else len(lead) + 1)
        shown = self._gap[len(lead) : len(lead) + _SHOWN].decode("utf-8", "replace")
        if self._closed:
            expected = "nothing may follow the list"
        elif not self._depth and not self._count:
            expected = "expected a list of tasks, which begins with ["
        else:
            expected = "expected a comma and the next task (an object), or the end of the list"
        raise InvalidInput(f"{where}: {expected}" + (f"; found {shown!r}" if shown else ""))
