"""Figures of a semantic evaluation: over the data set, per class, per image, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.metrics import RESAMPLES, Estimate, interval
from maskwright.learn.semantic.confusion import Confusion, Labels, ious


@dataclass(frozen=True)
class SemanticReport:
    """What came out.

    Attributes:
        classes: Names.
        images: How many were measured.
        confusion: Of all pixels.
        mean_iou: Of the data set: intersections and unions are summed over the images first.
        pixel_accuracy: Likewise, of pixels.
        image_mean_iou: Mean over images of each one's own mean IoU, which gives small classes less weight.
    """

    classes: tuple[str, ...]
    images: int
    confusion: Confusion
    mean_iou: Estimate
    pixel_accuracy: Estimate
    image_mean_iou: float

    def as_json(self) -> dict[str, Any]:
        """What ``maskwright evaluate --task semantic --json`` prints; the keys are an interface."""
        by_class = zip(self.classes, self.confusion.ious, self.confusion.recalls, self.confusion.parts[1], strict=True)
        return {
            "images": self.images,
            "miou": _shown(self.mean_iou.mean),
            "miou_interval": [_shown(self.mean_iou.low), _shown(self.mean_iou.high)],
            "pixel_accuracy": _shown(self.pixel_accuracy.mean),
            "pixel_accuracy_interval": [_shown(self.pixel_accuracy.low), _shown(self.pixel_accuracy.high)],
            "mean_accuracy": _shown(self.confusion.mean_accuracy),
            "image_miou": _shown(self.image_mean_iou),
            "classes": [
                {"name": name, "iou": _shown(iou), "recall": _shown(recall), "pixels": int(pixels)}
                for name, iou, recall, pixels in by_class
            ],
        }


@dataclass(eq=False)
class SemanticTally:
    """Collects images.

    Attributes:
        classes: Names, at least one.
    """

    classes: Sequence[str]
    _total: Confusion = field(init=False)
    _parts: list[NDArray[np.int64]] = field(init=False, default_factory=list)
    _pixels: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if not self.classes:
            raise InvalidInput("there is no class to be right or wrong about")
        self._total = Confusion.empty(len(self.classes))

    def add(self, truth: Labels, given: Labels) -> Confusion:
        """Count an image, and give its own counts back; arguments and errors as ``Confusion.of``."""
        one = Confusion.of(truth, given, len(self.classes))
        self.count(one)
        return one

    def count(self, one: Confusion) -> None:
        """Add what was counted of an image."""
        self._total = self._total + one
        self._parts.append(one.parts)
        self._pixels.append(int(one.counts.sum()))

    def report(self, seed: int = 0) -> SemanticReport:
        """The figures, with 95 % bootstrap intervals over images.

        Raises:
            InvalidInput: If no image had a pixel of known class.
        """
        if not sum(self._pixels):
            raise InvalidInput("no image has a pixel of one of the classes: there is nothing to compare with")
        parts, pixels = np.stack(self._parts), np.array(self._pixels)
        drawn = _draws(len(parts), seed)
        sums = np.stack([parts[order].sum(axis=0) for order in drawn])
        accuracy = sums[:, 0].sum(axis=1) / np.maximum([pixels[order].sum() for order in drawn], 1)
        return SemanticReport(
            tuple(self.classes),
            len(parts),
            self._total,
            interval(self._total.mean_iou, _mean_iou(sums)),
            interval(self._total.pixel_accuracy, accuracy),
            float(_mean_iou(parts[pixels > 0]).mean()),
        )

    def gain(self, other: SemanticTally, seed: int = 0) -> Estimate:
        """By how much this mean IoU is above another of the same images, added in the same order.

        Raises:
            InvalidInput: If there are not as many, or none.
        """
        if len(self._parts) != len(other._parts) or not self._parts:
            raise InvalidInput(f"{len(self._parts)} and {len(other._parts)} images cannot be compared one by one")
        drawn = _draws(len(self._parts), seed)
        mine, theirs = (
            _mean_iou(np.stack([parts[order].sum(axis=0) for order in drawn]))
            for parts in (np.stack(self._parts), np.stack(other._parts))
        )
        return interval(self._total.mean_iou - other._total.mean_iou, mine - theirs)


def _draws(images: int, seed: int) -> NDArray[np.int64]:
    """(RESAMPLES, images) positions of images; equal arguments give equal draws, so that differences are paired."""
    return np.random.default_rng(seed).integers(0, images, (RESAMPLES, images))


def _mean_iou(parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) mean IoU from (n, 3, C) parts; 0 where there is no class at all."""
    each = ious(parts)
    known = ~np.isnan(each)
    means: NDArray[np.float64] = np.where(known, each, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return means


def _shown(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
