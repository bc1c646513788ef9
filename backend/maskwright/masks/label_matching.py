"""What a language model meant by a label: exact name, other case, alias, numbered instance, or a slip of the pen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple

from maskwright.labels import LabelSet
from maskwright.masks.grids import BACKGROUND, MOST_LABEL, is_background

BACKGROUND_WORDS = ("others", "other", "background")
_SHORTEST_CORRECTED = 3
"""Names of fewer letters are one slip away from too many words."""
_INSTANCE = re.compile(r"\s{0,2}#\s{0,2}(\d{1,6})$")
_NUMBERED_ROW = re.compile(r"^(?:row\s{0,2})?\d{1,3}\s{0,2}[:.)\-]\s{0,2}", re.IGNORECASE)
_DECORATION = " \t\"'`*_~.,;:!()[]{}“”‘’«»"


class Match(NamedTuple):
    """What a word was taken for.

    Attributes:
        name: A class name, with its ``#number`` if it had one, or ``BACKGROUND``.
        how: ``known`` without a doubt, ``corrected`` by one letter, or ``unknown`` and hence background.
    """

    name: str
    how: Literal["known", "corrected", "unknown"]


class LabelMatcher:
    """Matches words with the classes of a label set, or takes every word for a class if there is none.

    It remembers its answers, so that one serves one text.

    Args:
        labels: Classes with their aliases, or None.
    """

    def __init__(self, labels: LabelSet | None) -> None:
        self._open = labels is None
        self._exact: dict[str, str] = {BACKGROUND: BACKGROUND}
        self._folded: dict[str, str] = {}
        self._answers: dict[str, Match] = {}
        self._near: dict[tuple[str | int, str], set[str]] = {}
        classes = () if labels is None else labels.classes
        for item in classes:
            name = BACKGROUND if is_background(item.name) else item.name
            self._exact.setdefault(" ".join(item.name.split()), name)
            self._folded.setdefault(_fold(item.name), name)
        for item in classes:
            for alias in item.aliases:
                self._folded.setdefault(_fold(alias), self._exact[" ".join(item.name.split())])
        for word in BACKGROUND_WORDS:
            self._folded.setdefault(word, BACKGROUND)
        for word, name in self._folded.items():
            if _SHORTEST_CORRECTED <= len(word) <= MOST_LABEL // 10:
                for key in _keys(word, "whole", "shorter"):
                    self._near.setdefault(key, set()).add(name)

    def __call__(self, word: str) -> Match:
        """The class that a word means."""
        if word not in self._answers:
            self._answers[word] = self._match(" ".join(word.split()))
        return self._answers[word]

    def knows(self, word: str) -> bool:
        """Whether a word means a class of the label set, or the background, without doubt or after a correction."""
        if self._open:
            return is_background(word)
        return bool(word.strip()) and self(word).how != "unknown"

    def _match(self, word: str) -> Match:
        if not word or len(word) > MOST_LABEL:
            return Match(BACKGROUND, "unknown")
        if self._open:
            return Match(BACKGROUND if is_background(word) else word, "known")
        bare = _NUMBERED_ROW.sub("", word)
        candidates = list(dict.fromkeys((word, word.strip(_DECORATION), bare.strip(_DECORATION))))
        for candidate in candidates:
            if (name := self._without_doubt(candidate)) is not None:
                return Match(name, "known")
        for candidate in candidates:
            stem, number = _split(candidate)
            name = self._without_doubt(stem) or self._one_slip_away(stem)
            if name is not None:
                how: Literal["known", "corrected"] = "known" if self._without_doubt(stem) else "corrected"
                return Match(name if name == BACKGROUND else name + number, how)
        return Match(BACKGROUND, "unknown")

    def _without_doubt(self, word: str) -> str | None:
        return self._exact.get(word) or self._folded.get(_fold(word))

    def _one_slip_away(self, word: str) -> str | None:
        """The only name at an edit distance of 1 (a letter too many, too few, or another), or None."""
        folded = _fold(word)
        if not 2 <= len(folded) <= MOST_LABEL // 10 + 1:
            return None
        found = set[str]()
        for key in _keys(folded, "shorter", "whole"):
            found |= self._near.get(key, set())
        return found.pop() if len(found) == 1 else None


def _fold(word: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", word).casefold().split())


def _split(word: str) -> tuple[str, str]:
    """``dog #2`` as ``dog`` and ``#2``; the second is empty where there is no number."""
    found = _INSTANCE.search(word)
    return (word[: found.start()], f"#{int(found[1])}") if found else (word, "")


def _keys(word: str, whole: str, shorter: str) -> Iterator[tuple[str | int, str]]:
    """Keys of a word under which words at an edit distance of 1 meet.

    The word itself and the word without each of its letters stand under ``whole`` and ``shorter``, which change places
    between those that are listed and those that are looked up; so a word meets what has a letter more or less. Without
    a letter and with its place noted, it meets what has another letter there.
    """
    yield whole, word
    for place in range(len(word)):
        rest = word[:place] + word[place + 1 :]
        yield shorter, rest
        yield place, rest
