"""Images picked for the contact sheet: always the same ones, however the work was shared out among processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.export.records import ImageRecord
from maskwright.masks import Mask, Size
from maskwright.masks.frames import Spans, from_spans, to_spans

MOST_SAMPLES = 24
CELL = 320
"""Longest side of a sample's picture in pixels."""
_MOST_REGIONS = 60


@dataclass(frozen=True, order=True)
class Sample:
    """An image of the contact sheet.

    Attributes:
        rank: Hex digits; those with the lowest are picked.
        key: The image's key.
        file_name: As in the dataset.
        source: Its address at the platform.
        split: Its part, or empty.
        size: (H, W) of the image in pixels.
        count: How many regions it has.
        small: (h, w) of the masks here.
        regions: (class, compressed COCO counts) each, in the order of drawing; the largest where there are very many.
    """

    rank: str
    key: str
    file_name: str
    source: str
    split: str
    size: Size
    count: int
    small: Size
    regions: tuple[tuple[str, str], ...]

    def masks(self) -> list[tuple[str, Mask]]:
        """(class, mask of size ``small``) of each region."""
        return [(label, Mask.from_coco({"size": self.small, "counts": counts})) for label, counts in self.regions]

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sample:
        """The reverse of :meth:`to_json`."""
        lists = {"size": tuple(value["size"]), "small": tuple(value["small"])}
        return cls(**{**value, **lists, "regions": tuple((label, counts) for label, counts in value["regions"])})


def rank_of(key: str) -> str:
    """Where an image stands in the drawing of samples."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def lowest(samples: Iterable[Sample]) -> list[Sample]:
    """The samples to keep, by rank."""
    return sorted({sample.rank: sample for sample in samples}.values())[:MOST_SAMPLES]


def sample_of(record: ImageRecord) -> Sample:
    """A sample from an image, with its masks made small."""
    step = max(1, -(-max(record.size) // CELL))
    shown = sorted(range(len(record.regions)), key=lambda n: -record.regions[n].mask.area)[:_MOST_REGIONS]
    regions = [record.regions[n] for n in sorted(shown)]
    return Sample(
        rank=rank_of(record.key),
        key=record.key,
        file_name=record.file_name,
        source=record.source,
        split=record.split or "",
        size=record.size,
        count=len(record.regions),
        small=thinned_size(record.size, step),
        regions=tuple((str(region.label), thinned(region.mask, step).counts.decode()) for region in regions),
    )


def thinned_size(size: Size, step: int) -> Size:
    """(height, width) of what :func:`thinned` gives."""
    return -(-size[0] // step), -(-size[1] // step)


def thinned(mask: Mask, step: int) -> Mask:
    """Every ``step``-th pixel of every ``step``-th column, the first ones included; on runs."""
    if step == 1:
        return mask
    columns, tops, bottoms = to_spans(mask.edges, mask.height)
    kept = columns % step == 0
    columns, tops, bottoms = columns[kept] // step, -(-tops[kept] // step), -(-bottoms[kept] // step)
    some = np.flatnonzero(tops < bottoms)
    size = thinned_size(mask.size, step)
    return Mask(size, from_spans(Spans(columns[some], tops[some], bottoms[some]), size[0]))
