"""How classes look, in words: what a language model says of each in its context, and what of that can be used.

Descriptors that could mislead are dropped: what describes another class of the set (grass, said of a cow), what is said
of two classes alike (indoors), and what a text encoder of 77 tokens would cut off without a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel, TextEncoder

MOST = 8
"""Descriptors of a class."""
LONGEST = 60
"""Bytes of one: with the sentence around it this fits 77 tokens even where every letter is one."""
IN_VAIN = 2
"""Questions without an answer, one after the other, after which no more are asked: each may take the longest wait."""
SIBLINGS = 5
"""Classes that a descriptor is asked to set its own apart from."""


@dataclass(frozen=True)
class Described:
    """A label set with descriptors.

    Attributes:
        labels: The set; classes of which nothing usable was said keep what they had.
        problems: Why a class has none, in words.
    """

    labels: LabelSet
    problems: tuple[str, ...] = ()


def describe_classes(
    labels: LabelSet,
    language: LanguageModel,
    prompts: PromptSet,
    *,
    caption: str = "",
    encoder: TextEncoder | None = None,
    only: Collection[str] | None = None,
) -> Described:
    """Ask how each class looks that has no descriptors yet.

    A class of which the language model says nothing usable, or for which it cannot be had, stays as it is. After
    ``IN_VAIN`` questions in vain the rest of them is not asked.

    Args:
        labels: The project's classes; descriptors that a person wrote are kept.
        language: Is asked once for each class without.
        prompts: The project's questions.
        caption: What is known of the image, which makes the answers those for its context; empty = for any image.
        encoder: Tells which classes are easily taken for each other; None = all others are named, in their order.
        only: Names of the classes to ask about; None = all.
    """
    siblings = _siblings(labels, encoder)
    found: dict[str, list[str]] = {}
    problems: list[str] = []
    asked = [item for item in labels if not item.descriptors and (only is None or item.name in only)]
    in_vain = 0
    for number, item in enumerate(asked, start=1):
        question = prompts.question("descriptors", label=item.name, siblings=siblings[item.name], caption=caption)
        try:
            answer = language.answer(question.messages, question.schema)
            found[item.name] = [entry["text"] for entry in answer["descriptors"]]
            in_vain = 0
        except ModelUnavailable as error:
            problems.append(f"no descriptors of {item.name!r}: {error}")
            in_vain += 1
            if in_vain == IN_VAIN and number < len(asked):
                problems.append(f"the language model was not asked about the other {len(asked) - number} classes")
                break
    kept = usable(found, labels)
    problems += [f"nothing that was said of {name!r} can be used" for name in found if not kept[name]]
    return Described(with_descriptors(labels, {n: p for n, p in kept.items() if p}), tuple(problems))


def usable(said: Mapping[str, Sequence[str]], labels: LabelSet) -> dict[str, tuple[str, ...]]:
    """What can be used of what was said of classes, at most ``MOST`` phrases each, in the order given.

    Args:
        said: Phrases by name of a class.
        labels: All classes.
    """
    tidy = {name: list(dict.fromkeys(" ".join(phrase.split()) for phrase in said[name])) for name in said}
    speakers: dict[str, set[str]] = {}
    for name, phrases in tidy.items():
        for phrase in phrases:
            speakers.setdefault(phrase.casefold(), set()).add(name)
    kept: dict[str, tuple[str, ...]] = {}
    for name, phrases in tidy.items():
        own = next((item for item in labels if item.name == name), LabelClass(name))
        others = [item for item in labels if item.name != name]
        good = [
            phrase
            for phrase in phrases
            if phrase
            and len(phrase.encode()) <= LONGEST
            and len(speakers[phrase.casefold()]) == 1
            and (_names(phrase, own) or not any(_names(phrase, other) for other in others))
        ]
        unique = {phrase.casefold(): phrase for phrase in reversed(good)}
        kept[name] = tuple(reversed(unique.values()))[:MOST]
    return kept


def with_descriptors(labels: LabelSet, descriptors: Mapping[str, Sequence[str]]) -> LabelSet:
    """The label set with other descriptors for some of its classes.

    Raises:
        InvalidInput: If a name is none of the classes.
    """
    unknown = [name for name in descriptors if name not in labels]
    if unknown:
        raise InvalidInput(
            f"descriptors of {unknown[0]!r}: there is no such class; there are {', '.join(labels.names)}"
        )
    return LabelSet(
        tuple(replace(item, descriptors=tuple(descriptors.get(item.name, item.descriptors))) for item in labels)
    )


def _siblings(labels: LabelSet, encoder: TextEncoder | None) -> dict[str, list[str]]:
    names = list(labels.names)
    if encoder is None or len(names) <= SIBLINGS + 1:
        return {name: [other for other in names if other != name][: 4 * SIBLINGS] for name in names}
    vectors = encoder.embed(names)
    order = np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")
    return {name: [names[i] for i in order[own] if i != own][:SIBLINGS] for own, name in enumerate(names)}


def _names(phrase: str, item: LabelClass) -> bool:
    """Whether a phrase holds the class's name or one of its aliases, as whole words, in singular or plural."""
    words = "|".join(re.escape(" ".join(word.split())) for word in (item.name, *item.aliases))
    return re.search(rf"(?<!\w)(?:{words})(?:e?s)?(?!\w)", phrase, re.IGNORECASE) is not None
