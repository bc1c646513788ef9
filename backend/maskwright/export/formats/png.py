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

from maskwright.export.coco_document import dump, image_entry, write_sections
from maskwright.export.formats.image_files import beside
from maskwright.export.formats.label_map import (
    MOST_IN_BYTE,
    category_of,
    category_rows,
    drawn,
    encode_map,
    hidden_classes,
    xywh,
)
from maskwright.export.formats.names import as_folder, place
from maskwright.export.ids import annotation_id, image_id
from maskwright.export.records import Dataset, ImageRecord, Rendered, Rows
from maskwright.export.run_png import encode_mask

INDEX = "index.json"


@dataclass(frozen=True)
class PngFormat:
    """Writes label maps and masks. What a class loses below other classes in the label map counts as ``overlap``."""

    name: str = "png"
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
        deep = max(dataset.categories.values(), default=0) > MOST_IN_BYTE
        name = place(record)
        files = [(f"masks/{name}.png", encode_map(layers, values, deep=deep))]
        instances: list[dict[str, Any]] = []
        for position, region in enumerate(record.regions):
            if region.mask.is_empty:
                continue
            path = f"instances/{as_folder(name)}/{len(instances) + 1:04}.png"
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
        file_name, copied = beside(record, image)
        row = {
            **image_entry(image_id(record), file_name, record.size),
            "split": record.split,
            "mask": files[0][0],
            "instances": instances,
        }
        return Rendered((("images", dump(row)),), (*files, *copied), hidden_classes(regions, layers))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        head = {
            "description": dataset.description,
            "licence": dataset.licence,
            "background": {"id": 0, "color": [0, 0, 0]},
            "categories": category_rows(dataset),
        }
        sections = ((name, dump(value)) for name, value in head.items())
        write_sections(folder / INDEX, (*sections, ("images", rows("images"))))
        return (INDEX,)
