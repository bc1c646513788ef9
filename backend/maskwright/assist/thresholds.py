"""How each family of segmenters is best asked for everything: their estimates and their costs are not on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FamilyDefaults:
    """What suits a family.

    Attributes:
        predicted_iou: Least estimate of a proposal's IoU, where a classifier has its say after it.
        predicted_iou_of_one_class: The same in a label set of one class, where nothing else tells objects apart.
        stability: Least stability of a proposal.
        score: Least score of a region: its estimated IoU times the probability of its class.
        points_per_side: Points along each side of the grid, where the family proposes nothing by itself.
    """

    predicted_iou: float
    predicted_iou_of_one_class: float
    stability: float
    score: float
    points_per_side: int


SEGMENT_ANYTHING = FamilyDefaults(
    predicted_iou=0.88, predicted_iou_of_one_class=0.88, stability=0.95, score=0.3, points_per_side=32
)
"""The values of Segment Anything's automatic mask generation."""

REGION_HIERARCHY = FamilyDefaults(
    predicted_iou=0.3, predicted_iou_of_one_class=0.5, stability=0.3, score=0.28, points_per_side=12
)
"""Estimates are calibrated means over photographs, where 0.5 is a good mask; a click costs as much as a hundred."""

FAMILIES: Mapping[str, FamilyDefaults] = MappingProxyType(
    # The embedded engine proposes what the hierarchy of the classical one proposes.
    {"classical": REGION_HIERARCHY, "embedded": REGION_HIERARCHY}
)
"""By the start of a segmenter's name."""


def family_defaults(name: str) -> FamilyDefaults:
    """What suits a segmenter, by its name."""
    fitting = [prefix for prefix in FAMILIES if name.startswith(prefix)]
    return FAMILIES[max(fitting, key=len)] if fitting else SEGMENT_ANYTHING
