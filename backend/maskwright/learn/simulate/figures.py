"""What a simulated project is judged by: a test part that it never sees, and figures of a model on it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.learn.gate.records import Measurement


def hold_out(names: Sequence[str], share: float, seed: int) -> frozenset[str]:
    """The names of the images to test on: the share of them (rounded up) whose seeded hashes are lowest.

    Args:
        names: Of the images, all different.
        share: Above 0 and below 1.
        seed: Equal seeds give equal parts.

    Raises:
        InvalidInput: If the share is not, or leaves nothing to learn from.
    """
    if not 0 < share < 1:
        raise InvalidInput(f"the held-out fraction is {share}; give a number above 0 and below 1, e.g. 0.3")
    count = math.ceil(share * len(names))
    if count >= len(names):
        raise InvalidInput(f"{len(names)} images with a held-out fraction of {share} leave none to learn from")
    return frozenset(sorted(names, key=lambda name: hashlib.blake2b(f"{seed}\x1f{name}".encode()).digest())[:count])


@dataclass(frozen=True)
class Figures:
    """A model on the test part.

    Attributes:
        images: Tested on.
        objects: Tested on.
        clicks_per_object: Mean clicks to IoU 0.85; an object that never reached it counts 20.
        failed: Share of the objects that never did.
        iou_1: Mean IoU after one click.
        iou_box: Mean IoU with a box, its sides a little off.
    """

    images: int
    objects: int
    clicks_per_object: float
    failed: float
    iou_1: float
    iou_box: float

    @classmethod
    def of(cls, measured: Measurement) -> Figures:
        """The figures of a measurement.

        Raises:
            InvalidInput: If nothing was measured.
        """
        if not measured.records:
            raise InvalidInput("no image of the test part has an object, so nothing can be measured; test on more")
        columns = measured.columns()
        return cls(
            len(measured.images),
            len(measured.records),
            float(columns["noc85"].mean()),
            sum(record.clicks85 is None for record in measured.records) / len(measured.records),
            float(columns["iou_1"].mean()),
            float(columns["iou_box"].mean()),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)
