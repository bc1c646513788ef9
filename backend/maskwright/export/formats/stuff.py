"""COCO stuff (Caesar et al., CVPR 2018; COCO's data format, section "Stuff Segmentation").

``stuff.json`` holds one annotation per image and class, with the union of the class's regions as compressed run
lengths and ``iscrowd`` 0. ``stuff_pixelmaps`` holds a PNG per image with a palette, whose values are category ids and
0 where nothing is labelled. Split datasets have ``stuff_train.json``, ``stuff_train_pixelmaps`` and so on. The official
tools refuse a pixel with two classes, so the later-drawn class has it in the run lengths too; what it hides is counted.

Category ids above 255 do not fit a palette: such a dataset has 16-bit grey PNG files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from maskwright.export.formats.json_stream import coco_head, write_arrays
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
from maskwright.export.formats.names import present, section, stem
from maskwright.export.ids import image_id, stable_id
from maskwright.export.records import Dataset, ImageRecord, Rendered, Rows


@dataclass(frozen=True)
class StuffFormat:
    """Writes COCO stuff datasets. Pixels of a class below another class are lost, and counted as ``overlap``."""

    name: str = "stuff"
    wants_image: bool = False

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size.
        """
        regions, layers = drawn(record)
        values = [category_of(region, dataset) for region in regions]
        number, (height, width) = image_id(record), record.size
        head = {"id": number, "file_name": record.file_name, "height": height, "width": width}
        rows = [(section("images", record), orjson.dumps(head))]
        for value in sorted(set(values)):
            mask = shown_of(layers, np.array(values) == value)
            if not mask.is_empty:
                annotation = {
                    "id": stable_id("stuff", record.key, str(value)),
                    "image_id": number,
                    "category_id": value,
                    "segmentation": mask.to_coco(),
                    "area": mask.area,
                    "bbox": [int(v) for v in xywh(mask.box)],
                    "iscrowd": 0,
                }
                rows.append((section("annotations", record), orjson.dumps(annotation)))
        deep = max(dataset.categories.values(), default=0) > MOST_IN_BYTE
        path = f"{_base(record.split)}_pixelmaps/{stem(record)}.png"
        files = ((path, encode_map(layers, values, deep=deep)),)
        return Rendered(tuple(rows), files, hidden_classes(regions, layers))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        categories = [{**row, "supercategory": "stuff"} for row in category_rows(dataset)]
        written = []
        for split in present("images", rows) or [None]:
            (folder / f"{_base(split)}_pixelmaps").mkdir(parents=True, exist_ok=True)
            write_arrays(
                folder / f"{_base(split)}.json",
                {**coco_head(dataset), "categories": categories},
                {kind: rows(f"{kind}/{split or ''}") for kind in ("images", "annotations")},
            )
            written.append(f"{_base(split)}.json")
        return tuple(written)


def _base(split: str | None) -> str:
    return f"stuff_{split}" if split else "stuff"
