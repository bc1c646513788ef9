"""How the classes of an image look, in words: written by a person, or said by a language model, once or for the image.

After LangSeg (arXiv 2501.16467) and its descriptors in context. They are looked for beside the names (``Search``) and
count where pixels are compared with words (``places``); a class that nobody describes is looked for by its names.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.names import ClassNames, find_run
from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.models.detectors.embedded import EmbeddedDetector
from maskwright.models.language.answers_cache import KeepsAnswers
from maskwright.models.language.budget import Budget, BudgetedModel
from maskwright.models.language.descriptors import LONGEST, describe_classes
from maskwright.models.language.matcher import SentenceMatcher
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Detector, LanguageModel

MOST_PHRASES = 3
"""Descriptors of a class that a detector is asked for; each costs it as much as another class."""
MOST_SECONDS = 120.0
"""Of questions in a row about a label set: somebody waits for the image. The rest is asked ``AGAIN`` seconds later."""
AGAIN = 300.0
NOBODY = (
    "classes are looked for by their names alone: no language model is there that could describe them; set one "
    "(openai:... or hf:...), write hints into the labelling configuration, or take descriptors 'written'"
)


@dataclass(frozen=True)
class Described:
    """The classes of an image with descriptors.

    Attributes:
        labels: All classes of the project.
        problems: Why some have none, in words.
        is_degraded: Whether a language model gave no answer, so that another time may give more.
    """

    labels: LabelSet
    problems: tuple[str, ...] = ()
    is_degraded: bool = False


class _Key(NamedTuple):
    labels: str
    prompts: str
    language: str


class DescriptorMemo:
    """What a language model said of the classes of label sets, each class asked about once. Safe under threads.

    Answers end with the label set, the questions and the model that they are of. Those of a model that keeps its
    answers are remembered there and nowhere else, as with ``PhraseMemo``. Where answers are missing, those that came
    are remembered, and the rest is asked for again after ``AGAIN`` seconds.

    Args:
        size: Most label sets in memory; the least recently used leave.
        clock: Seconds from any start.

    Raises:
        InvalidInput: If ``size`` is below 1.
    """

    def __init__(self, size: int = 64, clock: Callable[[], float] = time.monotonic) -> None:
        if size < 1:
            raise InvalidInput(f"a memo of {size} label sets; it must hold at least 1")
        self._size, self._clock = size, clock
        self._known: OrderedDict[_Key, tuple[Described, float]] = OrderedDict()
        self._asked: dict[_Key, Future[Described]] = {}
        self._lock = threading.Lock()

    def described(
        self, labels: LabelSet, language: LanguageModel, prompts: PromptSet, options: StageOptions
    ) -> Described:
        """The classes, of which those without descriptors were asked about.

        However many threads want one label set at a time, one asks; if that one is cancelled, another asks.

        Args:
            labels: The project's classes.
            language: Asked, not within the budget of an image: what one image may cost may be spent for each class.
            prompts: What is asked.
            options: What one image may cost.

        Raises:
            Cancelled: If the language model was cancelled.
        """
        key = _Key(labels.content_hash(), prompts.version, language.version)
        while True:
            with self._lock:
                before = self._known.get(key)
                if before is not None and self._clock() < before[1]:
                    self._known.move_to_end(key)
                    return before[0]
                others = self._asked.get(key)
                if others is None:
                    mine = self._asked[key] = Future()
                    break
            if others.exception() is None:
                return others.result()
        try:
            found = _asked(labels if before is None else before[0].labels, language, prompts, options)
        except BaseException as error:
            with self._lock:
                del self._asked[key]
            mine.set_exception(error)
            raise
        is_kept = isinstance(language, KeepsAnswers) and language.keeps_answers
        with self._lock:
            if found.is_degraded or not is_kept:
                self._known[key] = found, self._clock() + AGAIN if found.is_degraded else math.inf
                self._known.move_to_end(key)
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
            else:
                self._known.pop(key, None)
            del self._asked[key]
        mine.set_result(found)
        return found


def describe(
    labels: LabelSet,
    suggested: Collection[str],
    caption: str,
    *,
    language: LanguageModel | None,
    bounded: LanguageModel | None,
    prompts: PromptSet,
    options: StageOptions,
    memo: DescriptorMemo,
) -> Described:
    """The classes with those descriptors that ``options.descriptors`` wants.

    Descriptors that a person wrote are never replaced. An image without a caption has no context of its own: its
    classes are described as for any image.

    Args:
        labels: The project's classes.
        suggested: Names of those that the image may show.
        caption: Of the image, or empty.
        language: Asked about classes once for all images, or None.
        bounded: The same within what the image may cost; describing takes half of its seconds at most.
        prompts: What is asked.
        options: The project's.
        memo: Remembers what was said of label sets.

    Raises:
        Cancelled: If the language model was cancelled.
    """
    if options.descriptors == "none":
        return Described(labels.without_descriptors())
    if options.descriptors == "written" or not any(_lacking(labels, labels.names)):
        return Described(labels)
    if language is None or bounded is None or isinstance(language, SentenceMatcher):
        return Described(labels, (NOBODY,))
    problems: list[str] = []
    if options.descriptors == "image" and caption:
        within = Budget("describing the classes of this image", seconds=options.language_seconds / 2)

        def ask() -> Described:
            model = BudgetedModel(bounded, within)
            found = describe_classes(labels, model, prompts, caption=caption, only=_lacking(labels, suggested))
            return Described(found.labels, found.problems, within.spent.unanswered > 0)
    else:

        def ask() -> Described:
            return memo.described(labels, language, prompts, options)

    found = attempt(ask, None, "classes are looked for by their names alone", problems)
    return Described(labels, tuple(problems), is_degraded=True) if found is None else found


def described_phrases(wanted: LabelSet, detector: Detector) -> dict[str, str]:
    """More phrases for a detector, each with the class that it means: the name with a descriptor, unless that holds it.

    The embedded detector is asked for none: phrases compete for what its classifier sees, as if each were a class, so
    that those of one class would take from each other what it has.

    Args:
        wanted: The classes that are looked for.
        detector: Is asked.
    """
    if isinstance(detector, EmbeddedDetector):
        return {}
    phrases: dict[str, str] = {}
    for item in wanted:
        # Longer ones, which only people write, are more than text encoders of detectors read, and some refuse them.
        usable = [one for one in item.descriptors if one.strip() and len(one.encode("utf-8", "replace")) <= LONGEST]
        for one in usable[:MOST_PHRASES]:
            is_named = any(find_run(word, one) for word in (item.name, *item.aliases))
            phrases.setdefault(one if is_named else f"{item.phrases[0]}, {one}", item.name)
    return phrases


def _lacking(labels: LabelSet, names: Collection[str]) -> list[str]:
    """Those of some classes that have no descriptors; "background" needs none."""
    return [item.name for item in ClassNames(labels).classes if item.name in names and not item.descriptors]


def _asked(labels: LabelSet, language: LanguageModel, prompts: PromptSet, options: StageOptions) -> Described:
    only = _lacking(labels, labels.names)
    budget = Budget(
        "describing the classes of this label set",
        seconds=min(options.language_seconds * len(only), MOST_SECONDS),
        tokens=None if options.language_tokens is None else options.language_tokens * len(only),
        money=None if options.language_money is None else options.language_money * len(only),
    )
    found = describe_classes(labels, BudgetedModel(language, budget), prompts, only=only)
    return Described(found.labels, found.problems, budget.spent.unanswered > 0)
