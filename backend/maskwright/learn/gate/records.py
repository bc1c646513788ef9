"""What was measured on the held-out objects: values that can be stored, read again, and put together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.gate.asking import PROMPT_TYPES, Asking

PRIMARY = "iou"
"""The primary metric: mean over ``PROMPT_TYPES`` of the IoU."""


@dataclass(frozen=True)
class ObjectRecord:
    """What was measured on one object.

    Attributes:
        image: Key of its image.
        object: Its key within the image.
        label: Its class, or None.
        truth: ``Mask.content_hash`` of its mask, so that a corrected object is measured again.
        area: Its pixels.
        iou: By prompt type (``box``, ``1``, ``3``, ``5`` clicks) the IoU of the answer.
        predicted: By prompt type what the model thought that the IoU is; NaN where it gave no finite number.
        boundary_iou: IoU of the boundaries after 5 clicks.
        clicks85: Clicks until the IoU first was 0.85, or None if it never was.
        clicks90: Likewise for 0.90.
        empty: Answers without any pixel, of all that were asked for.
        not_finite: Answers whose logits or predicted IoU hold a number that is not finite.

    Raises:
        InvalidInput: If an IoU is missing or not in [0, 1].
    """

    image: str
    object: str
    label: str | None
    truth: str
    area: int
    iou: Mapping[str, float]
    predicted: Mapping[str, float]
    boundary_iou: float
    clicks85: int | None
    clicks90: int | None
    empty: int = 0
    not_finite: int = 0

    def __post_init__(self) -> None:
        values = [*(self.iou.get(name, math.nan) for name in PROMPT_TYPES), self.boundary_iou]
        if not all(0 <= value <= 1 for value in values):
            raise InvalidInput(f"image {self.image}, object {self.object}: an IoU is missing or not in [0, 1]")

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; a number that is not finite becomes None."""
        predicted = {name: value if math.isfinite(value) else None for name, value in self.predicted.items()}
        return asdict(replace(self, predicted={})) | {"iou": dict(self.iou), "predicted": predicted}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ObjectRecord:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            iou = {name: float(value["iou"][name]) for name in PROMPT_TYPES}
            found = {name: value["predicted"][name] for name in PROMPT_TYPES}
            predicted = {name: math.nan if number is None else float(number) for name, number in found.items()}
            return cls(**{**value, "iou": iou, "predicted": predicted})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"this is no record of a measured object: {error!r}") from error

    def values(self, most_clicks: int) -> dict[str, float]:
        """Every measure by name; an object that never reached an IoU counts as ``most_clicks`` clicks."""
        clicks = {"noc85": self.clicks85, "noc90": self.clicks90}
        return {
            PRIMARY: float(np.mean([self.iou[name] for name in PROMPT_TYPES])),
            **{f"iou_{name}": self.iou[name] for name in PROMPT_TYPES},
            "boundary_iou_5": self.boundary_iou,
            **{name: float(most_clicks if count is None else count) for name, count in clicks.items()},
        }


@dataclass(frozen=True)
class Measurement:
    """What was measured of one model.

    Attributes:
        model_version: ``Segmenter.version`` of it.
        asking: How it was asked.
        records: One per object, sorted by image and object.
        encode_seconds: Time that encoding the images took.
        answer_seconds: Time that answering took, logits to pixels included.

    Raises:
        InvalidInput: If an object is recorded twice.
    """

    model_version: str
    asking: Asking
    records: tuple[ObjectRecord, ...] = ()
    encode_seconds: float = 0.0
    answer_seconds: float = 0.0

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.records, key=lambda record: (record.image, record.object)))
        for one, other in pairwise(ordered):
            if (one.image, one.object) == (other.image, other.object):
                raise InvalidInput(f"image {one.image}, object {one.object} was measured twice: give each image once")
        object.__setattr__(self, "records", ordered)

    @property
    def images(self) -> tuple[str, ...]:
        """The keys of the images with measured objects, sorted."""
        return tuple(dict.fromkeys(record.image for record in self.records))

    @property
    def seconds_per_object(self) -> float:
        """Encoding and answers, shared among the objects; 0 where there are none."""
        return (self.encode_seconds + self.answer_seconds) / len(self.records) if self.records else 0.0

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Every measure by name, (objects,) in the order of the records."""
        rows = [record.values(self.asking.most_clicks) for record in self.records]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def predictions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predicted and true IoU of all answers with a finite prediction: two (n,) arrays."""
        pairs = [
            (record.predicted[name], record.iou[name])
            for record in self.records
            for name in PROMPT_TYPES
            if math.isfinite(record.predicted[name])
        ]
        both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def without(self, images: Iterable[str]) -> Measurement:
        """Without some images; of the seconds, the share of the objects that are left."""
        gone = set(images)
        kept = tuple(record for record in self.records if record.image not in gone)
        share = len(kept) / max(1, len(self.records))
        return replace(
            self,
            records=kept,
            encode_seconds=self.encode_seconds * share,
            answer_seconds=self.answer_seconds * share,
        )

    def merged(self, *others: Measurement) -> Measurement:
        """All of them together.

        Raises:
            InvalidInput: If they are of different models or were made with different questions, or share an object.
        """
        for other in others:
            if other.model_version != self.model_version:
                raise InvalidInput(
                    f"measurements of two models cannot be put together: {self.model_version} and {other.model_version}"
                )
            if other.asking != self.asking:
                raise InvalidInput("measurements made with different questions or seeds cannot be put together")
        together = (self, *others)
        return replace(
            self,
            records=tuple(record for one in together for record in one.records),
            encode_seconds=sum(one.encode_seconds for one in together),
            answer_seconds=sum(one.answer_seconds for one in together),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "model_version": self.model_version,
            "asking": self.asking.to_json(),
            "records": [record.to_json() for record in self.records],
            "encode_seconds": self.encode_seconds,
            "answer_seconds": self.answer_seconds,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measurement:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            return cls(
                str(value["model_version"]),
                Asking.from_json(value["asking"]),
                tuple(ObjectRecord.from_json(record) for record in value["records"]),
                float(value["encode_seconds"]),
                float(value["answer_seconds"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"this is no measurement of a model: {error!r}") from error
