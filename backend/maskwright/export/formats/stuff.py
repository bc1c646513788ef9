"""COCO stuff (Caesar et al., CVPR 2018; COCO's data format, section "Stuff Segmentation").

``stuff.json`` holds one annotation per image and class, with the union of the class's regions as compressed run lengths
and ``iscrowd`` 0. ``stuff_pixelmaps`` holds a PNG per image with a palette, whose values are category ids and 0 where
nothing is labelled. Split datasets have ``stuff_train.json`` and ``stuff_pixelmaps/train`` and so on besides. The
official tools refuse a pixel with two classes, so the later-drawn class has it in the run lengths too; what it hides is
counted.

Category ids above 255 do not fit a palette: such a dataset has 16-bit grey PNG files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.export.formats.coco_parts import annotation_row, image_row, write_parts
from maskwright.export.formats.image_files import beside
from maskwright.export.formats.label_map import (
    MOST_IN_BYTE,
    category_of,
    category_rows,
    drawn,
    encode_map,
    hidden_classes,
    shown_of,
    xywh,
)
from maskwright.export.formats.names import place
from maskwright.export.ids import image_id, stable_id
from maskwright.export.records import Dataset, ImageRecord, Rendered, Rows, Split

FOLDER = "stuff_pixelmaps"
INDEX = "stuff.json"


@dataclass(frozen=True)
class StuffFormat:
    """Writes COCO stuff datasets. Pixels of a class below another class are lost, and counted as ``overlap``."""

    name: str = "stuff"
    wants_image: bool = True
    copies_images: bool = False
    indexes: tuple[str, ...] = (INDEX,)

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size, or the image cannot be read.
        """
        regions, layers = drawn(record)
        values = [category_of(region, dataset) for region in regions]
        file_name, copied = beside(record, image)
        rows = [image_row(record, dataset, file_name)]
        for value in sorted(set(values)):
            mask = shown_of(layers, np.array(values) == value)
            if not mask.is_empty:
                annotation = {
                    "id": stable_id("stuff", record.key, str(value)),
                    "image_id": image_id(record),
                    "category_id": value,
                    "segmentation": mask.to_coco(),
                    "area": mask.area,
                    "bbox": [int(v) for v in xywh(mask.box)],
                    "iscrowd": 0,
                }
                rows.append(annotation_row(record, annotation))
        deep = max(dataset.categories.values(), default=0) > MOST_IN_BYTE
        path = f"{FOLDER}/{place(record)}.png"
        files = ((path, encode_map(layers, values, deep=deep)), *copied)
        return Rendered(tuple(rows), files, hidden_classes(regions, layers))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        categories = [{**row, "supercategory": "stuff"} for row in category_rows(dataset)]
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        return write_parts(folder, _index, rows, dataset, categories)


def _index(split: Split | None) -> str:
    return f"stuff_{split}.json" if split else INDEX
