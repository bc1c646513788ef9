"""Words of models as classes of a label set: case, hyphens, joined words and plurals make no difference."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from maskwright.labels import LabelClass, LabelSet

_SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015/]+")
_ARTICLES = frozenset({"a", "an", "the"})
_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "oxen": "ox", "lice": "louse",
}  # fmt: skip
_UNWRITABLE = frozenset({"Cc", "Cs", "Cn"})
"""Unicode categories of what is no text: XML refuses it, and some databases a whole row for it."""
_NO_PLURAL = ("ss", "us", "is")
_SIBILANTS = ("ses", "xes", "zes", "ches", "shes", "oes")
_SHORTEST = 4
"""Letters from which a word that ends in s may be a plural: gas and bus are none."""


def one_line(text: str) -> str:
    """A text on one line without control characters and halves of surrogate pairs: models may write anything."""
    kept = "".join(one for one in text if one.isspace() or unicodedata.category(one) not in _UNWRITABLE)
    return " ".join(kept.split())


def plain(word: str) -> str:
    """A word as models should have written it: no capitals, hyphens, underscores, quotes, or article before it."""
    folded = _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", word).casefold())
    spans = _words(folded)
    words = folded[spans[0][0] : spans[-1][1]] if spans else ""
    closing = words.count("(") - words.count(")")
    first, _, rest = (words + ")" * closing).partition(" ")
    return rest if first in _ARTICLES and rest else f"{first} {rest}".rstrip()


def is_background(name: str) -> bool:
    """Whether a name means what is none of the classes."""
    return plain(name) == "background"


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
    """The part of a sentence that says a word or some words, but for case, hyphens and number; None if there is none.

    It is given as it stands there, in Unicode's form NFKC.
    """
    wanted = keys(word)
    if not wanted:
        return None
    longest = 2 * max(map(len, wanted)) + 8  # a plural's ending and an article come on top of what is compared
    sentence = unicodedata.normalize("NFKC", sentence)
    spans = _words(sentence)
    for first, (start, _) in enumerate(spans):
        letters = 0
        for begin, end in spans[first:]:
            letters += end - begin
            if letters > longest:
                break
            if keys(sentence[start:end]) & wanted:
                return sentence[start:end]
    return None


def _words(text: str) -> list[tuple[int, int]]:
    """Start and end of each run of letters, marks that belong to letters (as in Hindi), and digits."""
    spans: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        if unicodedata.category(character)[0] in "LMN":
            start = spans.pop()[0] if spans and spans[-1][1] == place else place
            spans.append((start, place + 1))
    return spans
