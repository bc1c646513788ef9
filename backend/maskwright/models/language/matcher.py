"""Refinement of classes without a language model: words are compared by meaning. It reasons about nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskwright.errors import ModelUnavailable
from maskwright.models.language.prompt_sets import read_data
from maskwright.models.protocols import Message
from maskwright.models.sentences import SentenceEncoder

THRESHOLD = 0.67
"""Cosine from which two words are taken to mean the same: of MiniLM, sedan and car have .69, cat and dog .66."""
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST = 3
"""Words in a span of the caption that is compared with a class."""


class SentenceMatcher:
    """Answers the two refinements of a suggestion, and nothing else.

    Pre-refinement: every allowed label that means the same as a tag or a span of the caption, which become its
    evidence; none is implied. Post-refinement: the allowed label nearest to the phrase, or null.

    Args:
        encoder: Gives meanings; None = the packaged one.
    """

    name = "sentence-matcher"

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        self._encoder = encoder or SentenceEncoder()
        self.version = f"{self.name}-{self._encoder.version}-1"

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        """As ``LanguageModel.answer``.

        Raises:
            ModelUnavailable: If the question is not one of the two refinements.
        """
        properties = schema.get("properties", {})
        data = read_data(messages)
        if "label" in properties and "enum" in properties["label"] and isinstance(data.get("phrase"), str):
            return {"label": self._nearest(data["phrase"], [one for one in properties["label"]["enum"] if one])}
        try:
            names = properties["labels"]["items"]["properties"]["name"]["enum"]
        except (KeyError, TypeError):
            raise ModelUnavailable(
                "the sentence matcher is no language model: it only matches tags, captions and phrases with a label "
                "set; name a language model (openai:... or hf:...) for anything else"
            ) from None
        return {"labels": self._refine(data, list(names))}

    def _refine(self, data: Mapping[str, Any], names: list[str]) -> list[dict[str, Any]]:
        tags = [tag for tag in data.get("tags", []) if isinstance(tag, str) and tag.strip()]
        caption = data.get("caption")
        sources = list(dict.fromkeys([*tags, *(_spans(caption) if isinstance(caption, str) else [])]))
        if not sources or not names:
            return []
        similar = self._similarity(sources, names)
        answer = []
        for column, name in enumerate(names):
            rows = np.flatnonzero(similar[:, column] >= THRESHOLD)
            best = [sources[row] for row in sorted(rows, key=lambda row: -similar[row, column])]
            if best:
                answer.append({"name": name, "evidence": _distinct(best), "implied": False})
        return answer

    def _nearest(self, phrase: str, names: list[str]) -> str | None:
        if not phrase.strip() or not names:
            return None
        similar = self._similarity([phrase], names)[0]
        best = int(similar.argmax())
        return names[best] if similar[best] >= THRESHOLD else None

    def _similarity(self, words: list[str], names: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(words, names) cosines; 1 where both are written alike but for case, hyphens and underscores."""
        plain, classes = [_plain(word) for word in words], [_plain(name) for name in names]
        cosines = self._encoder.embed(plain) @ self._encoder.embed(classes).T
        alike = np.array([[word == name for name in classes] for word in plain])
        result: np.ndarray[Any, np.dtype[np.float32]] = np.where(alike, np.float32(1), cosines)
        return result


def _plain(word: str) -> str:
    return " ".join(re.split(r"[\s_-]+", word.casefold())).strip()


def _distinct(words: list[str]) -> list[str]:
    """The first words, without those that only lengthen or shorten an earlier one (dog, a dog)."""
    kept: list[str] = []
    for word in words:
        if not any(word in one or one in word for one in kept):
            kept.append(word)
    return kept


def _spans(caption: str) -> list[str]:
    """Every run of one to three words of a caption, at most 64 words of it."""
    words = _WORD.findall(caption.casefold())[:64]
    return [" ".join(words[i : i + n]) for n in range(1, _LONGEST + 1) for i in range(len(words) - n + 1)]
