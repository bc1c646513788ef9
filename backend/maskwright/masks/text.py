r"""Grids of semantic descriptors as text that a language model can write.

Source of the forms: Text4Seg (ICLR 2025, arXiv 2410.09855), as its released code writes them:

    answer   = sentence, LF, "<seg>", rows, "</seg>"
    rows     = row, { LF, SP, row }, LF
    row      = run, { "|", SP, run }
    run      = label, SP, "*", count

Runs never cross a row; the counts of a row sum to N. The full-length form is all N * N labels joined by ``"| "``; the
image-wise form is one row of runs that go on from row to row. Ours: in a label, ``|``, ``*`` and what else would be
read as part of the form is preceded by a backslash, and white space is one blank. Labels without such signs stand
verbatim.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks.grids import DescriptorGrid

Form = Literal["full", "image-wise", "row-wise"]
Tokenizer = Callable[[str], int]
"""How many tokens a text has."""

_BAR = "| "
_SPECIAL = re.compile(r"[\\|*]|<(?=\s*/?\s*seg\s*>)|(?<!\S)[x×](?=\s?\d+$)|^`", re.IGNORECASE)
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]|\n")

Run = tuple[str, int]
"""A label and how many cells in a row have it."""


def escaped(label: str) -> str:
    """A label as it stands in a text."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(label.split()))


def runs_of(grid: DescriptorGrid) -> list[list[Run]]:
    """The runs of each row, as long as they can be; counts of a row sum to N."""
    return [_runs(grid, row) for row in grid.cells]


def to_text(grid: DescriptorGrid, form: Form = "row-wise") -> str:
    """The grid in one of the three forms, without ``<seg>``; see the module for the exact form.

    Raises:
        InvalidInput: If there is no such form.
    """
    if form == "full":
        return _BAR.join(escaped(name) for row in grid.words() for name in row)
    if form == "image-wise":
        return _row(_runs(grid, grid.cells.reshape(-1)))
    if form == "row-wise":
        return "\n ".join(_row(runs) for runs in runs_of(grid)) + "\n"
    raise InvalidInput(f"there is no form {form!r} of descriptors; the forms are full, image-wise and row-wise")


def to_block(grid: DescriptorGrid, form: Form = "row-wise") -> str:
    """The same between ``<seg>`` and ``</seg>``."""
    return f"<seg>{to_text(grid, form)}</seg>"


def to_answer(sentence: str, grid: DescriptorGrid, form: Form = "row-wise") -> str:
    """A whole answer: a sentence, then the block on a line of its own."""
    return f"{sentence}\n{to_block(grid, form)}"


def shorter_form(grid: DescriptorGrid, tokenizer: Tokenizer | None = None) -> Form:
    """``row-wise`` or ``full``, whichever has fewer tokens; a chequerboard is twice as long in run lengths."""
    return min(("row-wise", "full"), key=lambda form: tokens(grid, form, tokenizer))


def tokens(grid: DescriptorGrid, form: Form = "row-wise", tokenizer: Tokenizer | None = None) -> int:
    """How many tokens the text of a grid has.

    Args:
        grid: What is written.
        form: How.
        tokenizer: Counts the tokens of a text; without one they are estimated with one token for each word or sign of
            a label, bar, star, count and line end. For R runs of labels of L tokens that is R (L + 3) in row-wise
            form, one less in image-wise form, and N^2 (L + 1) - 1 in full.
    """
    if tokenizer is not None:
        return tokenizer(to_text(grid, form))
    lengths = np.array([words_and_signs(escaped(name)) for name in grid.names])
    if form == "full":
        return int((lengths[grid.cells] + 1).sum()) - 1
    cells = grid.cells.reshape(1, -1) if form == "image-wise" else grid.cells
    starts = np.ones(cells.shape, dtype=np.bool_)
    starts[:, 1:] = cells[:, 1:] != cells[:, :-1]
    return int((lengths[cells[starts]] + 3).sum()) - (form == "image-wise")


def words_and_signs(text: str) -> int:
    """A plain count of tokens: every word, number, sign and line end is one."""
    return len(_WORD_OR_SIGN.findall(text))


def _runs(grid: DescriptorGrid, cells: NDArray[np.int32]) -> list[Run]:
    """The runs of (n,) cells."""
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    lengths = np.diff(starts, append=len(cells))
    return [(grid.names[i], n) for i, n in zip(cells[starts].tolist(), lengths.tolist(), strict=True)]


def _row(runs: list[Run]) -> str:
    return _BAR.join(f"{escaped(name)} *{count}" for name, count in runs)
