"""Regions with classes for a whole image, before a person has touched it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.duplicates import distinct, shared_areas
from maskwright.assist.everything import Encode, ProposalOptions, joined, never_cancelled, propose_regions
from maskwright.assist.located import Located, locate_objects, support
from maskwright.assist.suggestion.values import Suggestion
from maskwright.assist.thresholds import family_defaults
from maskwright.errors import Cancelled, InvalidInput
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.protocols import Evidence, Locator, Proposals, RegionClassifier, Segmenter
from maskwright.regions import Provenance, Region

COVERED = 0.8
"""A region goes if better regions of its class hold at least this part of it."""
PART = 0.5
"""A proposal goes if it shares more than this part of the smaller of the two with an object of its class."""

CLASSIFIED = 80
"""Regions shown to a classifier: each costs it two looks, about 20 ms on one core."""
UNSUPPORTED = 0.1
"""Regions that the evidence supports less than this for any class are not shown to a classifier."""
SIZE_WEIGHT = 0.2
"""Power of the area in the choice of those regions: of two good masks, the larger is more likely a whole object."""


@dataclass(frozen=True)
class PreannotationOptions:
    """What a project wants to be pre-annotated.

    Attributes:
        enabled: Whether to pre-annotate at all.
        score_threshold: Least score of a region; None takes what suits the segmenter's family.
        class_thresholds: The same for single classes, by name.
        min_area: Least area in pixels.
        max_regions: Most regions per image; the best stay.
        points_per_side: Points along each side of the grid, for segmenters that are asked by points; None takes what
            suits the segmenter's family.
        predicted_iou_threshold: Least estimate of a mask's IoU; None takes what suits the segmenter's family.
        stability_threshold: Least stability of a mask; None takes what suits the segmenter's family.
        duplicate_iou: Of two regions with at least this IoU, the worse goes.
    """

    enabled: bool = True
    score_threshold: float | None = None
    class_thresholds: Mapping[str, float] = field(default_factory=dict)
    min_area: int = 64
    max_regions: int = 100
    points_per_side: int | None = None
    predicted_iou_threshold: float | None = None
    stability_threshold: float | None = None
    duplicate_iou: float = 0.7

    def __post_init__(self) -> None:
        fractions = {
            "score_threshold": self.score_threshold,
            "predicted_iou_threshold": self.predicted_iou_threshold,
            "stability_threshold": self.stability_threshold,
            "duplicate_iou": self.duplicate_iou,
            **{f"class_thresholds[{name!r}]": value for name, value in self.class_thresholds.items()},
        }
        for name, value in fractions.items():
            if value is not None and not 0 <= value <= 1:
                raise InvalidInput(f"{name} is {value}; it must lie between 0 and 1")
        for name, least, count in (
            ("min_area", 0, self.min_area),
            ("max_regions", 0, self.max_regions),
            ("points_per_side", 1, self.points_per_side),
        ):
            if count is not None and count < least:
                raise InvalidInput(f"{name} is {count}; it must be at least {least}")


@dataclass(frozen=True)
class Preannotation:
    """What is proposed for one image.

    Attributes:
        regions: Best first.
        score: Certainty in [0, 1] about the image as a whole; the lower, the sooner a person should look at it.
        model_version: What made it.
        suggestions: Classes believed to be in the image, each with what speaks for it, where they were asked for.
        problems: Why a stage gave nothing, in words for the log and for the person.
        support_version: Of the models that measured how far pixels support each class; empty where none did.
        is_degraded: Whether a language model that was asked for gave no answer, so that another time may give more.
    """

    regions: tuple[Region, ...]
    score: float
    model_version: str
    suggestions: tuple[Suggestion, ...] = ()
    problems: tuple[str, ...] = ()
    support_version: str = ""
    is_degraded: bool = False


def preannotate(
    image: Image,
    labels: LabelSet,
    options: PreannotationOptions,
    *,
    segmenter: Segmenter,
    encode: Encode,
    classifier: RegionClassifier | None,
    model_version: str,
    tile_size: int = 2048,
    tile_halo: int = 128,
    observe: Callable[[str, float], None] = lambda stage, seconds: None,
    cancelled: Callable[[], bool] = never_cancelled,
    others: Callable[[ProposalOptions], Proposals] | None = None,
) -> Preannotation:
    """Propose regions, give each a class, and keep the good ones.

    A region's score is the product of its mask's predicted IoU and its class's probability. The image's score is the
    mean over its regions; without any, it is the certainty that nothing is there: one minus the best score that was
    not good enough. It is 0 where nothing was tried.

    Args:
        image: The image.
        labels: The project's classes; without any, nothing is proposed.
        options: What the project wants.
        segmenter: What finds the regions.
        encode: Gives the embedding of a window of this image.
        classifier: What gives the classes; may be None where there is but one.
        model_version: Written into every region's provenance.
        tile_size: Images with a longer side are handled in tiles of this side, in pixels.
        tile_halo: Context in pixels around each tile's own part.
        observe: Told the seconds of the stages ``propose`` and ``classify``.
        cancelled: Asked between steps.
        others: Given what counts as a proposal, objects that something else proposes; of two that are the same the
            better stays.

    Raises:
        Cancelled: As soon as ``cancelled`` says so.
        InvalidInput: If there are several classes and no classifier.
    """
    if not options.enabled or not len(labels):
        return Preannotation((), 0.0, model_version)
    if classifier is None and len(labels) > 1:
        raise InvalidInput("several classes need a classifier to choose between them")
    started = time.perf_counter()
    whole = max(image.size) <= tile_size
    if whole:
        encode = cache(encode)
    wanted = proposal_options(options, segmenter, len(labels), tile_size, tile_halo)
    found = propose_regions(segmenter, encode, image.size, wanted, cancelled)
    if others is not None:
        found = distinct(joined(found, others(wanted)), options.duplicate_iou)
    observe("propose", time.perf_counter() - started)
    if cancelled():
        raise Cancelled("pre-annotation was cancelled")
    started = time.perf_counter()
    phrases = [item.phrases for item in labels]
    evidence: Evidence | None = None
    located: list[Located] = []
    if classifier is not None and len(labels) > 1:
        if whole and isinstance(classifier, Locator):
            evidence = classifier.locate(image.pixels, phrases)
            embedding = encode((0, 0, image.size[1], image.size[0]))
            located = locate_objects(image.pixels, evidence, phrases, found, segmenter, embedding, classifier)
        if cancelled():
            raise Cancelled("pre-annotation was cancelled")
        found = _most_promising(found, evidence, max(CLASSIFIED, options.max_regions))
    objects = _objects(labels, located, model_version)
    first = {id(region) for region in objects}
    regions = objects + _classified(image, found, labels, classifier, evidence, model_version)
    observe("classify", time.perf_counter() - started)
    # Overlaps are settled among the regions that are good enough, so that a dropped one hides nothing.
    default = family_defaults(segmenter.name).score if options.score_threshold is None else options.score_threshold
    good = [region for region in regions if region.score >= options.class_thresholds.get(region.label or "", default)]
    # What was looked for as a whole comes before what was put together from borders: its parts are no objects.
    whole_objects = [region for region in good if id(region) in first]
    order = sorted(
        (region for region in good if id(region) in first or not _around(region, whole_objects)),
        key=lambda region: (id(region) not in first, -region.score),
    )
    kept = sorted(_uncovered(order, options.max_regions), key=lambda region: -region.score)
    if kept:
        score = float(np.mean([region.score for region in kept]))
    else:
        score = 1.0 - max((region.score for region in regions), default=0.0)
    return Preannotation(tuple(kept), min(max(score, 0.0), 1.0), model_version)


def proposal_options(
    options: PreannotationOptions, segmenter: Segmenter, classes: int, tile_size: int, tile_halo: int
) -> ProposalOptions:
    """The options of the proposals of an image: what the project gave, else what suits the segmenter's family."""
    family = family_defaults(segmenter.name)
    given_iou, given_stability = options.predicted_iou_threshold, options.stability_threshold
    given_points = options.points_per_side
    usual_iou = family.predicted_iou if classes > 1 else family.predicted_iou_of_one_class
    return ProposalOptions(
        points_per_side=family.points_per_side if given_points is None else given_points,
        predicted_iou_threshold=usual_iou if given_iou is None else given_iou,
        stability_threshold=family.stability if given_stability is None else given_stability,
        duplicate_iou=options.duplicate_iou,
        min_area=max(options.min_area, 1),
        tile_size=tile_size,
        tile_halo=tile_halo,
    )


