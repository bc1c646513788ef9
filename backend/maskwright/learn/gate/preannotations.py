"""How good the regions are that a model proposes before anyone clicks, against those that people left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.export.matching import match_pair
from maskwright.masks import Mask
from maskwright.regions import Region


@dataclass(frozen=True)
class PreannotationRecord:
    """What was measured on one image.

    Attributes:
        image: Its key.
        proposed: Regions that were proposed.
        true: Regions that people left, those that stand for an uncounted group left out.
        matched: Pairs of them with an IoU of at least 0.5, as ``export.matching`` assigns them.
        overlap: Sum of the IoU of the pairs.
        classified: Pairs of which people named the class.
        right: Those of them with the class that was proposed.
        classes: By class, pixels that both say are of it and pixels that either says are.
    """

    image: str
    proposed: int
    true: int
    matched: int
    overlap: float
    classified: int
    right: int
    classes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self) | {"classes": {label: [*pair] for label, pair in self.classes.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PreannotationRecord:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            classes = {str(label): (int(both), int(either)) for label, (both, either) in value["classes"].items()}
            return cls(**{**value, "classes": classes})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"this is no record of measured proposals: {error!r}") from error


@dataclass(frozen=True)
class PreannotationQuality:
    """Figures over images; None where nothing could be measured.

    Attributes:
        images: How many there are.
        mean_iou: mIoU: mean over classes of their pixels' IoU, summed over all images.
        object_iou: Mean over true regions of the IoU with the region matched to them, 0 where there is none.
        recall: Share of true regions that are matched.
        precision: Share of proposed regions that are matched.
        class_accuracy: Share of matched regions whose proposed class is the true one.
    """

    images: int
    mean_iou: float | None
    object_iou: float | None
    recall: float | None
    precision: float | None
    class_accuracy: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PreannotationQuality:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise InvalidInput(f"these are no figures of proposals: {error}") from error


def measure_preannotations(image: str, proposed: Sequence[Region], true: Sequence[Region]) -> PreannotationRecord:
    """Compare what was proposed for an image with what people left.

    Raises:
        InvalidInput: If the masks are not all of one size.
    """
    counted = [region for region in true if not region.is_crowd]
    pairs = match_pair(proposed, counted)
    named = [(proposed[i].label, counted[j].label) for i, j, _ in pairs if counted[j].label is not None]
    here, there = _by_class(proposed), _by_class(true)
    classes: dict[str, tuple[int, int]] = {}
    for label in sorted({*here, *there}):
        a, b = here.get(label), there.get(label)
        both = a.intersection_area(b) if a is not None and b is not None else 0
        classes[label] = both, sum(mask.area for mask in (a, b) if mask is not None) - both
    return PreannotationRecord(
        image,
        len(proposed),
        len(counted),
        len(pairs),
        sum(overlap for _, _, overlap in pairs),
        len(named),
        sum(a == b for a, b in named),
        classes,
    )


def _by_class(regions: Iterable[Region]) -> dict[str, Mask]:
    found: dict[str, list[Mask]] = {}
    for region in regions:
        if region.label is not None:
            found.setdefault(region.label, []).append(region.mask)
    return {label: masks[0].union(*masks[1:]) for label, masks in found.items()}


def preannotation_quality(records: Iterable[PreannotationRecord]) -> PreannotationQuality:
    """Figures over the records of any images, each given once, in any order."""
    rows = sorted(records, key=lambda record: record.image)
    pixels: dict[str, list[int]] = {}
    for row in rows:
        for label, (both, either) in row.classes.items():
            total = pixels.setdefault(label, [0, 0])
            total[0], total[1] = total[0] + both, total[1] + either
    ious = [both / either for both, either in pixels.values() if either]
    matched, true = sum(row.matched for row in rows), sum(row.true for row in rows)
    return PreannotationQuality(
        len(rows),
        _share(sum(ious), len(ious)),
        _share(sum(row.overlap for row in rows), true),
        _share(matched, true),
        _share(matched, sum(row.proposed for row in rows)),
        _share(sum(row.right for row in rows), sum(row.classified for row in rows)),
    )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
