"""COCO panoptic segmentation (Kirillov et al., CVPR 2019; COCO's data format, section "Panoptic Segmentation").

The official tools look for PNG files in the folder that is called like the JSON file. So ``panoptic.json`` lies beside
the folder ``panoptic``; where the dataset is split, ``panoptic/train.json`` lies beside ``panoptic/train`` and so on,
and ``panoptic.json`` still holds everything. A pixel is R + 256 G + 65536 B = id of its segment, 0 where there is none.
Segments are numbered from 1 in each image, in the order of drawing; the official checks ask for ids that are unique
within an image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.export.formats.coco_parts import annotation_row, image_row, write_parts
from maskwright.export.formats.image_files import beside
from maskwright.export.formats.label_map import (
    category_of,
    category_rows,
    drawn,
    hidden_classes,
    hidden_instances,
    shown_of,
    xywh,
)
from maskwright.export.formats.names import place
from maskwright.export.ids import image_id
from maskwright.export.layers import Layers
from maskwright.export.records import Dataset, ImageRecord, Loss, Rendered, Rows, Split
from maskwright.export.run_png import encode_runs
from maskwright.regions import Region

FOLDER = "panoptic"
INDEX = f"{FOLDER}.json"


@dataclass(frozen=True)
class PanopticFormat:
    """Writes COCO panoptic datasets. Pixels below later regions are lost, and counted as ``overlap``.

    Attributes:
        stuff: Classes without countable objects (``isthing`` 0): their regions become one segment per image.
    """

    stuff: frozenset[str] = field(default=frozenset())
    name: str = "panoptic"
    wants_image: bool = True
    copies_images: bool = False
    indexes: tuple[str, ...] = (INDEX,)

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size, or the image cannot be read.
        """
        regions, layers = drawn(record)
        owners = self._first_of_segment(regions)
        ids = np.zeros(len(regions) + 1, dtype=np.uint32)  # the last is that of no region
        segments: list[dict[str, Any]] = []
        for first in np.unique(owners).tolist():
            members = owners == first
            mask = layers.visible[first] if members.sum() == 1 else shown_of(layers, members)
            if mask.is_empty:
                continue
            region = regions[first]
            segment = {
                "id": len(segments) + 1,
                "category_id": category_of(region, dataset),
                "area": mask.area,
                "bbox": [int(v) for v in xywh(mask.box)],
                "iscrowd": int(region.is_crowd and region.label not in self.stuff),
            }
            segments.append(segment)
            ids[:-1][members] = len(segments)
        name = f"{place(record)}.png"
        colours = ids[layers.owners, None] >> np.array([0, 8, 16], dtype=np.uint32) & 255
        picture = encode_runs(record.size, layers.starts, colours.astype(np.uint8))
        file_name, copied = beside(record, image)
        row = {"image_id": image_id(record), "file_name": name, "segments_info": segments}
        rows = (image_row(record, dataset, file_name), annotation_row(record, row))
        files = ((f"{FOLDER}/{name}", picture), *copied)
        return Rendered(rows, files, self._lost(regions, layers))

    def _first_of_segment(self, regions: list[Region]) -> NDArray[np.int64]:
        """(n,) int64: for each region the first region of its segment."""
        firsts: dict[str | None, int] = {}
        return np.array(
            [firsts.setdefault(r.label, i) if r.label in self.stuff else i for i, r in enumerate(regions)],
            dtype=np.int64,
        )

    def _lost(self, regions: list[Region], layers: Layers) -> tuple[Loss, ...]:
        if not layers.hidden.any():
            return ()
        things = hidden_instances(regions, layers)
        stuff = hidden_classes(regions, layers) if self.stuff else ()
        return (
            *(loss for loss in things if loss.label not in self.stuff),
            *(loss for loss in stuff if loss.label in self.stuff),
        )

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        categories = [
            {**row, "supercategory": "object", "isthing": int(row["name"] not in self.stuff)}
            for row in category_rows(dataset)
        ]
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        return write_parts(folder, _index, rows, dataset, categories, _within_part)


def _index(split: Split | None) -> str:
    return f"{FOLDER}/{split}.json" if split else INDEX


def _within_part(row: bytes, split: Split) -> bytes:
    """The file name of an annotation as seen from the folder of its part."""
    return row.replace(b'"file_name":"%s/' % split.encode(), b'"file_name":"', 1)
