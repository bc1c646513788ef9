"""Grammars of the row-wise form, for engines that let a language model write nothing else.

The form is regular (Text4Seg's, see :mod:`maskwright.masks.text`). A pattern stays small by leaving the sums of counts
open; the grammar in GBNF (llama.cpp, xgrammar and others) has one rule for every number of cells left in a row, so
that every row comes to exactly N.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from maskwright.masks.grids import BACKGROUND, checked_name, checked_side, is_background
from maskwright.masks.text import escaped


def row_wise_pattern(names: Iterable[str], side: int = 16) -> str:
    """A regular expression for a block: N rows of up to N runs whose counts are 1 to N; sums are not checked.

    Only literals, groups, alternatives, ``[...]``, ``?`` and ``{m,n}`` are used, which engines have in common.

    Args:
        names: The classes; ``others`` is always one of the words.
        side: N.

    Raises:
        InvalidInput: If a name is blank or too long, or the side is out of bounds.
    """
    row = row_pattern(names, side)
    more_rows = rf"(?:\n {row}){{{checked_side(side) - 1}}}"
    return f"<seg>{row}{more_rows}\n</seg>"


def row_pattern(names: Iterable[str], side: int = 16) -> str:
    """The same for a single row, without tags and line ends."""
    side = checked_side(side)
    word = "|".join(re.escape(label) for label in _labels(names))
    run = rf"(?:{word}) \*(?:{_numbers(side)})"
    return run + rf"(?:\| {run}){{0,{side - 1}}}"


def row_wise_grammar(names: Iterable[str], side: int = 16) -> str:
    """A grammar in GBNF for a block, exact in the number of rows and the sum of each; see :func:`row_wise_pattern`."""
    side = checked_side(side)
    rows = r' "\n " '.join(["row"] * side)
    lines = [rf'root ::= "<seg>" {rows} "\n</seg>"', f"row ::= left{side}"]
    for left in range(1, side + 1):
        ends = [f'label " *{left}"']
        goes_on = [f'label " *{count}| " left{left - count}' for count in range(1, left)]
        lines.append(f"left{left} ::= " + " | ".join(ends + goes_on))
    lines.append("label ::= " + " | ".join(_quoted(label) for label in _labels(names)))
    return "\n".join(lines) + "\n"


def _labels(names: Iterable[str]) -> list[str]:
    """The words as they stand in a text, the background first. Longer ones before their beginnings."""
    found = dict.fromkeys(escaped(checked_name(name)) for name in names if not is_background(name))
    return [BACKGROUND, *sorted(found, key=len, reverse=True)]


def _numbers(most: int) -> str:
    """A pattern for 1 to ``most``, at most 128."""
    if most < 10:
        return f"[1-{most}]"
    tens, ones = divmod(min(most, 99), 10)
    parts = ["[1-9]"] + ([f"[1-{tens - 1}][0-9]"] if tens > 1 else []) + [f"{tens}[0-{ones}]"]
    if most >= 100:
        tens, ones = divmod(most - 100, 10)
        parts += ([f"1[0-{tens - 1}][0-9]"] if tens else []) + [f"1{tens}[0-{ones}]"]
    return "|".join(reversed(parts))


def _quoted(text: str) -> str:
    r"""A literal of the grammar, with ``\`` and ``"`` escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
