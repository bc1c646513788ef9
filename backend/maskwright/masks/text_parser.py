"""Reading descriptors that a language model wrote, whatever is wrong with them.

The released code of Text4Seg loses everything after the first bad row. This parser goes row by row, repairs what it
can, and says what it repaired. It raises on no text, returns a grid of the wanted side always, and takes time and
memory by the bound on the text (``MOST_TEXT``) and the side, whatever counts the text claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.labels import LabelSet
from maskwright.masks.grids import BACKGROUND, MOST_LABEL, DescriptorGrid, checked_side
from maskwright.masks.label_matching import LabelMatcher

MOST_TEXT = 2**22
"""Characters that are looked at."""
MOST_WARNINGS = 20
_MOST_BLOCKS = 8

_TAG = re.compile(r"\\.|<\s{0,3}(/?)\s{0,3}seg\s{0,3}>", re.IGNORECASE | re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LINE_END = re.compile(r"\r\n?|[\u2028\u2029\x85\x0b\x0c]")
_FENCE = re.compile(r"^`{3,}\s*\w*$")
_PIECE = re.compile(r"(?:[^\\|]|\\.?)++", re.DOTALL)
_COUNTED = re.compile(r"[*×x]\s{0,3}\d|\\?\*\s*$", re.IGNORECASE)
_STAR = re.compile(r"(?<!\\)\*|(?<=\s)[x×](?=\s{0,3}\d+$)|×(?=\s{0,3}\d+$)", re.IGNORECASE)
_NUMBER = re.compile(r"\s*(\d+)[\s.,;:)\]]*$")
_TRAILING_NUMBER = re.compile(r"[\s:(=]{1,3}(\d+)\)?$")

ReadAs = Literal["auto", "row-wise", "flat"]
"""``row-wise``: a line for each row. ``flat``: full-length or image-wise, one sequence of N * N cells. ``auto``: flat
if there is one line and it holds more than N cells."""


@dataclass(frozen=True, eq=False)
class ParsedGrid:
    """What was read, and how far to trust it.

    Attributes:
        grid: N x N; of the label set only the classes that were found.
        repairs: For each of the N rows how many of its cells were guessed: filled in, cut, of an unknown or corrected
            label, or of a count that could not be read.
        confidence: 1 - guessed cells / N^2.
        warnings: What was wrong, in words; at most ``MOST_WARNINGS`` and one that counts the rest.
    """

    grid: DescriptorGrid
    repairs: tuple[int, ...]
    confidence: float
    warnings: tuple[str, ...]


class _Run(NamedTuple):
    """A run as it was read: its label's number, its length (None if unreadable), whether the label is a guess."""

    label: int
    cells: int | None
    guessed: bool


