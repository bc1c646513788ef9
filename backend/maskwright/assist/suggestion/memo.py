"""Which class a detector's phrase means, asked once and remembered for all images, as long as a person agrees."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from maskwright.assist.suggestion.names import ClassNames, plain
from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel

LONGEST_PHRASE = 200


class _Key(NamedTuple):
    phrase: str
    labels: str
    prompts: str
    language: str


@dataclass(frozen=True)
class MemoEntry:
    """What was answered once.

    Attributes:
        phrase: A detector's words, plain.
        label: The class, or None where it is none of them.
        labels: Hash of the label set that was chosen from.
        prompts: Version of the question.
        language: Version of the language model.
    """

    phrase: str
    label: str | None
    labels: str
    prompts: str
    language: str


class PhraseMemo:
    """The post-refinement of phrases, remembered. Safe under threads; one per process, in memory only.

    A wrong answer would spoil every later image, so entries end with the label set, the question and the model that
    they are of, and a person can see and delete them.

    Args:
        size: Most entries; the least recently used leave.

    Raises:
        InvalidInput: If ``size`` is below 1.
    """

    def __init__(self, size: int = 4096) -> None:
        if size < 1:
            raise InvalidInput(f"a memo of {size} phrases; it must hold at least 1")
        self._size = size
        self._known: OrderedDict[_Key, str | None] = OrderedDict()
        self._asked: dict[_Key, Future[str | None]] = {}
        self._lock = threading.Lock()

    def label(self, phrase: str, labels: LabelSet, language: LanguageModel | None, prompts: PromptSet) -> str | None:
        """The class that a phrase means; None if it is none of them, or nobody can be asked.

        A phrase that names a class is that class and costs no question. However many threads want one phrase at a time,
        the model is asked once; if that fails, each asks for itself, since it may have failed for the other's budget.

        Args:
            phrase: A detector's words for an object.
            labels: The classes to choose from; "background" is none.
            language: Asked, with its own tries and bounds.
            prompts: What is asked.

        Raises:
            ModelUnavailable: If the model gives no answer; nothing is remembered then.
        """
        names = ClassNames(labels)
        item = names.find(phrase)
        if item is not None:
            return item.name
        cleaned = plain(phrase)
        if language is None or not names.classes or not cleaned or len(cleaned) > LONGEST_PHRASE:
            return None
        question = prompts.question("post-refinement", labels=[one.name for one in names.classes], phrase=cleaned)
        key = _Key(cleaned, labels.content_hash(), question.version, language.version)

        def ask() -> str | None:
            said = language.answer(question.messages, question.schema).get("label")
            # Models that are not forced to the list may answer anything.
            meant = names.find(said) if isinstance(said, str) else None
            return None if meant is None else meant.name

        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            others = self._asked.get(key)
            mine: Future[str | None] = Future()
            if others is None:
                self._asked[key] = mine
        if others is not None:
            if others.exception() is None:
                return others.result()
            answer = ask()
            self._remember(key, answer)
            return answer
        try:
            answer = ask()
        except BaseException as error:
            with self._lock:
                if self._asked.get(key) is mine:
                    del self._asked[key]
            mine.set_exception(error)
            raise
        self._remember(key, answer, mine)
        mine.set_result(answer)
        return answer

    def forget(self, phrase: str) -> int:
        """Delete what is remembered of a phrase, for every label set, question and model; returns how many there were.

        An answer that is on its way is not remembered either.
        """
        cleaned = plain(phrase)
        with self._lock:
            gone = [key for key in self._known if key.phrase == cleaned]
            for key in gone:
                del self._known[key]
            for key in [key for key in self._asked if key.phrase == cleaned]:
                del self._asked[key]
        return len(gone)

    def entries(self) -> list[MemoEntry]:
        """Everything that is remembered, the most recently used first."""
        with self._lock:
            return [
                MemoEntry(key.phrase, label, key.labels, key.prompts, key.language)
                for key, label in reversed(self._known.items())
            ]

    def _remember(self, key: _Key, label: str | None, flight: Future[str | None] | None = None) -> None:
        with self._lock:
            if flight is not None:
                if self._asked.get(key) is not flight:
                    return  # forgotten meanwhile
                del self._asked[key]
            self._known[key] = label
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
