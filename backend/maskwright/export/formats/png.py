"""Plain PNG masks: a label map per image, a black and white picture per region, and an index that explains them.

``masks/<name>.png`` has a palette; its values are category ids, 0 where nothing is labelled (16-bit grey where a
category id is above 255). ``instances/<name>/0001.png`` and so on are 8-bit grey, 255 inside and 0 outside, numbered in
the order of drawing, each as it was drawn, whatever lies on top of it. Split datasets have ``masks/train/...`` and so
on. ``index.json`` names classes, ids and colours, and lists the files of every image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from maskwright.export.formats.json_stream import write_arrays
from maskwright.export.formats.label_map import (
    MOST_IN_BYTE,
    category_of,
    category_rows,
    drawn,
    encode_map,
    hidden_classes,
    xywh,
)
from maskwright.export.formats.names import stem
from maskwright.export.ids import annotation_id, image_id
from maskwright.export.records import Dataset, ImageRecord, Rendered, Rows
from maskwright.export.run_png import encode_mask


@dataclass(frozen=True)
class PngFormat:
    """Writes label maps and masks. What a class loses below other classes in the label map counts as ``overlap``."""

    name: str = "png"
    wants_image: bool = False

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size.
        """
        regions, layers = drawn(record)
        values = [category_of(region, dataset) for region in regions]
        deep = max(dataset.categories.values(), default=0) > MOST_IN_BYTE
        place = f"{record.split}/{stem(record)}" if record.split else stem(record)
        files = [(f"masks/{place}.png", encode_map(layers, values, deep=deep))]
        instances: list[dict[str, Any]] = []
        for position, region in enumerate(record.regions):
            if region.mask.is_empty:
                continue
            path = f"instances/{place}/{len(instances) + 1:04}.png"
            files.append((path, encode_mask(region.mask)))
            instances.append(
                {
                    "id": annotation_id(record, region, position),
                    "category_id": category_of(region, dataset),
                    "class": region.label,
                    "area": region.mask.area,
                    "bbox": [int(v) for v in xywh(region.mask.box)],
                    "iscrowd": int(region.is_crowd),
                    "file": path,
                }
            )
        row = {
            "id": image_id(record),
            "file_name": record.file_name,
            "height": record.size[0],
            "width": record.size[1],
            "split": record.split,
            "mask": files[0][0],
            "instances": instances,
        }
        return Rendered((("images", orjson.dumps(row)),), tuple(files), hidden_classes(regions, layers))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        head = {
            "description": dataset.description,
            "licence": dataset.licence,
            "background": {"id": 0, "color": [0, 0, 0]},
            "categories": category_rows(dataset),
        }
        write_arrays(folder / "index.json", head, {"images": rows("images")})
        return ("index.json",)