class _Notes:
    """Warnings, each told once."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._more = 0

    def add(self, text: str) -> None:
        if text in self._told:
            return
        if len(self._told) < MOST_WARNINGS:
            self._told[text] = None
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        return (*self._told, *([f"and {self._more} more"] if self._more else []))


def parse_text(text: str, side: int = 16, labels: LabelSet | None = None, form: ReadAs = "auto") -> ParsedGrid:
    """Read the descriptors in an answer.

    Args:
        text: The whole answer, or only its block. Blocks may lack ``</seg>`` or both tags, and prose and code fences
            may stand around them.
        side: N, as it was asked for.
        labels: The classes asked about. A label is matched exactly, then without regard to case, by alias, by an edit
            distance of 1, and is background otherwise. Without a label set every label is taken as it stands.
        form: How the cells are laid out.

    Raises:
        InvalidInput: Only if the side is out of bounds.
    """
    side, notes = checked_side(side), _Notes()
    if len(text) > MOST_TEXT:
        notes.add(f"only the first {MOST_TEXT} characters were read")
    matcher = LabelMatcher(labels)
    lines = _lines(text[:MOST_TEXT], side, matcher, notes)
    reader = _Reader(matcher, notes)
    flat = form == "flat"
    first: list[_Run] = []
    if form != "row-wise" and len(lines) == 1:
        first = reader.runs(lines[0], side * side)
        flat = flat or sum(run.cells or 1 for run in first) > side
    if flat and lines:
        runs = first if len(lines) == 1 else reader.runs("|".join(lines), side * side)
        cells, guessed = _filled(runs, side * side, "the grid", notes)
        cells, guessed = cells.reshape(side, side), guessed.reshape(side, side)
    else:
        cells, guessed = _rows(lines, side, reader, notes)
    repairs = guessed.sum(axis=1)
    grid = DescriptorGrid(tuple(reader.names), cells)
    return ParsedGrid(grid, tuple(repairs.tolist()), 1 - int(repairs.sum()) / side**2, notes.all())


def _rows(lines: list[str], side: int, reader: _Reader, notes: _Notes) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Cells of the rows and which of them are guesses."""
    cells = np.zeros((side, side), dtype=np.int32)
    guessed = np.ones((side, side), dtype=np.bool_)
    for number in range(side):
        runs = reader.runs(lines[number], side) if number < len(lines) else []
        if any(run.cells != 0 for run in runs):
            cells[number], guessed[number] = _filled(runs, side, f"row {number + 1}", notes)
        elif number:
            cells[number] = cells[number - 1]
    if len(lines) < side:
        notes.add(
            f"{len(lines)} rows instead of {side}: the last one was repeated" if lines else "no descriptors found"
        )
    if len(lines) > side:
        notes.add(f"{len(lines)} rows instead of {side}: those at the end were dropped")
        guessed[-1] = True
    return cells, guessed


