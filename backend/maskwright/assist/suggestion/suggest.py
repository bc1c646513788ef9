"""From what describers read off an image to the classes that it may show, each with what speaks for it.

Candidates are those of Huang, Iizuka and Fukui (BMVC 2024): raw tags and the language model's answer, both cut down to
the label set. Raw tags stay in, so a language model can only add; what it claims without evidence that can be found in
the tags or the caption is marked as implied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.names import ClassNames, find_run, is_background, keys, one_line
from maskwright.assist.suggestion.values import Reading, Source, StageModels, StageOptions, Suggestion
from maskwright.labels import LabelSet
from maskwright.models.describers.vlm import PictureReader
from maskwright.models.language.budget import Budget, BudgetedModel
from maskwright.models.language.matcher import SentenceMatcher
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import RGB, FixedVocabulary, LanguageModel, LearnsWords, Tag, Tagger

TAGS = 20
"""Tags asked of a tagger."""
LEAST_TAG = 0.02
"""Tags less probable than this are left out. Every family but the embedded one has thresholds of its own above it."""
IMPLIED = 0.3
"""Confidence of a class that only the kind of scene suggests."""
MOST_EVIDENCE, LONGEST_EVIDENCE = 16, 200
"""Pieces of evidence read per class, and characters of each: an answer is data of unknown origin."""
LONGEST_NAME = 60
NO_LABELS = LabelSet(())
_ORDER = {"tag": 1, "caption": 2, "language": 3}


def read(pixels: RGB, models: StageModels, options: StageOptions, labels: LabelSet = NO_LABELS) -> Reading:
    """What the describers say about an image; one that fails leaves a sentence among the problems, and no more.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        models: Its tagger and captioner are used, where there are any.
        options: Whether a caption is wanted.
        labels: The project's classes: a tagger over a list of words is told of theirs, which the list may lack.

    Raises:
        Cancelled: If a describer was cancelled.
    """
    problems: list[str] = []
    tags: list[Tag] = []
    caption = ""
    if (tagger := models.tagger) is not None:
        tags = attempt(lambda: _knowing(tagger, labels).tags([pixels], top=TAGS)[0], [], "no tags were read", problems)
    if options.caption and (captioner := models.captioner) is not None:
        caption = attempt(lambda: captioner.captions([pixels])[0], "", "no caption was read", problems)
    written = (Tag(one_line(tag.word), tag.confidence) for tag in tags if tag.confidence >= LEAST_TAG)
    return Reading(tuple(tag for tag in written if tag.word), one_line(caption), tuple(problems))


def _knowing(tagger: Tagger, labels: LabelSet) -> Tagger:
    """The tagger, told of the words of classes where it can be."""
    words = [one_line(word) for item in ClassNames(labels).classes for word in item.phrases]
    words = [word for word in words if word]
    return tagger.knowing(words) if words and isinstance(tagger, LearnsWords) else tagger


def image_budget(options: StageOptions) -> Budget:
    """What the answers of language models about one image may cost together."""
    return Budget(
        "this image",
        seconds=options.language_seconds,
        tokens=options.language_tokens,
        money=options.language_money,
    )


def bounded(language: LanguageModel, options: StageOptions) -> BudgetedModel:
    """A language model within what one image may cost; one that is bounded already stays as it is."""
    return language if isinstance(language, BudgetedModel) else BudgetedModel(language, image_budget(options))


def all_bounded(models: StageModels, budget: Budget) -> StageModels:
    """The models of which those that are language models, those that tag and caption too, share one budget."""
    tagger, captioner, language = models.tagger, models.captioner, models.language
    return replace(
        models,
        tagger=tagger.within(budget) if isinstance(tagger, PictureReader) else tagger,
        captioner=captioner.within(budget) if isinstance(captioner, PictureReader) else captioner,
        language=None if language is None else BudgetedModel(language, budget),
    )


def suggest(
    reading: Reading, labels: LabelSet, language: LanguageModel | None, prompts: PromptSet, options: StageOptions
) -> tuple[list[Suggestion], tuple[str, ...]]:
    """The classes that a reading speaks for.

    Without any classes in the label set, every suggestion is one for the project's owner.

    Args:
        reading: Of an image.
        labels: The project's classes; "background" is never suggested.
        language: Asked for the classes unless ``options.pre_refinement`` is off; None = only tags speak. What one image
            may cost is bounded by ``bounded``; callers with more questions about the image pass one bounded model.
        prompts: What is asked.
        options: With ``every_class``, classes that nothing speaks for follow, with confidence 0 and no sources.

    Returns:
        Plausible suggestions, those of the label set first, each part most confident first; then why the language model
        gave nothing, if it was asked in vain. The reading's own problems are not repeated.

    Raises:
        Cancelled: If the language model was cancelled.
    """
    names = ClassNames(labels)
    known = {item.name: _Candidate(item.name) for item in names.classes}
    problems: list[str] = []
    claims: list[_Claim] = []
    if options.pre_refinement and language is not None and (reading.tags or reading.caption):
        claims = attempt(
            lambda: _ask(reading, names, bounded(language, options), prompts),
            [],
            "the language model named no classes",
            problems,
        )
    unknown: dict[str, _Candidate] = {}
    explained: set[str] = set()
    for claim in claims:
        found = names.find(claim.name)
        candidate = known[found.name] if found is not None else _entered(unknown, claim.name)
        if candidate is not None:
            sources = _evidence(claim, reading)
            explained.update(source.text for source in sources if source.kind == "tag")
            candidate.claimed(sources, language.name if language is not None else "")
    for tag in reading.tags:
        found = names.find(tag.word)
        if found is not None:
            known[found.name].add([_tag_source(tag)])
        elif tag.word not in explained and (candidate := _entered(unknown, tag.word)) is not None:
            candidate.add([_tag_source(tag)])
    if reading.caption:
        for item in names.classes:
            spans = (find_run(word, reading.caption) for word in (item.name, *item.aliases))
            if known[item.name].sources and (span := next(filter(None, spans), None)):
                known[item.name].add([Source("caption", span)])
    suggestions = [*_ranked(known.values(), True, options.every_class), *_ranked(unknown.values(), False, False)]
    return suggestions, tuple(problems)


def unspeakable(labels: LabelSet, models: StageModels, options: StageOptions) -> list[Suggestion]:
    """Classes of which nothing that reads the image could speak, so that they are looked for whatever was read.

    That is so where only a tagger reads it, its words are fixed, and none of them means the class. Captions and
    language models have words for everything; the matcher of sentences only sorts the tags that there are. A tagger
    that was told of the class's words counts as one that was not: nobody knows whether they mean to it what they mean
    to the project.

    Returns:
        Plausible suggestions with confidence 0 and no sources, in the order of the label set.
    """
    tagger = models.tagger
    captioned = options.caption and models.captioner is not None
    inferred = options.pre_refinement and not isinstance(models.language, SentenceMatcher | None)
    if captioned or inferred or not isinstance(tagger, FixedVocabulary):
        return []
    names = ClassNames(labels)
    spoken = {found.name for word in tagger.vocabulary if (found := names.find(word)) is not None}
    return [Suggestion(item.name, "plausible", 0.0, ()) for item in names.classes if item.name not in spoken]


@dataclass(frozen=True)
class _Claim:
    """What a language model says about one class."""

    name: str
    evidence: tuple[str, ...]


@dataclass
class _Candidate:
    """A class and what was found to speak for it so far."""

    label: str
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)

    def add(self, sources: Iterable[Source]) -> None:
        """Take in what speaks for it; of the same thing said twice the surer one stays."""
        for source in sources:
            key = (source.kind, source.text.casefold())
            if key not in self.sources or source.confidence > self.sources[key].confidence:
                self.sources[key] = source

    def claimed(self, evidence: list[Source], by: str) -> None:
        """A language model infers it, from what is truly there or from nothing; it is as sure as its evidence."""
        self.add([*evidence, Source("language", by, max((one.confidence for one in evidence), default=IMPLIED))])


def _ask(reading: Reading, names: ClassNames, language: LanguageModel, prompts: PromptSet) -> list[_Claim]:
    labels = [item.name for item in names.classes]
    question = prompts.question(
        "pre-refinement" if labels else "open-classes",
        labels=labels,
        tags=[tag.word for tag in reading.tags],
        caption=reading.caption,
    )
    answer = language.answer(question.messages, question.schema).get("labels")
    entries = answer if isinstance(answer, list) else []
    return [_claim(entry) for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)]


def _claim(entry: Mapping[str, Any]) -> _Claim:
    said = entry.get("evidence")
    texts = [one[:LONGEST_EVIDENCE] for one in said if isinstance(one, str)] if isinstance(said, list) else []
    return _Claim(one_line(entry["name"]), tuple(texts[:MOST_EVIDENCE]))


def _evidence(claim: _Claim, reading: Reading) -> list[Source]:
    """Those of a claim's reasons that the reading holds: tags, else runs of the caption's words."""
    found: list[Source] = []
    for text in claim.evidence:
        wanted = keys(text)
        tags = [_tag_source(tag) for tag in reading.tags if keys(tag.word) & wanted]
        run = None if tags else find_run(text, reading.caption)
        found += tags if run is None else [Source("caption", run)]
    return found


def _tag_source(tag: Tag) -> Source:
    return Source("tag", tag.word, min(max(tag.confidence, 0.0), 1.0))


def _entered(unknown: dict[str, _Candidate], name: str) -> _Candidate | None:
    """The candidate outside the label set that a name means, new or known; None if it is no name."""
    forms = keys(name)
    if not forms or len(name) > LONGEST_NAME or is_background(name):
        return None
    candidate = next((unknown[form] for form in forms if form in unknown), _Candidate(name))
    unknown.update(dict.fromkeys(forms, candidate))
    return candidate


def _ranked(candidates: Iterable[_Candidate], is_known: bool, all_of_them: bool) -> list[Suggestion]:
    made = {id(one): one for one in candidates if one.sources or all_of_them}
    return sorted((_suggestion(one, is_known) for one in made.values()), key=lambda one: -one.confidence)


def _suggestion(candidate: _Candidate, is_known: bool) -> Suggestion:
    sources = sorted(candidate.sources.values(), key=lambda one: (-one.confidence, _ORDER.get(one.kind, 4)))
    return Suggestion(
        candidate.label,
        "plausible",
        max((one.confidence for one in sources), default=0.0),
        tuple(sources),
        implied=bool(sources) and all(one.kind == "language" for one in sources),
        is_known=is_known,
    )
