"""What each family of segmenters means by a good mask: their estimates of IoU are not on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Thresholds:
    """Least predicted IoU and least stability of a proposal."""

    predicted_iou: float
    stability: float


SEGMENT_ANYTHING = Thresholds(predicted_iou=0.88, stability=0.95)
"""The values of Segment Anything's automatic mask generation."""

FAMILIES: Mapping[str, Thresholds] = MappingProxyType({"classical": Thresholds(predicted_iou=0.5, stability=0.5)})
"""By the start of a segmenter's name."""


def family_thresholds(name: str) -> Thresholds:
    """The thresholds that suit a segmenter, by its name."""
    fitting = [prefix for prefix in FAMILIES if name.startswith(prefix)]
    return FAMILIES[max(fitting, key=len)] if fitting else SEGMENT_ANYTHING
