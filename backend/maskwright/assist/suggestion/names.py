"""Words of models as classes of a label set: case, hyphens, joined words and plurals make no difference."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from maskwright.labels import LabelClass, LabelSet
from maskwright.masks.grids import is_background

_SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015/]+")
_ARTICLES = frozenset({"a", "an", "the"})
_DECORATION = " \t\"'`*~.,;:!?()[]{}“”‘’«»"
_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "oxen": "ox", "lice": "louse",
}  # fmt: skip
_NO_PLURAL = ("ss", "us", "is")
_SIBILANTS = ("ses", "xes", "zes", "ches", "shes", "oes")
_SHORTEST = 4
"""Letters from which a word that ends in s may be a plural: gas and bus are none."""


def plain(word: str) -> str:
    """A word as models should have written it: no capitals, hyphens, underscores, quotes, or article before it."""
    folded = _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", word).casefold()).strip(_DECORATION)
    first, _, rest = folded.partition(" ")
    return rest if first in _ARTICLES and rest else folded


def singulars(word: str) -> Iterator[str]:
    """A plain word, then what it may be the English plural of; only its last part changes (traffic lights)."""
    yield word
    before, gap, last = word.rpartition(" ")
    start = before + gap
    if last in _IRREGULAR:
        yield start + _IRREGULAR[last]
        return
    compound = next((plural for plural in ("men", "people") if last.endswith(plural)), None)
    if compound is not None:  # policemen, salespeople
        yield start + last.removesuffix(compound) + _IRREGULAR[compound]
    if len(last) < _SHORTEST or not last.endswith("s") or last.endswith(_NO_PLURAL):
        return
    yield start + last[:-1]
    if last.endswith(_SIBILANTS):
        yield start + last[:-2]
    if last.endswith("ies"):
        yield start + last[:-3] + "y"
    if last.endswith("ves"):
        yield start + last[:-3] + "f"
        yield start + last[:-3] + "fe"


def keys(word: str) -> frozenset[str]:
    """Two words are one but for case, hyphens, gaps and number if these have an element in common."""
    return frozenset(form.replace(" ", "") for form in singulars(plain(word)) if form)


class ClassNames:
    """Finds the class that a word means. The class "background" is none.

    Args:
        labels: The project's classes; names come before aliases, and earlier classes before later ones.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.classes = tuple(item for item in labels if not is_background(item.name))
        self._exact = {item.name: item for item in self.classes}
        self._spelt: dict[str, LabelClass] = {}
        self._counted: dict[str, LabelClass] = {}
        for words in (((item.name,) for item in self.classes), (item.aliases for item in self.classes)):
            for item, group in zip(self.classes, words, strict=True):
                self._add(item, group)

    def _add(self, item: LabelClass, words: Iterable[str]) -> None:
        for word in words:
            if spelt := plain(word).replace(" ", ""):
                self._spelt.setdefault(spelt, item)
            for key in keys(word):
                self._counted.setdefault(key, item)

    def find(self, word: str) -> LabelClass | None:
        """The class of this name; else of this name or alias but for case and hyphens; else but for number too."""
        found = self._exact.get(word) or self._spelt.get(plain(word).replace(" ", ""))
        if found is not None:
            return found
        forms = (form.replace(" ", "") for form in singulars(plain(word)))
        return next((self._counted[form] for form in forms if form in self._counted), None)


def find_run(word: str, sentence: str) -> str | None:
    """The part of a sentence, as it stands there, that says a word or some words, but for case, hyphens and number."""
    wanted = keys(word)
    if not wanted:
        return None
    length = max(len(key) for key in wanted)
    tokens = [(found.start(), found.end()) for found in re.finditer(r"[^\W_]+", sentence)]
    for first, (start, _) in enumerate(tokens):
        for _, end in tokens[first:]:
            run = sentence[start:end]
            # An article and a plural's ending may come on top of what is compared.
            if len(run) > 2 * length + 8:
                break
            if keys(run) & wanted:
                return run
    return None
