"""Whether a candidate may take over from the model in service, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.learn.gate.asking import PROMPT_TYPES
from maskwright.learn.gate.bootstrap import LEVEL, RESAMPLES, Compared, Gain, paired_gains
from maskwright.learn.gate.calibration import expected_calibration_error
from maskwright.learn.gate.preannotations import PreannotationQuality
from maskwright.learn.gate.reasons import faults, losses, not_enough, promoted, refused
from maskwright.learn.gate.records import PRIMARY, Measurement, ObjectRecord

Outcome = Literal["promote", "refuse", "not enough data"]


@dataclass(frozen=True)
class GateRule:
    """What a candidate has to show.

    Attributes:
        least_images: Held-out images below which nothing is decided.
        least_objects: Objects on them, likewise.
        prompt_loss: No prompt type may lose more IoU than this.
        class_loss: No class may lose more of the primary metric than this.
        class_objects: Classes with fewer objects are not judged.
        empty_share: Of its objects, a candidate may answer nothing for no more than this where the model in service
            answers something.
        level: Confidence of the lower bound of the gain.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        InvalidInput: If a number makes no sense; the message names it.
    """

    least_images: int = 5
    least_objects: int = 30
    prompt_loss: float = 0.01
    class_loss: float = 0.05
    class_objects: int = 5
    empty_share: float = 0.01
    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("least_images", "least_objects", "class_objects", "resamples"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it is at least 1")
        for name in ("prompt_loss", "class_loss", "empty_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it is a number from 0 to 1")
        if not 0.5 <= self.level < 1 or self.seed < 0:
            raise InvalidInput(f"level is {self.level}, seed {self.seed}: from 0.5 to below 1, and 0 or more")


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, with everything that it looked at.

    Attributes:
        outcome: ``promote``, ``refuse`` or ``not enough data``.
        reason: For a person, with the numbers.
        served: Version of the model in service.
        candidate: Version of the other.
        images: Held-out images with objects.
        objects: Objects on them.
        gains: By measure: ``iou`` (the primary metric, the mean IoU over box, 1, 3 and 5 clicks), ``iou_box``,
            ``iou_1``, ``iou_3``, ``iou_5``, ``boundary_iou_5``, ``noc85``, ``noc90`` (clicks: fewer are better).
        classes: By class the gain in the primary metric.
        not_judged: Classes with too few objects for a loss in them to count.
        calibration_error: Of the model in service and of the candidate: expected calibration error of predicted IoU.
        seconds_per_object: Likewise: what measuring one object took.
        preannotations: Likewise: figures of the regions that they propose, where those were measured.
        rule: What was to be shown.
    """

    outcome: Outcome
    reason: str
    served: str
    candidate: str
    images: int
    objects: int
    gains: Mapping[str, Gain]
    classes: Mapping[str, Gain]
    not_judged: tuple[str, ...]
    calibration_error: tuple[float, float]
    seconds_per_object: tuple[float, float]
    preannotations: tuple[PreannotationQuality, PreannotationQuality] | None
    rule: GateRule

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        quality = self.preannotations
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "gains": {name: gain.to_json() for name, gain in self.gains.items()},
            "classes": {label: gain.to_json() for label, gain in self.classes.items()},
            "not_judged": [*self.not_judged],
            "calibration_error": [*self.calibration_error],
            "seconds_per_object": [*self.seconds_per_object],
            "preannotations": None if quality is None else [one.to_json() for one in quality],
            "rule": asdict(self.rule),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            if value["outcome"] not in get_args(Outcome):
                raise ValueError(value["outcome"])
            found = value["preannotations"]
            before, after = (None, None) if found is None else map(PreannotationQuality.from_json, found)
            return cls(
                **{name: value[name] for name in _PLAIN},
                gains={name: Gain.from_json(gain) for name, gain in value["gains"].items()},
                classes={label: Gain.from_json(gain) for label, gain in value["classes"].items()},
                not_judged=tuple(value["not_judged"]),
                calibration_error=_pair(value["calibration_error"]),
                seconds_per_object=_pair(value["seconds_per_object"]),
                preannotations=None if before is None or after is None else (before, after),
                rule=GateRule(**value["rule"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"this is no verdict: {error!r}") from error


_PLAIN = ("outcome", "reason", "served", "candidate", "images", "objects")


def _pair(value: Any) -> tuple[float, float]:
    one, other = value
    return float(one), float(other)


def judge(
    served: Measurement,
    candidate: Measurement,
    rule: GateRule | None = None,
    preannotations: tuple[PreannotationQuality, PreannotationQuality] | None = None,
) -> Verdict:
    """Decide whether a candidate may take over.

    Args:
        served: What was measured of the model in service.
        candidate: What was measured of the candidate on the same objects in the same way.
        rule: What it has to show; None for the defaults.
        preannotations: Figures of what both propose, served first; they are told, and decide nothing.

    Raises:
        InvalidInput: If the two were not measured on the same objects in the same way; the message names an object.
    """
    needed = rule or GateRule()
    _check_pairs(served, candidate)
    objects, images = len(candidate.records), len(candidate.images)
    gains = _gains(served, candidate, needed)
    labels = sorted({record.label for record in candidate.records if record.label is not None})
    classes = {label: gains.pop(_class_name(label)) for label in labels}
    judged = {label: gain for label, gain in classes.items() if gain.objects >= needed.class_objects}
    skipped = tuple(label for label in labels if label not in judged)
    too_few = {label: classes[label].objects for label in skipped}
    outcome: Outcome
    if found := faults(served, candidate, needed.empty_share):
        outcome, reason = "refuse", refused(found)
    elif images < needed.least_images or objects < needed.least_objects:
        outcome = "not enough data"
        reason = not_enough(images, objects, needed.least_images, needed.least_objects)
    else:
        prompts = {name: gains[f"iou_{name}"] for name in PROMPT_TYPES}
        found = losses(gains[PRIMARY], prompts, judged, needed.prompt_loss, needed.class_loss, needed.level)
        outcome = "refuse" if found else "promote"
        limits = (needed.prompt_loss, needed.class_loss, needed.level)
        reason = refused(found, too_few) if found else promoted(gains[PRIMARY], *limits, too_few)
    return Verdict(
        outcome,
        reason,
        served.model_version,
        candidate.model_version,
        images,
        objects,
        gains,
        classes,
        skipped,
        (expected_calibration_error(*served.predictions()), expected_calibration_error(*candidate.predictions())),
        (served.seconds_per_object, candidate.seconds_per_object),
        preannotations,
        needed,
    )


def _class_name(label: str) -> str:
    return f"class\x1f{label}"


def _gains(served: Measurement, candidate: Measurement, rule: GateRule) -> dict[str, Gain]:
    """The gain in each measure, and for each class in the primary one, all on the same draws."""
    before, after = served.columns(), candidate.columns()
    compared = {name: Compared(before[name], after[name]) for name in after}
    labels = np.array([record.label or "" for record in candidate.records], dtype=object)
    for label in {record.label for record in candidate.records} - {None}:
        chosen = np.asarray(labels == label, dtype=np.bool_)
        compared[_class_name(str(label))] = Compared(before[PRIMARY], after[PRIMARY], chosen)
    images = [record.image for record in candidate.records]
    found = paired_gains([*compared.values()], images, resamples=rule.resamples, seed=rule.seed, level=rule.level)
    return dict(zip(compared, found, strict=True))


def _check_pairs(served: Measurement, candidate: Measurement) -> None:
    if served.asking != candidate.asking:
        raise InvalidInput("the two models were asked with different questions or seeds: measure both alike")

    def name(record: ObjectRecord) -> tuple[str, str, str, str | None]:
        return record.image, record.object, record.truth, record.label

    apart = {name(record) for record in served.records} ^ {name(record) for record in candidate.records}
    if apart:
        image, key, _, _ = min(apart, key=lambda item: item[:3])
        raise InvalidInput(
            f"the two models were not measured on the same objects, e.g. image {image}, object {key}: measure both on "
            "the same held-out objects"
        )
