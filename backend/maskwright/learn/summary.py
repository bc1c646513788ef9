"""Figures over many objects: means, bootstrap intervals, by object size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

import numpy as np

from maskwright.learn.interactive import MOST_CLICKS, REPORTED_CLICKS, THRESHOLDS, Clicked, Outcome
from maskwright.learn.metrics import Estimate, SizeClass, estimate, size_class

SIZE_CLASSES: tuple[SizeClass, ...] = ("small", "medium", "large")


@dataclass(frozen=True)
class Summary:
    """Figures over objects.

    Attributes:
        objects: How many there are.
        estimates: For every measure (``iou_box``, ``iou_1``, ..., ``boundary_iou_box``, ..., ``noc80``, ...,
            ``failed80``, ...) its mean and interval.
        failures: For every threshold in per cent the number of objects that never reached it.
        by_size: For every size class that has objects their number, and the means of all measures.
        seconds_per_click: Mean over all clicks.
    """

    objects: int
    estimates: Mapping[str, Estimate]
    failures: Mapping[int, int]
    by_size: Mapping[SizeClass, tuple[int, Mapping[str, float]]]
    seconds_per_click: float

    def as_json(self) -> dict[str, int | float]:
        """What ``maskwright evaluate --json`` prints; the keys are an interface."""
        names = ["iou_box", *(f"iou_{k}" for k in REPORTED_CLICKS), *(f"noc{percent(t)}" for t in THRESHOLDS)]
        return {
            "objects": self.objects,
            **{name: round(self.estimates[name].mean, 4) for name in names},
            "failures80": self.failures[80],
            "seconds_per_click": round(self.seconds_per_click, 6),
        }


def percent(threshold: float) -> int:
    """A threshold in whole per cent, as it stands in names."""
    return round(threshold * 100)


def click_measures(clicked: Clicked) -> dict[str, float]:
    """The measures of one object's clicks by name."""
    found: dict[str, float] = {}
    for count, quality in zip(REPORTED_CLICKS, clicked.reported, strict=True):
        found |= {f"iou_{count}": quality.iou, f"boundary_iou_{count}": quality.boundary_iou}
    for threshold in THRESHOLDS:
        clicks = clicked.clicks_to(threshold)
        found[f"noc{percent(threshold)}"] = MOST_CLICKS if clicks is None else clicks
        found[f"failed{percent(threshold)}"] = float(clicks is None)
    return found


def measures(outcome: Outcome) -> dict[str, float]:
    """All measures of one object by name."""
    box = {"iou_box": outcome.box.iou, "boundary_iou_box": outcome.box.boundary_iou}
    return box | click_measures(outcome.clicked)


def summarise(outcomes: Sequence[Outcome], images: Sequence[Hashable], seed: int) -> Summary:
    """Figures over objects.

    Args:
        outcomes: At least one.
        images: What names the image of each, since whole images are resampled (``metrics.resampled_means``).
        seed: Of the bootstrap.
    """
    rows = [measures(outcome) for outcome in outcomes]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    sizes = np.array([size_class(outcome.area) for outcome in outcomes])
    by_size = {
        size: (int((sizes == size).sum()), {name: float(v[sizes == size].mean()) for name, v in columns.items()})
        for size in SIZE_CLASSES
        if (sizes == size).any()
    }
    return Summary(
        objects=len(outcomes),
        estimates=MappingProxyType({name: estimate(v, images, seed) for name, v in columns.items()}),
        failures=MappingProxyType({percent(t): int(columns[f"failed{percent(t)}"].sum()) for t in THRESHOLDS}),
        by_size=MappingProxyType(by_size),
        seconds_per_click=fmean(s for outcome in outcomes for s in outcome.click_seconds),
    )
