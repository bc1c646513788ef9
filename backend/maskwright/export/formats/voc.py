"""Pascal VOC segmentation (Everingham et al., VOC2012 development kit, sections 3 and 9), in the kit's folders.

``VOCdevkit/VOC2012`` holds ``SegmentationClass`` (category ids), ``SegmentationObject`` (regions numbered from 1 in the
order of drawing), both with VOC's palette, ``Annotations`` (XML with boxes), ``ImageSets/Segmentation`` (names per part
of the dataset, and ``trainval``), and ``JPEGImages`` where images are at hand; what is no upright JPEG is encoded as
one, because the kit's readers look for ``.jpg``. ``label_map.json`` names the values. A dataset that is not split is
``train``.

A palette has 256 values, of which 0 is the background and 255 is void. A dataset with a category id above 254 has
16-bit grey class maps, and an image with more than 254 regions a 16-bit grey object map; void is 65535 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import orjson

from maskwright.export.formats.image_files import as_jpeg
from maskwright.export.formats.label_map import (
    category_of,
    category_rows,
    drawn,
    encode_map,
    hidden_instances,
    losses,
)
from maskwright.export.formats.names import SPLITS, flat_stem
from maskwright.export.layers import flatten
from maskwright.export.records import Dataset, ImageRecord, Rendered, Rows, Split
from maskwright.regions import Region

ROOT = "VOCdevkit/VOC2012"
LISTS = f"{ROOT}/ImageSets/Segmentation"
LABEL_MAP = f"{ROOT}/label_map.json"
_MOST = 254
_VOID, _DEEP_VOID = 255, 65535


@dataclass(frozen=True)
class VocFormat:
    """Writes VOC datasets. Pixels below later regions are lost, and counted as ``overlap``.

    Attributes:
        border: Width in pixels of the void ring along the inside of every region's visible outline; 0 for none. What it
            takes from the regions is counted as ``border``.
    """

    border: int = 0
    name: str = "voc"
    wants_image: bool = True
    indexes: tuple[str, ...] = (LABEL_MAP, f"{LISTS}/train.txt")

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size, or the image cannot be read.
        """
        regions, layers = drawn(record)
        lost = hidden_instances(regions, layers)
        shown = [layers.visible[i] for i in np.flatnonzero(layers.shown)]
        kept = [regions[i] for i in np.flatnonzero(layers.shown)]
        rings = [mask.boundary(self.border) for mask in shown] if self.border else []
        if rings:
            layers = flatten([*shown, *rings], record.size)
            names = (region.label or "" for region in kept)
            lost += losses("border", zip(names, layers.hidden.tolist(), strict=False))
        else:
            layers = flatten(shown, record.size)
        numbers = list(range(1, len(kept) + 1))
        files = []
        for folder, values, largest in (
            ("SegmentationClass", [category_of(region, dataset) for region in kept], _largest(dataset)),
            ("SegmentationObject", numbers, len(kept)),
        ):
            deep = largest > _MOST
            void = [_DEEP_VOID if deep else _VOID] * len(rings)
            files.append((f"{ROOT}/{folder}/{flat_stem(record)}.png", encode_map(layers, [*values, *void], deep=deep)))
        boxes = [mask.box for mask in shown]
        files.append((f"{ROOT}/Annotations/{flat_stem(record)}.xml", _annotation(record, kept, boxes)))
        if image is not None:
            files.append((f"{ROOT}/JPEGImages/{flat_stem(record)}.jpg", as_jpeg(record, image)))
        return Rendered(((record.split or "train", flat_stem(record).encode()),), tuple(files), lost)

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        sets = folder / LISTS
        sets.mkdir(parents=True, exist_ok=True)
        (folder / LABEL_MAP).write_bytes(orjson.dumps(category_rows(dataset), option=orjson.OPT_INDENT_2))
        parts: dict[str, tuple[Split, ...]] = {split: (split,) for split in SPLITS}
        parts["trainval"] = ("train", "val")
        written = [LABEL_MAP]
        for name in ("test", "val", "trainval", "train"):
            content = False
            with (sets / f"{name}.txt").open("wb") as sink:
                for split in parts[name]:
                    for row in rows(split):
                        sink.write(row + b"\n")
                        content = True
            if content or name == "train":
                written.append(f"{LISTS}/{name}.txt")
            else:
                (sets / f"{name}.txt").unlink()
        return tuple(written)


def _largest(dataset: Dataset) -> int:
    return max(dataset.categories.values(), default=0)


def _annotation(record: ImageRecord, regions: list[Region], boxes: list[tuple[float, float, float, float]]) -> bytes:
    """The XML of one image; pixels are counted from 1 and both ends of a box are inside, as in VOC."""
    height, width = record.size
    lines = [
        "<annotation>",
        "\t<folder>VOC2012</folder>",
        f"\t<filename>{_text(flat_stem(record))}.jpg</filename>",
        f"\t<source><image>{_text(record.file_name)}</image></source>",
        f"\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
        "\t<segmented>1</segmented>",
    ]
    for region, (left, top, right, bottom) in zip(regions, boxes, strict=True):
        x1, y1, x2, y2 = int(left) + 1, int(top) + 1, int(right), int(bottom)
        lines += [
            "\t<object>",
            f"\t\t<name>{_text(region.label or '')}</name>",
            "\t\t<pose>Unspecified</pose>",
            "\t\t<truncated>0</truncated>",
            f"\t\t<difficult>{int(region.is_crowd)}</difficult>",
            f"\t\t<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>",
            "\t</object>",
        ]
    return "\n".join([*lines, "</annotation>", ""]).encode()


def _text(value: str) -> str:
    """Text that XML 1.0 can hold: control characters have no form there at all."""
    return escape("".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in value))
