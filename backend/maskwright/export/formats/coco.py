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
from maskwright.export.coco_document import (
    Section,
    annotation_entry,
    category_entries,
    dump,
    image_entry,
    licence_entries,
    uncompressed,
    write_sections,
)
from maskwright.export.ids import annotation_id, image_id, stable_id
from maskwright.export.records import Dataset, ImageRecord, Loss, Rendered, Rows
from maskwright.export.simple_polygons import drawn_rings, simple_rings
from maskwright.masks import Mask
from maskwright.regions import Region

INDEX = "annotations.json"
IMAGES_FOLDER = "images"
_SPLITS = ("train", "val", "test")
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
        part = (record.split or "-")[:2].encode()
        licence = 1 if dataset.licence else None
        rows = [("images", part + b" " + dump(image_entry(number, record.file_name, record.size, licence)))]
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
            rows.append(("annotations", part + b" " + dump(entry)))
        files = ((f"{IMAGES_FOLDER}/{record.file_name}", image),) if image is not None and dataset.image_files else ()
        return Rendered(tuple(rows), files, tuple(lost))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        for section, thing in (("images", "tasks"), ("annotations", "regions")):
            _check_ids(rows(section), thing)
        splits = [split for split in _SPLITS if any(True for _ in _of_split(rows("images"), split))]
        written = [f"annotations_{split}.json" for split in splits]
        for name, split in zip(written, splits, strict=True):
            write_sections(folder / name, _sections(rows, dataset, split))
        write_sections(folder / INDEX, _sections(rows, dataset, None))
        return (*written, INDEX)


def segmentation_of(region: Region, dataset: Dataset) -> tuple[Any, dict[str, int]]:
    """``segmentation`` of an annotation, and by reason the pixels that it holds wrongly."""
    mask = region.mask
    if dataset.segmentation == "rle-uncompressed" or (region.is_crowd and dataset.segmentation == "polygon"):
        return uncompressed(mask), {}
    if dataset.segmentation == "rle" or region.is_crowd:
        return mask.to_coco(), {}
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
    other = Mask.from_coco(filled)
    return mask.area + other.area - 2 * mask.intersection_area(other)


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


def _sections(rows: Rows, dataset: Dataset, split: str | None) -> Iterator[Section]:
    info = {"description": dataset.description} if dataset.description else {}
    yield "info", dump(info)
    yield "licenses", dump(licence_entries(dataset.licence))
    yield "images", _of_split(rows("images"), split)
    yield "annotations", _of_split(rows("annotations"), split)
    yield "categories", dump(category_entries(dataset.categories))


def _of_split(rows: Iterator[bytes], split: str | None) -> Iterator[bytes]:
    """Entries of one part, or of all, without the mark of the part in front."""
    mark = None if split is None else split[:2].encode()
    for row in rows:
        head, _, entry = row.partition(b" ")
        if mark is None or head == mark:
            yield entry


def _check_ids(rows: Iterator[bytes], things: str) -> None:
    numbers = array("q", (int(row[row.index(b"{") + _HEAD : row.index(b",")]) for row in rows))
    found, counts = np.unique(np.frombuffer(numbers, dtype=np.int64), return_counts=True)
    if (counts > 1).any():
        twice = int(found[counts > 1][0])
        raise InvalidInput(
            f"two {things} have the id {twice}; does the input hold a task twice, or tasks of several servers? "
            "Export them one by one"
        )
