"""COCO instances: ``annotations.json`` with run lengths or polygons (https://cocodataset.org/#format-data).

Run lengths hold every mask as it is. Polygons cannot hold holes, so a part with holes is cut into several polygons of
one annotation. What a person drew as a polygon is written as drawn; pycocotools fills polygons by another rule than
ours (a pixel's centre decides), and the pixels in which its answer differs are counted as loss ``outline``.
Crowds are run lengths always, as ``iscrowd`` demands; uncompressed ones where the others are polygons, as in COCO.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskwright.errors import InvalidInput
from maskwright.export.coco_document import annotation_entry, category_entries, uncompressed
from maskwright.export.formats.coco_parts import annotation_row, image_row, write_parts
from maskwright.export.formats.image_files import beside
from maskwright.export.ids import annotation_id, image_id, stable_id
from maskwright.export.records import Dataset, ImageRecord, Loss, Rendered, Rows, Split
from maskwright.export.simple_polygons import check_tolerance, drawn_rings, simple_rings
from maskwright.masks import Mask
from maskwright.regions import Region

INDEX = "annotations.json"
_HEAD = len(b'{"id":')


@dataclass(frozen=True)
class CocoFormat:
    """See the module. With a split there is a file per part besides, ``annotations_train.json`` ..."""

    name: str = "coco"
    wants_image: bool = True
    indexes: tuple[str, ...] = (INDEX,)
    copies_images: bool = False

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`."""
        number = image_id(record)
        file_name, files = beside(record, image)
        rows = [image_row(record, dataset, file_name)]
        lost: list[Loss] = []
        seen: set[int] = set()
        for position, region in enumerate(record.regions):
            label = str(region.label)
            segmentation, wrong = segmentation_of(region, dataset)
            lost += [Loss(label, reason, pixels) for reason, pixels in wrong.items()]
            own = _unseen(annotation_id(record, region, position), seen)
            entry = annotation_entry(
                own, number, dataset.categories[label], region, segmentation, is_crowd=region.is_crowd
            )
            rows.append(annotation_row(record, entry))
        return Rendered(tuple(rows), files, tuple(lost))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If two tasks have the same number.
        """
        _check_ids(rows("images"), "tasks")
        _check_ids(rows("annotations"), "regions")
        return write_parts(folder, _index, rows, dataset, category_entries(dataset.categories))


def segmentation_of(region: Region, dataset: Dataset) -> tuple[Any, dict[str, int]]:
    """``segmentation`` of an annotation, and by reason the pixels that it holds wrongly."""
    mask = region.mask
    if dataset.segmentation == "rle-uncompressed" or (region.is_crowd and dataset.segmentation == "polygon"):
        return uncompressed(mask), {}
    if dataset.segmentation == "rle" or region.is_crowd:
        return mask.to_coco(), {}
    check_tolerance(dataset.tolerance)
    rings, reason = (drawn_rings(region) if dataset.tolerance <= 0 else None), "outline"
    if rings is None:
        rings = simple_rings(mask, dataset.tolerance)
        reason = "simplified" if dataset.tolerance > 0 else "outline"
    flat = [[_short(value) for value in ring.reshape(-1).tolist()] for ring in rings]
    wrong = _wrong_pixels(flat, mask)
    return flat, {reason: wrong} if wrong else {}


def _wrong_pixels(polygons: list[list[float]], mask: Mask) -> int:
    """Pixels in which pycocotools' filling of the polygons differs from the mask."""
    filled = coco_mask.merge(coco_mask.frPyObjects(polygons, mask.height, mask.width))
    if filled["counts"] == mask.counts:
        return 0
    both = coco_mask.merge([filled, {"size": list(mask.size), "counts": mask.counts}], intersect=True)
    return int(mask.area + coco_mask.area(filled) - 2 * coco_mask.area(both))


def _short(value: float) -> float | int:
    """Whole numbers without a decimal point: outlines along the edges of pixels hold nothing else."""
    return int(value) if value.is_integer() else value


def _unseen(number: int, seen: set[int]) -> int:
    """The id, or another one if the platform gave two regions of an image the same name, as copies have."""
    copies = 0
    unique = number
    while unique in seen:
        copies += 1
        unique = stable_id("copy", str(number), str(copies))
    seen.add(unique)
    return unique


def _index(split: Split | None) -> str:
    return f"annotations_{split}.json" if split else INDEX


def _check_ids(rows: Iterator[bytes], things: str) -> None:
    numbers = array("q", (int(row[row.index(b"{") + _HEAD : row.index(b",")]) for row in rows))
    found, counts = np.unique(np.frombuffer(numbers, dtype=np.int64), return_counts=True)
    if (counts > 1).any():
        twice = int(found[counts > 1][0])
        raise InvalidInput(
            f"two {things} have the id {twice}; does the input hold a task twice, or tasks of several servers? "
            "Export them one by one"
        )