def _most_promising(found: Proposals, evidence: Evidence | None, most: int) -> Proposals:
    """The best ``most`` proposals by quality, size and what the evidence lets them be, in their order."""
    areas = np.array([mask.area for mask in found.masks], dtype=np.float64)
    promise = found.predicted_iou * found.stability * areas**SIZE_WEIGHT
    chosen = np.argsort(-promise, kind="stable")[:most]
    if evidence is not None:
        likely = support(evidence, found.masks).max(axis=1, initial=0.0) >= UNSUPPORTED
        chosen = chosen[likely[chosen]]
    return found.select(np.sort(chosen).tolist())


def _classified(
    image: Image,
    found: Proposals,
    labels: LabelSet,
    classifier: RegionClassifier | None,
    evidence: Evidence | None,
    model_version: str,
) -> list[Region]:
    if not found.masks:
        return []
    probabilities: NDArray[np.float32] = np.ones((len(found.masks), 1), dtype=np.float32)
    if classifier is not None:
        probabilities = classifier.classify(image.pixels, found.masks, [item.phrases for item in labels])
    if evidence is not None:
        probabilities = probabilities * support(evidence, found.masks)
    return [
        _region(labels, mask, float(quality), row, model_version)
        for mask, quality, row in zip(found.masks, np.clip(found.predicted_iou, 0, 1), probabilities, strict=True)
    ]


