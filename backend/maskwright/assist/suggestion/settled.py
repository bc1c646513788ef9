"""Which of the regions that were drawn and checked are shown, and whose pixels are whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.overlap import settle_overlaps
from maskwright.assist.suggestion.values import Suggestion
from maskwright.regions import Region


def settled(
    regions: Sequence[Region],
    supported: Sequence[bool],
    sure: Sequence[Region],
    limits: PreannotationOptions,
    suggestions: Sequence[Suggestion],
    said: Sequence[str],
    model_version: str,
) -> Preannotation:
    """The good regions, once each and without shared pixels between classes; ``sure`` holds their classes' scores."""
    default = limits.score_threshold or 0.0
    good = [
        row
        for row, region in enumerate(regions)
        if supported[row]
        and region.mask.area >= limits.min_area
        and region.score >= limits.class_thresholds.get(region.label or "", default)
    ]
    good = _distinct(sorted(good, key=lambda row: -regions[row].score), regions, limits.duplicate_iou)
    good = good[: limits.max_regions]  # what is not shown takes no pixel from what is
    masks = settle_overlaps(
        [regions[row].mask for row in good],
        [sure[row].score for row in good],
        [regions[row].label for row in good],
    )
    kept = [
        replace(regions[row], mask=mask)
        for row, mask in zip(good, masks, strict=True)
        if not mask.is_empty and mask.area >= limits.min_area
    ]
    if kept:
        score = float(np.mean([region.score for region in kept]))
    else:
        score = 1.0 - max((region.score for region in regions), default=0.0)
    return Preannotation(
        tuple(kept), min(max(score, 0.0), 1.0), model_version, tuple(suggestions), tuple(dict.fromkeys(said))
    )


def _distinct(order: Sequence[int], regions: Sequence[Region], duplicate_iou: float) -> list[int]:
    """The rows, best first, of regions that repeat no better one of their class."""
    kept: list[int] = []
    for row in order:
        alike = [regions[other].mask for other in kept if regions[other].label == regions[row].label]
        if all(regions[row].mask.iou(mask) < duplicate_iou for mask in alike):
            kept.append(row)
    return kept
