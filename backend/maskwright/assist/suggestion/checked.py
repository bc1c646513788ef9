"""Objects that were found and drawn become regions, of which those stay that pixels support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.support import Found, check_support
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.regions import Provenance, Region


def checked(
    image: Image,
    labels: LabelSet,
    options: StageOptions,
    context: Context,
    suggestions: Sequence[Suggestion],
    objects: Sequence[Found],
    said: list[str],
) -> tuple[list[Region], list[bool], list[Suggestion]]:
    """A region for each object, scored by its class alone, whether pixels support it, and what that says of classes.

    Args:
        image: The image.
        labels: The project's classes.
        options: Whether pixels are asked.
        context: What is asked.
        suggestions: Of this image.
        objects: Of this image.
        said: Takes a sentence where regions could not be looked at.

    Raises:
        Cancelled: If the context says so, or a model was cancelled.
    """
    provenance = Provenance("preannotation", context.model_version)
    if not options.check_pixels:
        scores = [1.0 if item.score is None else item.score for item in objects]
        regions = [
            Region(item.mask, item.label, score, provenance, {item.label: score})
            for item, score in zip(objects, scores, strict=True)
        ]
        seen = [_with_boxes(one, [item for item in objects if item.label == one.label]) for one in suggestions]
        labelled = {item.label for item in objects}
        return regions, [True] * len(objects), [one for one in seen if one.sources or one.label in labelled]
    with context.stage("check"):
        support = check_support(
            image.pixels,
            suggestions,
            objects,
            labels,
            places=context.places,
            classifier=context.classifier,
            domain=options.domain,
            thresholds=context.thresholds,
            searched=context.models.detector is not None,
        )
    said += support.problems
    regions = [
        Region(item.mask, item.label, value, provenance, dict(scores) or {item.label: value})
        for item, value, scores in zip(objects, support.support, support.class_scores, strict=True)
    ]
    return regions, list(support.kept), list(support.suggestions)


def _with_boxes(one: Suggestion, objects: Sequence[Found]) -> Suggestion:
    """A suggestion for which the surest of its class's boxes speaks as well."""
    scores = [(item.score, item.phrase or item.label) for item in objects if item.score is not None]
    if not scores:
        return one
    score, phrase = max(scores)
    sources = (*one.sources, Source("detector", phrase, min(score, 1.0)))
    return replace(one, sources=tuple(sorted(sources, key=lambda source: -source.confidence)))
