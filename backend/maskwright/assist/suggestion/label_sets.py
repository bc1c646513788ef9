"""A label set for a project that has none, or that lacks classes: what a sample of its images shows, for approval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.names import ClassNames, find_run, is_background, keys, one_line, plain
from maskwright.assist.suggestion.suggest import LONGEST_NAME
from maskwright.assist.suggestion.values import Reading
from maskwright.labels import LabelClass, LabelSet
from maskwright.models.language.descriptors import describe_classes
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel, TextEncoder
from maskwright.prompts import Box

SAME = 0.75
"""Cosine of two words from which they are one class. Higher than the matcher's: cat and dog, which have .66, must not
become one, and two classes that a person has to unite cost less than one to be taken apart."""
MOST_WORDS = 200
"""Words that a language model is shown and that sentences are compared among, the most frequent ones."""
EXAMPLES = 6
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Sample:
    """An image of the sample.

    Attributes:
        image: What the platform calls it.
        reading: What describers said of it.
        boxes: Where a detector found some of the reading's words, xyxy in pixels; may be empty.
    """

    image: str
    reading: Reading
    boxes: Mapping[str, Box] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """An image that shows a class, and where, if that is known; xyxy in pixels."""

    image: str
    box: Box | None = None


@dataclass(frozen=True)
class ProposedClass:
    """A class for the project's owner to approve.

    Attributes:
        name: The usual word.
        aliases: Other words for the same, those that describers used and those that a language model knows.
        images: How many images of the sample show it.
        examples: Some of them, the surest first.
        reason: Why a language model would have it, or empty.
        descriptors: How it looks; empty unless somebody asked.
    """

    name: str
    aliases: tuple[str, ...]
    images: int
    examples: tuple[Example, ...]
    reason: str = ""
    descriptors: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "images": self.images,
            "reason": self.reason,
            "descriptors": list(self.descriptors),
            "examples": [
                {"image": one.image, "box": None if one.box is None else list(one.box)} for one in self.examples
            ],
        }


@dataclass(frozen=True)
class LabelProposal:
    """What a sample of a project shows.

    Attributes:
        images: How many images were read.
        classes: Proposed ones, the most frequent first.
        present: How many images show each class that the project has already.
        problems: Why words were merged without a language model, or nothing was read.
    """

    images: int
    classes: tuple[ProposedClass, ...]
    present: Mapping[str, int]
    problems: tuple[str, ...] = ()

    def extend(self, labels: LabelSet, approved: Iterable[str]) -> LabelSet:
        """A label set with the approved ones of the proposed classes after its own."""
        wanted = set(approved)
        chosen = (one for one in self.classes if one.name in wanted)
        # A model that has to recognise a class is asked for its aliases alone, where there are any.
        added = (
            LabelClass(one.name, (one.name, *one.aliases) if one.aliases else (), one.descriptors) for one in chosen
        )
        return LabelSet((*labels.classes, *added))


def described_proposal(
    proposal: LabelProposal, labels: LabelSet, language: LanguageModel, prompts: PromptSet
) -> LabelProposal:
    """The same proposal, of which the language model says how each class looks, set apart from all others.

    Args:
        proposal: From ``propose_labels``.
        labels: Classes that the project has already.
        language: Asked once for each proposed class.
        prompts: What it is asked.

    Raises:
        Cancelled: If the language model was cancelled.
    """
    names = [one.name for one in proposal.classes]
    found = describe_classes(proposal.extend(labels, names), language, prompts, only=names)
    said = {item.name: item.descriptors for item in found.labels}
    classes = tuple(replace(one, descriptors=said[one.name]) for one in proposal.classes)
    return replace(proposal, classes=classes, problems=(*proposal.problems, *found.problems))


def propose_labels(
    samples: Sequence[Sample],
    labels: LabelSet,
    prompts: PromptSet,
    *,
    language: LanguageModel | None = None,
    encoder: TextEncoder | None = None,
    least: int = 2,
) -> LabelProposal:
    """Classes that a project should have, by what a sample of its images shows.

    A language model unites words and chooses among them; what it proposes and no image showed is dropped. Without one,
    or if it fails, words of one meaning are united under the most frequent, and all are proposed.

    Args:
        samples: Images of the project.
        labels: Classes that it has; these are counted, not proposed.
        prompts: What the language model is asked.
        language: Asked once for the whole sample, or None.
        encoder: Compares meanings where there is no language model; None = words are united only if they are one but
            for case, hyphens and number.
        least: Images that have to show a class; one, where the sample has but one.

    Raises:
        Cancelled: If the language model was cancelled.
    """
    problems: list[str] = []
    names = ClassNames(labels)
    words, present = _counted(samples, names)
    frequent = sorted(words, key=lambda one: (-len(one.seen), one.name))[:MOST_WORDS]
    if not frequent and not present:
        problems.append("no describer gave any tags; choose a tagger, or a larger sample")
    proposed: list[_Word] | None = None
    if language is not None and frequent:
        model = language
        proposed = attempt(
            lambda: _chosen(frequent, names, labels, model, prompts),
            None,
            "words were united without a language model",
            problems,
        )
    if proposed is None:
        proposed = attempt(lambda: _united(frequent, encoder), frequent, "words were not compared", problems)
    enough = min(least, len(samples))
    kept = sorted((one for one in proposed if len(one.seen) >= enough), key=lambda one: (-len(one.seen), one.name))
    classes = tuple(ProposedClass(one.name, one.aliases, len(one.seen), one.examples(), one.reason) for one in kept)
    return LabelProposal(len(samples), classes, present, tuple(problems))


@dataclass(frozen=True)
class _Word:
    """A word with the images that show it: their confidence and boxes."""

    name: str
    seen: Mapping[str, tuple[float, Box | None]]
    aliases: tuple[str, ...] = ()
    reason: str = ""

    def joined(self, others: Iterable[_Word]) -> _Word:
        """The same word, seen wherever any of these was."""
        seen = dict(self.seen)
        for other in others:
            for image, (confidence, box) in other.seen.items():
                before = seen.get(image, (0.0, None))
                seen[image] = max(before[0], confidence), before[1] or box
        return replace(self, seen=seen)

    def examples(self) -> tuple[Example, ...]:
        order = sorted(self.seen.items(), key=lambda item: (item[1][1] is None, -item[1][0], item[0]))
        return tuple(Example(image, box) for image, (_, box) in order[:EXAMPLES])


def _counted(samples: Sequence[Sample], names: ClassNames) -> tuple[list[_Word], dict[str, int]]:
    """The words of the sample that mean no class, and how many images show each class."""
    words: dict[str, dict[str, tuple[float, Box | None]]] = {}
    known: dict[str, set[str]] = {}
    spelling: dict[str, str] = {}
    for sample in samples:
        for tag in sample.reading.tags:
            item = names.find(tag.word)
            if item is not None:
                known.setdefault(item.name, set()).add(sample.image)
                continue
            forms = keys(tag.word)
            if not forms or len(tag.word) > LONGEST_NAME or is_background(tag.word):
                continue
            word = next((spelling[form] for form in forms if form in spelling), plain(tag.word))
            spelling.update(dict.fromkeys(forms, word))
            seen = words.setdefault(word, {})
            before = seen.get(sample.image, (0.0, None))
            seen[sample.image] = max(before[0], tag.confidence), before[1] or sample.boxes.get(tag.word)
    # Captions add images to words that taggers know; alone they would bring in every noun there is.
    for sample in samples:
        for word, seen in words.items():
            if sample.image not in seen and sample.reading.caption and find_run(word, sample.reading.caption):
                seen[sample.image] = 0.0, sample.boxes.get(word)
        for item in names.classes:
            if any(find_run(word, sample.reading.caption) for word in (item.name, *item.aliases)):
                known.setdefault(item.name, set()).add(sample.image)
    return [_Word(word, seen) for word, seen in words.items()], {name: len(images) for name, images in known.items()}


def _chosen(
    words: Sequence[_Word], names: ClassNames, labels: LabelSet, language: LanguageModel, prompts: PromptSet
) -> list[_Word]:
    """The classes that a language model makes of the words, each seen where its words were."""
    tags = [f"{one.name} ({len(one.seen)} {'picture' if len(one.seen) == 1 else 'pictures'})" for one in words]
    question = prompts.question("suggest-labels", labels=labels.names, tags=tags)
    answer = language.answer(question.messages, question.schema).get("classes")
    by_key = {form: one for one in words for form in keys(one.name)}
    taken: set[str] = set()
    chosen = []
    for entry in answer if isinstance(answer, list) else []:
        name = _text(entry.get("name"), LONGEST_NAME) if isinstance(entry, Mapping) else ""
        if not name or is_background(name) or names.find(name) is not None:
            continue
        said = entry.get("aliases")
        aliases = [alias for one in (said if isinstance(said, list) else []) if (alias := _text(one, LONGEST_NAME))]
        fresh = [
            alias for alias in dict.fromkeys(aliases) if names.find(alias) is None and not keys(alias) & keys(name)
        ]
        found = {
            by_key[form].name: by_key[form] for word in (name, *fresh) for form in sorted(keys(word)) if form in by_key
        }
        own = [one for key, one in found.items() if key not in taken]
        if own and not keys(name) & taken:
            taken |= {*(one.name for one in own), *keys(name)}
            reason = _text(entry.get("reason"), _LONGEST_REASON, cut=True)
            chosen.append(_Word(name, {}, tuple(fresh), reason).joined(own))
    return chosen


def _united(words: Sequence[_Word], encoder: TextEncoder | None) -> list[_Word]:
    """Words of like meaning under the most frequent of them; words come most frequent first."""
    if encoder is None or not words:
        return list(words)
    vectors = encoder.embed([one.name for one in words])
    similar = vectors @ vectors.T
    heads: dict[int, list[_Word]] = {}
    for place, word in enumerate(words):
        nearest = max(heads, key=lambda head: float(similar[place, head]), default=None)
        if nearest is not None and similar[place, nearest] >= SAME:
            heads[nearest].append(word)
        else:
            heads[place] = []
    return [
        replace(words[head].joined(others), aliases=tuple(one.name for one in others)) for head, others in heads.items()
    ]


def _text(value: object, longest: int, cut: bool = False) -> str:
    """One line of text; empty if it is none, or too long and may not be cut."""
    line = one_line(value) if isinstance(value, str) else ""
    return line[:longest] if cut or len(line) <= longest else ""
