"""Pre-annotation in stages, without training: words, classes, boxes, masks, and the check that pixels agree.

The pipeline of Huang, Iizuka and Fukui (BMVC 2024): what describers read off an image is refined to classes of the
label set, a detector looks for them by names and descriptors, a segmenter draws what is in its boxes, and a language
model says which class a phrase outside of the label set is. Each step is a switch of ``StageOptions``. Whatever fails
beside the segmenter and the detector costs its own share only, and leaves a sentence in ``Preannotation.problems``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from maskwright.assist.discovery import SeesObjects
from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.seen import SeenPictures, dense_once
from maskwright.assist.suggestion.boxes import LabelledBox, Search, free_words, no_detections, with_meanings
from maskwright.assist.suggestion.checked import checked
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.described import Described, describe, described_phrases
from maskwright.assist.suggestion.in_flight import HeldCaptioner, HeldTagger
from maskwright.assist.suggestion.names import ClassNames
from maskwright.assist.suggestion.places import ClassPlaces
from maskwright.assist.suggestion.proposed import Joined, joined, without_detector
from maskwright.assist.suggestion.settled import settled
from maskwright.assist.suggestion.suggest import bounded, read, suggest, unspeakable
from maskwright.assist.suggestion.support import Found
from maskwright.assist.suggestion.two_passes import BoxMask, segment_boxes
from maskwright.assist.suggestion.values import StageModels, StageOptions, Suggestion
from maskwright.assist.suggestion.whole_picture import whole_picture
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.models.describers.vlm import PictureReader
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Detector, LanguageModel

_log = logging.getLogger(__name__)

MOST_BOXES = 100
"""Boxes that are drawn per image, the surest ones, unless a project wants more regions."""


def preannotate_in_stages(
    image: Image, labels: LabelSet, limits: PreannotationOptions, options: StageOptions, context: Context
) -> Preannotation:
    """Suggest classes, look for them, draw them, and keep what pixels support.

    Where describers or the language model fail and nothing suggests a class, all classes are looked for. A region's
    score is the estimated IoU of its mask times the support of its class (see ``support``), or the detector's score
    where pixels are not checked; where the segmenter's two answers about it are different objects, it is multiplied by
    their IoU, which brings the region to a person's eyes sooner. Without a detector, regions are proposed as
    ``preannotate`` does it, and those of classes that nothing suggests are dropped.

    Args:
        image: The image.
        labels: The project's classes; without any, nothing is proposed.
        limits: What of it a project wants. Without a score threshold, the detector's own and the check decide.
        options: How it is done.
        context: With what.

    Raises:
        Cancelled: As soon as ``context.cancelled`` says so.
        InvalidInput: If the project's prompts cannot be used, or there is neither a detector nor what could classify
            regions.
    """
    if not limits.enabled or not len(labels):
        return Preannotation((), 0.0, context.model_version)
    models, prompts = context.models, PromptSet(options.domain, options.prompts)
    language = None if models.language is None else bounded(models.language, options)
    if models.dense is not None and not isinstance(models.dense, SeesObjects):
        models = replace(models, dense=dense_once(models.dense, SeenPictures()))
        context = replace(context, models=models)
    suggestions, described, said = _suggested(image, labels, options, context, language, prompts)
    labels = described.labels
    if models.dense is not None:
        context = replace(context, places=ClassPlaces(models.dense, labels, options))
    if models.detector is None:
        found = without_detector(image, labels, limits, options, context, suggestions, said)
    else:
        found = _by_detector(
            image, labels, limits, options, context, suggestions, said, models.detector, language, prompts
        )
    found = replace(found, is_degraded=described.is_degraded)
    if options.output == "regions":
        return found
    wanted = {one.label for one in suggestions if one.is_known}
    return whole_picture(image, labels, limits, options, context, found, wanted)


def _by_detector(
    image: Image,
    labels: LabelSet,
    limits: PreannotationOptions,
    options: StageOptions,
    context: Context,
    suggestions: Sequence[Suggestion],
    said: list[str],
    detector: Detector,
    language: LanguageModel | None,
    prompts: PromptSet,
) -> Preannotation:
    """What a detector finds of the suggested classes, drawn and checked."""
    refined = language if options.post_refinement else None
    words = {} if refined is None else free_words(suggestions, labels, options)
    wanted = LabelSet(tuple(item for item in labels if any(one.label == item.name for one in suggestions)))
    search, found = Search(wanted, tuple(words), described_phrases(wanted, detector)), no_detections()
    if search.phrases:
        with context.stage("detect"):
            found = detector.detect(image.pixels, search.phrases)
    with context.stage("refine", on_device=False):
        boxes = search.boxes(found, options, lambda word: context.memo.label(word, labels, refined, prompts), said)
        boxes = boxes[: max(MOST_BOXES, limits.max_regions)]
        meanings = {words[one.phrase]: one.label for one in boxes if one.phrase in search.free}
        suggestions = with_meanings(suggestions, meanings)
    drawn = _drawn(image, boxes, options, context)
    rows = [row for row, one in enumerate(drawn) if not one.mask.is_empty]
    objects = [Found(boxes[row].label, boxes[row].phrase, boxes[row].score, drawn[row].mask) for row in rows]
    regions, kept, suggestions = checked(image, labels, options, context, suggestions, objects, said)
    for failure in dict.fromkeys(said):
        _log.warning("image %s: %s", image.key, failure)
    if refused := sum(drawn[row].is_first for row in rows):
        said.append(f"{refused} of {len(rows)} masks are what their boxes gave: points led to other objects")
    shown = [
        replace(
            region,
            score=region.score * drawn[row].quality * (drawn[row].agreement if drawn[row].is_first else 1.0),
            provenance=replace(region.provenance, prompt_hash=drawn[row].prompt_hash),
        )
        for region, row in zip(regions, rows, strict=True)
    ]
    whole = joined(image, labels, limits, options, context, Joined(shown, kept, suggestions), said)
    sure = [*regions, *whole.regions[len(regions) :]]
    return settled(whole.regions, whole.kept, sure, limits, whole.suggestions, said, context.model_version)


def _suggested(
    image: Image,
    labels: LabelSet,
    options: StageOptions,
    context: Context,
    language: LanguageModel | None,
    prompts: PromptSet,
) -> tuple[list[Suggestion], Described, list[str]]:
    """Classes to look for, those outside of the label set after them; all classes described; what failed on the way."""
    models = context.models
    with context.stage("describe", on_device=False):
        reading = read(image.pixels, _taking_turns(models, context.turn), options, labels)
    with context.stage("suggest", on_device=False):
        found, problems = suggest(reading, labels, language, prompts, options)
        said = [*reading.problems, *problems]
        known = [one for one in found if one.is_known]
        named = {one.label for one in known}
        asked = replace(models, language=context.describing or models.language)  # what a budget wraps tells its kind
        unsaid = [one for one in unspeakable(labels, asked, options) if one.label not in named]
        suggestions = [*known, *unsaid, *(one for one in found if not one.is_known)]
        # A caption names no class by itself: a language model has to infer classes from it.
        captioned = options.caption and models.captioner is not None
        speechless = models.tagger is None and not (captioned and language is not None and options.pre_refinement)
        failed = bool(said) or context.lacks_words
        if (failed or speechless) and not any(one.is_known for one in suggestions):
            everything = (Suggestion(item.name, "plausible", 0.0, ()) for item in ClassNames(labels).classes)
            suggestions = [*everything, *suggestions]
            said += ["nothing suggests a class, so all of them are looked for"] if failed else []
        described = describe(
            labels, {one.label for one in suggestions if one.is_known}, reading.caption,
            language=context.describing or models.language, bounded=language,
            prompts=prompts, options=options, memo=context.descriptors,
        )  # fmt: skip
    return suggestions, described, [*said, *described.problems]


def _drawn(image: Image, boxes: Sequence[LabelledBox], options: StageOptions, context: Context) -> list[BoxMask]:
    if not boxes:
        return []
    with context.stage("segment"):
        return segment_boxes(
            context.segmenter,
            context.encode((0, 0, image.size[1], image.size[0])),
            [one.box for one in boxes],
            rule=options.point_rule,
            count=options.points,
            negative_points=options.negative_points,
        )


def _taking_turns(models: StageModels, turn: AbstractContextManager[object]) -> StageModels:
    """The same models, of which describers that are not asked over a wire take their turn at the device."""
    tagger, captioner = models.tagger, models.captioner
    if tagger is not None and not isinstance(tagger, PictureReader):
        tagger = HeldTagger(tagger, turn)
    if captioner is not None and not isinstance(captioner, PictureReader):
        captioner = HeldCaptioner(captioner, turn)
    return replace(models, tagger=tagger, captioner=captioner)
