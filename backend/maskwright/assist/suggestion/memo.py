"""Which class a detector's phrase means, asked once for all images, as long as a person agrees."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import NamedTuple

from maskwright.assist.suggestion.names import ClassNames, plain
from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.models.language.answers_cache import KeepsAnswers
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel

LONGEST_PHRASE = 200


class _Key(NamedTuple):
    phrase: str
    labels: str
    prompts: str
    language: str


class PhraseMemo:
    """The post-refinement of phrases, each asked once. Safe under threads; one per process.

    A wrong answer would spoil every later image, so answers end with the label set, the question and the model that
    they are of. Those of a model that keeps its answers are remembered there and nowhere else, so that what a person
    deletes is gone (``maskwright answers``); those of others are remembered in memory.

    Args:
        size: Most phrases in memory; the least recently used leave.

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
        # How classes look is no part of the question.
        key = _Key(cleaned, labels.without_descriptors().content_hash(), question.version, language.version)

        def ask() -> str | None:
            said = language.answer(question.messages, question.schema).get("label")
            # Models that are not forced to the list may answer anything.
            meant = names.find(said) if isinstance(said, str) else None
            return None if meant is None else meant.name

        is_kept = isinstance(language, KeepsAnswers) and language.keeps_answers
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
            return self._remembered(key, ask(), is_kept)
        try:
            answer = ask()
        except BaseException as error:
            with self._lock:
                del self._asked[key]
            mine.set_exception(error)
            raise
        self._remembered(key, answer, is_kept)
        with self._lock:
            del self._asked[key]
        mine.set_result(answer)
        return answer

    def _remembered(self, key: _Key, answer: str | None, is_kept: bool) -> str | None:
        if not is_kept:
            with self._lock:
                self._known[key] = answer
                self._known.move_to_end(key)
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
        return answer