def _filled(runs: list[_Run], length: int, where: str, notes: _Notes) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(length,) cells from runs, cut or filled up with the last label, and which of them are guesses."""
    unread = [run for run in runs if run.cells is None]
    spare = length - sum(run.cells for run in runs if run.cells is not None)
    if unread:
        notes.add(f"{where}: the count of {len(unread)} run(s) could not be read")
    cells, guessed = np.zeros(length, dtype=np.int32), np.zeros(length, dtype=np.bool_)
    at = 0
    for run in runs:
        # A single missing count is what the others leave.
        count = run.cells if run.cells is not None else max(1, spare) if len(unread) == 1 else 1
        end = min(length, at + count)
        cells[at:end] = run.label
        guessed[at:end] = run.guessed or run.cells is None
        if at + count > length:
            notes.add(f"{where}: more than {length} cells: cut")
            guessed[max(0, length - (at + count - length)) :] = True
            return cells, guessed
        at = end
    if at < length:
        notes.add(f"{where}: {at} cells instead of {length}: filled up with the last label")
        cells[at:] = runs[-1].label if runs else 0
        guessed[at:] = True
    return cells, guessed


class _Reader:
    """Reads runs and numbers their labels in the order of appearance.

    Attributes:
        names: The names that were found, the background first.
    """

    def __init__(self, matcher: LabelMatcher, notes: _Notes) -> None:
        self._match, self._notes = matcher, notes
        self._known = {BACKGROUND: 0}

    @property
    def names(self) -> list[str]:
        return list(self._known)

    def runs(self, line: str, cells: int) -> list[_Run]:
        """The runs of a line; no more than it takes to fill so many cells and to see that there are too many."""
        found: list[_Run] = []
        filled = 0
        for piece in _PIECE.finditer(line):
            if piece[0].isspace():
                continue
            run = self._run(piece[0].strip(), cells)
            found.append(run)
            filled += run.cells or 0
            if filled > cells or len(found) > 4 * cells:
                break
        return found

    def _run(self, piece: str, cells: int) -> _Run:
        label, count = _split(piece[: 3 * MOST_LABEL])  # with every character escaped a label is not longer
        name, how = self._match(label)
        if how == "unknown" and (trailing := _TRAILING_NUMBER.search(label)) and count == 1:
            # "dog 3" lacks its star.
            shorter = self._match(label[: trailing.start()])
            if shorter.how != "unknown":
                label, (name, how), count = label[: trailing.start()], shorter, _number(trailing[1])
        if how == "unknown":
            self._notes.add(f"unknown label {label[:80]!r}: taken for background")
        elif how == "corrected":
            self._notes.add(f"label {label[:80]!r}: taken for {name!r}")
        if count == 0:
            self._notes.add(f"a run of no cells of {label[:80]!r}")
        index = self._known.setdefault(name, len(self._known))
        return _Run(index, None if count is None else min(count, 2 * cells), how != "known")


def _split(piece: str) -> tuple[str, int | None]:
    """Label and count of a run; 1 where there is none, None where what follows the star is no number."""
    stars = list(_STAR.finditer(piece))
    if not stars:
        return _unescaped(piece), 1
    last = stars[-1]
    number = _NUMBER.match(piece, last.end())
    label = piece[: last.start()].rstrip()
    while label.endswith("*") and not label.endswith("\\*"):
        label = label[:-1].rstrip()
    if number is None and label and not label[-1].isspace() and last.end() == len(piece) and label[:1] == "*":
        return _unescaped(piece), 1  # "*dog*" is emphasis, not a run
    return _unescaped(label), _number(number[1]) if number else None


def _number(digits: str) -> int:
    """A count; the longest are all the same, and Python refuses to read them."""
    return int(digits) if len(digits) < 10 else 10**9


def _unescaped(label: str) -> str:
    return _ESCAPE.sub(r"\1", label)


def _lines(text: str, side: int, matcher: LabelMatcher, notes: _Notes) -> list[str]:
    """The lines of the block that hold rows, without blank ones."""
    block, opened, closed = _block(text)
    block = _LINE_END.sub("\n", block)
    if "\n" not in block.strip():
        # JSON that was escaped twice; our own escapes never make "\n".
        block = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[0], block)
    lines = [line for raw in block.split("\n") if (line := raw.strip()) and not _FENCE.match(line)]
    if opened and closed:
        return lines
    rows = _between_prose(lines, side, matcher)
    if opened or closed or len(rows) < len(lines):
        notes.add("no </seg> in the answer" if opened else "no <seg> in the answer")
    if len(rows) < len(lines):
        notes.add(f"{len(lines) - len(rows)} line(s) around the descriptors were taken for prose")
    return rows


def _block(text: str) -> tuple[str, bool, bool]:
    """What stands between the tags, and whether there is an opening and a closing one.

    Of several blocks the first that holds something like a run counts: the tag may be spoken of in prose.
    """
    tags = [m for m in _TAG.finditer(text) if m[1] is not None][: 2 * _MOST_BLOCKS]
    blocks = []
    for number, tag in enumerate(tags):
        if tag[1]:
            continue
        after = tags[number + 1] if number + 1 < len(tags) else None
        end = after.start() if after else len(text)
        blocks.append((text[tag.end() : end], bool(after and after[1])))
    for block, closed in blocks:
        if "|" in block or _COUNTED.search(block):
            return block, True, closed
    if blocks:
        return blocks[0][0], True, blocks[0][1]
    return (text[: tags[0].start()], False, True) if tags else (text, False, False)


def _between_prose(lines: list[str], side: int, matcher: LabelMatcher) -> list[str]:
    """The lines from the first to the last that looks like a row; if they are too many, only those that do."""
    like_rows = [
        "|" in line or bool(_COUNTED.search(line)) or matcher.knows(_TRAILING_NUMBER.sub("", line)) for line in lines
    ]
    if True not in like_rows:
        return []
    first, last = like_rows.index(True), len(lines) - like_rows[::-1].index(True)
    if last - first <= side:
        return lines[first:last]
    return [line for line, like_row in zip(lines, like_rows, strict=True) if like_row]
