"""Pre-annotations with what looks like the examples that people have corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.overlap import settle_overlaps
from maskwright.assist.suggestion.values import OutputKind
from maskwright.regions import Region

SAME = 0.5
"""IoU from which two regions are the same thing."""


def with_likes(
    found: Preannotation,
    likes: Sequence[Region],
    limits: PreannotationOptions,
    problems: Sequence[str] = (),
    output: OutputKind = "regions",
) -> Preannotation:
    """A pre-annotation with likes of examples in place of the regions that are the same things.

    What people have outlined in this project says more about its classes than their names do, so that the example
    decides the class of a region, and whose pixels are whose. Of likes that are the same thing the best one stays.

    Args:
        found: Of an image, without examples.
        likes: Found in it, with their classes, in any order.
        limits: What of it the project wants.
        problems: Why likes could not be looked for, in words.
        output: What the regions of ``found`` mean; likes keep to it.
    """
    kept: list[Region] = []
    for like in sorted(likes, key=lambda region: -region.score):
        if all(like.mask.iou(other.mask) < SAME for other in kept):
            kept.append(like)
    said = tuple(dict.fromkeys((*found.problems, *problems)))
    if not kept:
        return replace(found, problems=said)
    others = [one for one in found.regions if all(one.mask.iou(like.mask) < SAME for like in kept)]
    regions = [*kept, *others]
    masks = settle_overlaps(
        [region.mask for region in regions],
        [region.score + (row < len(kept)) for row, region in enumerate(regions)],
        [region.label if output in ("regions", "instance") else row for row, region in enumerate(regions)],
    )
    shown = [replace(region, mask=mask) for region, mask in zip(regions, masks, strict=True)]
    shown = _one_of_each(shown) if output == "semantic" else shown
    left = [one for one in shown if not one.mask.is_empty and one.mask.area >= limits.min_area][: limits.max_regions]
    score = float(np.mean([region.score for region in left])) if left else found.score
    return replace(found, regions=tuple(sorted(left, key=lambda region: -region.score)), score=score, problems=said)


def _one_of_each(regions: Sequence[Region]) -> list[Region]:
    """One region for each class, as sure as its surest part."""
    by_class: dict[str | None, Region] = {}
    for one in regions:
        best = by_class.setdefault(one.label, one)
        by_class[one.label] = replace(best, mask=best.mask | one.mask, score=max(best.score, one.score))
    return list(by_class.values())