def _objects(labels: LabelSet, located: Sequence[Located], model_version: str) -> list[Region]:
    return [_region(labels, item.mask, item.quality, item.probabilities, model_version) for item in located]


def _region(
    labels: LabelSet, mask: Mask, quality: float, probabilities: NDArray[np.float32], model_version: str
) -> Region:
    best = int(probabilities.argmax())
    scores = {name: float(value) for name, value in zip(labels.names, probabilities, strict=True)}
    provenance = Provenance("preannotation", model_version)
    return Region(mask, labels.names[best], quality * float(probabilities[best]), provenance, scores)


def _around(region: Region, objects: Sequence[Region]) -> bool:
    """Whether a region holds most of an object of its own class, or lies mostly in it: surroundings, parts, repeats."""
    alike = [item.mask for item in objects if item.label == region.label]
    smaller = np.array([min(mask.area, region.mask.area) for mask in alike])
    return bool(alike) and bool((shared_areas(region.mask, alike) > PART * smaller).any())


def _uncovered(regions: list[Region], most: int) -> list[Region]:
    """The first ``most`` of the regions, best first, that do not repeat better ones of their own class.

    Parts of a kept region repeat it, and so does a group whose members are kept. Regions of different classes may lie
    in each other: a tie is not a person.
    """
    kept: list[Region] = []
    for region in regions:
        if len(kept) == most:
            break
        alike = [other.mask for other in kept if other.label == region.label]
        # The kept ones of a class hardly overlap, so their shares add up.
        if not alike or shared_areas(region.mask, alike).sum() < COVERED * region.mask.area:
            kept.append(region)
    return kept
