"""What a whole picture shows: objects, the area of each class, or both, from one look of dense features.

What was looked for and drawn keeps its class. Beside it, masks that the segmenter proposes get the class of the dense
features below them, and classes without countable objects take what is left, as panoptic segmentation has it (Kirillov
et al., CVPR 2019; class by region pooling, see ``maskwright.models.dense.pooling``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.everything import propose_regions
from maskwright.assist.preannotate import COVERED, Preannotation, PreannotationOptions, proposal_options
from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.countable import countable_classes
from maskwright.assist.suggestion.names import ClassNames
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.images import Image
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.dense.pooling import Segment, Segmentation, segment
from maskwright.regions import Provenance, Region

NO_MAPS = "no dense features that know words are set: areas of classes are only shown where they were found as objects"


def whole_picture(
    image: Image,
    labels: LabelSet,
    limits: PreannotationOptions,
    options: StageOptions,
    context: Context,
    found: Preannotation,
    suggested: Collection[str],
) -> Preannotation:
    """A pre-annotation whose regions mean what ``options.output`` says.

    Objects of countable classes overlap with ``instance`` only; ``semantic`` has one region for each class,
    ``panoptic`` one for each object and one for each uncountable class. Where nobody has looked for a mask or a place
    by name, its class needs the probability from which pixels confirm one.

    Args:
        image: The image.
        labels: The project's classes.
        limits: What of it the project wants.
        options: ``output``, and which classes are ``stuff``.
        context: Its dense features show where classes are, if they know words. Without a detector their masks are
            in ``found`` already; with one, the segmenter proposes them.
        found: The regions that were looked for, with what is believed of each class by now.
        suggested: Classes that were to be looked for. Of the countable ones, those that pixels rejected are left out; a
            detector's search for what has no objects says nothing.

    Raises:
        Cancelled: As soon as ``context.cancelled`` says so.
    """
    classes = ClassNames(labels).classes
    names = [item.name for item in classes]
    countable, unknown = countable_classes(classes, options.stuff)
    rejected = {one.label for one in found.suggestions if one.status == "rejected"}
    wanted = [
        name in suggested and (name not in rejected or not is_thing)
        for name, is_thing in zip(names, countable, strict=True)
    ]
    known = [region for region in found.regions if region.label in names]
    said: list[str] = []
    look = any(wanted) and context.places is not None
    maps = attempt(lambda: _maps(image, classes, context), None, "areas were not looked for", said) if look else None
    if maps is None and not said and options.output != "instance" and not all(countable):
        said.append(NO_MAPS)
    masks, qualities = ([], []) if maps is None else _proposed(image, limits, context, known, len(names))
    nowhere = np.zeros((1, 1, len(names)), dtype=np.float32)
    whole = segment(
        nowhere if maps is None else maps * np.array(wanted, dtype=np.float32),
        [*(region.mask for region in known), *masks],
        image.size,
        qualities=[*(region.score for region in known), *qualities],
        countable=countable,
        least=[context.thresholds.of(name).confirmed for name in names],
        labels=[*(names.index(region.label or "") for region in known), *([None] * len(masks))],
        covered=COVERED,
    )
    default = limits.score_threshold or 0.0
    shown = [
        region
        for part in _parts(whole, options)
        if (region := _region(part, names[part.label], known, context.model_version)).mask.area >= limits.min_area
        and region.score >= limits.class_thresholds.get(region.label or "", default)
    ]
    shown = sorted(shown, key=lambda region: -region.score)[: limits.max_regions]
    by = context.models.dense.name if context.models.dense is not None else ""
    return replace(
        found,
        regions=tuple(shown),
        score=float(np.clip(np.mean([region.score for region in shown]), 0, 1)) if shown else found.score,
        suggestions=_with_areas(found.suggestions, shown, by),
        problems=tuple(dict.fromkeys((*found.problems, *unknown, *said))),
    )


def _maps(image: Image, classes: Sequence[LabelClass], context: Context) -> NDArray[np.float32] | None:
    """How probable each class is at each place; None where nothing can tell."""
    places = context.places
    if places is None:
        return None
    with context.stage("check"):
        if not places.knows_words:
            return None
        return places.maps(image.pixels, [item.phrases for item in classes])


def _proposed(
    image: Image, limits: PreannotationOptions, context: Context, known: Sequence[Region], classes: int
) -> tuple[list[Mask], list[float]]:
    """Masks that the segmenter proposes beside the known ones, with its estimates of their IoU."""
    if context.models.detector is None:
        return [], []
    wanted = proposal_options(limits, context.segmenter, classes, context.tile_size, context.tile_halo)
    with context.stage("segment"):
        proposals = propose_regions(context.segmenter, context.encode, image.size, wanted, context.cancelled)
    new = [
        row
        for row, mask in enumerate(proposals.masks)
        if all(mask.iou(region.mask) < limits.duplicate_iou for region in known)
    ]
    return [proposals.masks[row] for row in new], np.clip(proposals.predicted_iou[new], 0, 1).tolist()


def _parts(whole: Segmentation, options: StageOptions) -> Sequence[Segment]:
    if options.output == "instance":
        return whole.instances
    return whole.semantic if options.output == "semantic" else whole.panoptic


def _region(part: Segment, name: str, known: Sequence[Region], model_version: str) -> Region:
    if 0 <= part.source < len(known):
        return replace(known[part.source], mask=part.mask, score=part.score)
    return Region(part.mask, name, part.score, Provenance("preannotation", model_version), {name: part.score})


def _with_areas(suggestions: Sequence[Suggestion], shown: Sequence[Region], by: str) -> tuple[Suggestion, ...]:
    """What is believed of the classes, now that some of them turned out to cover areas."""
    best: dict[str, float] = {}
    for region in shown:
        best[region.label or ""] = max(best.get(region.label or "", 0.0), region.score)
    told = {one.label: one for one in suggestions if one.is_known}
    for name, score in best.items():
        one = told.get(name)
        if one is None or one.status == "rejected":
            sources = (*(one.sources if one is not None else ()), Source("region", by, min(score, 1.0)))
            told[name] = Suggestion(name, "plausible", min(score, 1.0), sources, one is not None and one.implied)
    return (*told.values(), *(one for one in suggestions if not one.is_known))
