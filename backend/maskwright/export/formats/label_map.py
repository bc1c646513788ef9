"""What the formats of label maps share: one value per pixel, its colours, and what overlaps hide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.export.layers import Layers, flatten
from maskwright.export.records import Dataset, ImageRecord, Loss
from maskwright.export.run_png import encode_runs
from maskwright.masks import Mask
from maskwright.regions import Region

MOST_IN_BYTE = 255


def colour(value: int) -> tuple[int, int, int]:
    """RGB of a value in the palette of Pascal VOC (VOC devkit, ``VOClabelcolormap.m``).

    The bits of the value are dealt to red, green and blue in turn, highest bits of the colour first.
    """
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (value >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


PALETTE = bytes(channel for value in range(256) for channel in colour(value))
"""The 256 RGB triples of Pascal VOC's palette."""


def drawn(record: ImageRecord) -> tuple[list[Region], Layers]:
    """The regions that hold a pixel, in the order of drawing, and what shows of them.

    Raises:
        InvalidInput: If a mask is not of the image's size.
    """
    regions = [region for region in record.regions if not region.mask.is_empty]
    return regions, flatten([region.mask for region in regions], record.size)


def category_of(region: Region, dataset: Dataset) -> int:
    """The category id of a region, whose class is among the dataset's."""
    return dataset.categories[region.label or ""]


def encode_map(layers: Layers, values: Sequence[int], *, deep: bool) -> bytes:
    """A PNG with one value per mask; 0 where there is none.

    Args:
        layers: What shows where.
        values: One value of 1 and above per mask.
        deep: Write 16-bit grey instead of 8 bits with a palette; for values above 255.
    """
    table: NDArray[np.unsignedinteger] = np.array([0, *values], dtype=np.uint16 if deep else np.uint8)
    return encode_runs(layers.size, layers.starts, table[layers.owners + 1], b"" if deep else PALETTE)


def hidden_instances(regions: Sequence[Region], layers: Layers) -> tuple[Loss, ...]:
    """The pixels of every region that lie below later ones."""
    return losses("overlap", zip((r.label or "" for r in regions), layers.hidden.tolist(), strict=True))


def hidden_classes(regions: Sequence[Region], layers: Layers) -> tuple[Loss, ...]:
    """The pixels of every class that lie below other classes: regions of one class may hide each other unharmed."""
    labels = [region.label or "" for region in regions]
    lost = []
    for label in {label: None for label, hidden in zip(labels, layers.hidden, strict=True) if hidden}:
        own = np.array([name == label for name in labels])
        union = flatten([region.mask for region in regions if region.label == label], layers.size)
        lost.append((label, int(union.shown.sum() - layers.shown[own].sum())))
    return losses("overlap", lost)


def losses(reason: str, pixels: Iterable[tuple[str, int]]) -> tuple[Loss, ...]:
    """One row per region, or class, that lost anything."""
    return tuple(Loss(label, reason, count) for label, count in pixels if count)


def category_rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Id, name and colour of every class, for the files that explain a label map."""
    return [{"id": i, "name": name, "color": list(colour(i))} for name, i in dataset.categories.items()]


def xywh(box: tuple[float, float, float, float]) -> list[float]:
    """COCO's form of a box: left, top, width, height."""
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def shown_of(layers: Layers, members: NDArray[np.bool_]) -> Mask:
    """What shows of some masks together, given as (n,) bool."""
    return layers.where(np.append(members, False)[layers.owners])
