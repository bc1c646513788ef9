"""Regions proposed from the whole image and classified: in place of a detector, or beside the embedded one.

The embedded detector boxes what a tagger has words for, and sees a crowd as one box. Proposals find each member of a
crowd, and what no words suggested, by its pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskwright.assist.discovery import SeesObjects, object_prompts
from maskwright.assist.duplicates import shared_areas
from maskwright.assist.everything import ProposalOptions, refined_proposals
from maskwright.assist.preannotate import Preannotation, PreannotationOptions, preannotate
from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.checked import checked
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.names import ClassNames
from maskwright.assist.suggestion.settled import settled
from maskwright.assist.suggestion.support import Found, status_of
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.models.detectors.embedded import EmbeddedDetector
from maskwright.models.protocols import FixedVocabulary, Proposals, RegionClassifier
from maskwright.regions import Region

_log = logging.getLogger(__name__)

HELD = 0.5
"""Share of a region from which regions of its class that hold so much of it are the same thing or its members."""
_ORDER = ("rejected", "plausible", "confirmed")


@dataclass(frozen=True, eq=False)
class Joined:
    """What a detector found, and what proposals add.

    Attributes:
        regions: Those of the detector, then those that are added.
        kept: Whether each is proposed to people.
        suggestions: With what the pixels of the added ones say.
    """

    regions: list[Region]
    kept: list[bool]
    suggestions: list[Suggestion]


def without_detector(
    image: Image,
    labels: LabelSet,
    limits: PreannotationOptions,
    options: StageOptions,
    context: Context,
    suggestions: Sequence[Suggestion],
    said: list[str],
) -> Preannotation:
    """Proposals of the whole image, classified; those of suggested classes stay.

    Raises:
        Cancelled: If the context says so, or a model was cancelled.
        InvalidInput: If there are several classes and nothing that tells them apart.
    """
    if _classifier(context) is None and len(labels) > 1:
        raise InvalidInput("pre-annotation in stages needs a detector, dense features or a classifier of regions")
    found = _proposed(image, labels, limits, context, said)
    wanted = {one.label for one in suggestions if one.is_known}
    regions = [region for region in found.regions if region.label in wanted]
    objects = [Found(region.label or "", "", None, region.mask) for region in regions]
    _, supported, judged = checked(image, labels, options, context, suggestions, objects, said)
    for failure in dict.fromkeys(said):
        _log.warning("image %s: %s", image.key, failure)
    return settled(regions, supported, regions, limits, judged, said, context.model_version)


def joined(
    image: Image,
    labels: LabelSet,
    limits: PreannotationOptions,
    options: StageOptions,
    context: Context,
    found: Joined,
    said: list[str],
) -> Joined:
    """The regions of the embedded detector with what proposals add; those of others as they are.

    A region of the detector goes where proposals of its class hold ``HELD`` of it: they are the thing itself, or the
    members of a crowd. Other proposals that lie mostly in one of the detector's are its parts, and are not added.

    Args:
        image: The image.
        labels: The project's classes.
        limits: What of it a project wants.
        options: Whether this is wanted at all.
        context: With what.
        found: What the detector found.
        said: Takes a sentence where something failed.

    Raises:
        Cancelled: If the context says so, or a model was cancelled.
        Busy: If too many images wait to be encoded.
    """
    if not options.proposals or not isinstance(context.models.detector, EmbeddedDetector):
        return found
    if _classifier(context) is None and (len(labels) > 1 or not _is_unspeakable(labels, context)):
        return found  # whatever there is would be taken for the only class
    nothing: tuple[Region, ...] = ()
    proposals = attempt(
        lambda: _proposed(image, labels, limits, context, said).regions,
        nothing,
        "nothing was added to what was found",
        said,
    )
    proposals = tuple(one for one in proposals if _status(one, context) != "rejected")
    by_class = {label: [one for one in proposals if one.label == label] for label in {one.label for one in proposals}}
    suggestions = list(found.suggestions)
    kept = list(found.kept)
    added: list[Region] = []
    for label, alike in sorted(by_class.items(), key=lambda item: str(item[0])):
        rows = [row for row, region in enumerate(found.regions) if region.label == label and kept[row]]
        masks = [one.mask for one in alike]
        for row in rows:
            mask = found.regions[row].mask
            kept[row] = shared_areas(mask, masks).sum() < HELD * mask.area
        larger = [found.regions[row].mask for row in rows if kept[row]]
        alike = [one for one in alike if not larger or shared_areas(one.mask, larger).max() < HELD * one.mask.area]
        added += alike
        if alike:
            suggestions = _with_pixels(suggestions, max(alike, key=_probability), context)
    return Joined([*found.regions, *added], [*kept, *[True] * len(added)], suggestions)


def _proposed(
    image: Image, labels: LabelSet, limits: PreannotationOptions, context: Context, said: list[str]
) -> Preannotation:
    with context.stage("segment"):
        return preannotate(
            image, labels, limits, segmenter=context.segmenter, encode=context.encode, classifier=_classifier(context),
            model_version=context.model_version, tile_size=context.tile_size, tile_halo=context.tile_halo,
            cancelled=context.cancelled, others=_discovered(image, context, said),
        )  # fmt: skip


def _classifier(context: Context) -> RegionClassifier | None:
    """What gives regions their classes: the dense features if they know language, else what else there is."""
    places = context.places
    return context.classifier if places is None or not places.knows_words else places


def _discovered(image: Image, context: Context, said: list[str]) -> Callable[[ProposalOptions], Proposals] | None:
    """Asks for objects that dense features see without words; None where they do not."""
    dense = context.models.dense
    if not isinstance(dense, SeesObjects):
        return None
    nothing = Proposals((), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))

    def found(options: ProposalOptions) -> Proposals:
        whole = context.encode((0, 0, image.size[1], image.size[0]))
        return refined_proposals(context.segmenter, whole, object_prompts(dense, image.pixels), options)

    return lambda options: attempt(lambda: found(options), nothing, "no objects were seen without words", said)


def _is_unspeakable(labels: LabelSet, context: Context) -> bool:
    """Whether no word of the tagger means any of the classes, so that neither it nor its detector could find them."""
    tagger = context.models.tagger
    if not isinstance(tagger, FixedVocabulary):
        return False
    names = ClassNames(labels)
    return all(names.find(word) is None for word in tagger.vocabulary)


def _probability(region: Region) -> float:
    return region.class_scores.get(region.label or "", region.score)


def _status(region: Region, context: Context) -> str:
    return status_of(_probability(region), context.thresholds.of(region.label or ""))


def _with_pixels(suggestions: Sequence[Suggestion], region: Region, context: Context) -> list[Suggestion]:
    """The suggestions, of which the region's class has its pixels speak for it, whether words did or not."""
    label, probability = region.label or "", _probability(region)
    classifier = _classifier(context)
    status = status_of(probability, context.thresholds.of(label))
    seen = Source("region", classifier.name if classifier is not None else context.segmenter.name, probability)
    before = next((one for one in suggestions if one.is_known and one.label == label), None)
    if before is None:
        return [Suggestion(label, status, probability, (seen,)), *suggestions]
    seen = max((seen, *(one for one in before.sources if one.kind == "region")), key=lambda source: source.confidence)
    others = [one for one in before.sources if one.kind != "region"]
    sources = tuple(sorted((*others, seen), key=lambda source: -source.confidence))
    better = replace(
        before,
        status=max(before.status, status, key=_ORDER.index),
        confidence=max(before.confidence, probability) if before.status != "rejected" else probability,
        sources=sources,
    )
    return [better if one is before else one for one in suggestions]
