"""Parquet files that Hugging Face ``datasets`` opens with images decoded, classes named and splits told apart.

``data/train-00000-of-00002.parquet`` and so on, as ``datasets`` names its shards (``validation`` for our ``val``; a
dataset that is not split is ``train``), so that ``load_dataset(folder)`` and ``load_dataset("parquet",
data_files=...)`` both work. The features stand in the schema's metadata under ``huggingface``, spelled so that old and
new releases of ``datasets`` understand them. ``objects`` is a struct of lists, as in the object detection datasets of
the hub:

- ``id`` int64; ``category`` ClassLabel, counted from 0 in the order of the categories; ``category_id`` int64;
- ``bbox`` left, top, width, height in pixels; ``area`` int64 pixels; ``iscrowd`` bool;
- ``segmentation`` COCO run lengths: ``size`` (height, width) and compressed ``counts``. They hold every mask exactly.

An image that is not at hand is null; ``file_name`` says which one it was. (A path in its place would make ``datasets``
try to open it.) Memory stays bounded: a row group holds at most 64 images or 16 MB, whichever comes first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from maskwright.errors import InvalidInput
from maskwright.export.formats.image_files import upright
from maskwright.export.formats.label_map import (
    MOST_IN_BYTE,
    category_of,
    drawn,
    encode_map,
    hidden_classes,
    xywh,
)
from maskwright.export.formats.names import SPLITS
from maskwright.export.ids import annotation_id, image_id
from maskwright.export.records import Dataset, ImageRecord, Loss, Rendered, Rows

_GROUP_IMAGES = 64
_GROUP_BYTES = 16 << 20
_FILE_BYTES = 500 << 20
_LENGTHS = struct.Struct("<II")
_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class ParquetFormat:
    """Writes Parquet files for Hugging Face ``datasets``.

    Attributes:
        semantic: Whether to add the column ``semantic``: a PNG of category ids per image, in which later-drawn classes
            lie on top. What it cannot hold is counted as ``overlap``; the objects hold everything.
    """

    semantic: bool = False
    name: str = "parquet"
    wants_image: bool = True

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size, or the image cannot be read.
        """
        positions = {name: number for number, name in enumerate(dataset.categories)}
        objects: dict[str, list[Any]] = {name: [] for name in _OBJECT}
        for position, region in enumerate(record.regions):
            mask = region.mask
            if mask.size != record.size:
                raise InvalidInput(f"a mask of {mask.size} (height, width) in an image of {record.size}")
            if mask.is_empty:
                continue
            objects["id"].append(annotation_id(record, region, position))
            objects["category"].append(positions[region.label or ""])
            objects["category_id"].append(category_of(region, dataset))
            objects["bbox"].append(xywh(mask.box))
            objects["area"].append(mask.area)
            objects["iscrowd"].append(region.is_crowd)
            objects["segmentation"].append(mask.to_coco())
        row = {
            "image_id": image_id(record),
            "file_name": record.file_name,
            "height": record.size[0],
            "width": record.size[1],
            "objects": objects,
        }
        semantic, lost = self._semantic(record, dataset)
        picture = upright(record, image)[0] if image is not None else b""
        packed = _LENGTHS.pack(len(picture), len(semantic)) + picture + semantic + orjson.dumps(row)
        return Rendered(((record.split or "train", packed),), (), lost)

    def _semantic(self, record: ImageRecord, dataset: Dataset) -> tuple[bytes, tuple[Loss, ...]]:
        if not self.semantic:
            return b"", ()
        regions, layers = drawn(record)
        deep = max(dataset.categories.values(), default=0) > MOST_IN_BYTE
        values = [category_of(region, dataset) for region in regions]
        return encode_map(layers, values, deep=deep), hidden_classes(regions, layers)

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        schema = self._schema(dataset)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        written: list[str] = []
        for split in reversed(SPLITS):
            parts = _write_parts(folder / "data", _SPLIT_NAMES[split], rows(split), schema)
            if not parts and split == "train" and not written:
                parts = [_empty_part(folder / "data", schema)]
            for number, part in enumerate(parts):
                name = f"data/{_SPLIT_NAMES[split]}-{number:05}-of-{len(parts):05}.parquet"
                part.rename(folder / name)
                written.append(name)
        return tuple(written)

    def _schema(self, dataset: Dataset) -> pa.Schema:
        names = list(dataset.categories)
        picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        features: dict[str, Any] = {"image": {"_type": "Image"}}
        types: dict[str, pa.DataType] = {"image": picture}
        if self.semantic:
            features["semantic"], types["semantic"] = {"_type": "Image"}, picture
        for name, kind in _PLAIN.items():
            features[name], types[name] = _value(kind), kind
        features["objects"] = {name: _sequence(_value(kind)) for name, kind in _OBJECT.items()}
        features["objects"]["category"] = _sequence({"names": names, "_type": "ClassLabel"})
        features["objects"]["bbox"] = _sequence({**_sequence(_value(pa.float32())), "length": 4})
        features["objects"]["segmentation"] = [
            {"size": {**_sequence(_value(pa.int32())), "length": 2}, "counts": _value(pa.string())}
        ]
        types["objects"] = pa.struct({name: pa.list_(kind) for name, kind in _OBJECT.items()})
        return pa.schema(types, metadata={"huggingface": orjson.dumps({"info": {"features": features}})})


_PLAIN: dict[str, pa.DataType] = {
    "image_id": pa.int64(),
    "file_name": pa.string(),
    "height": pa.int32(),
    "width": pa.int32(),
}
_OBJECT: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "category": pa.int64(),
    "category_id": pa.int64(),
    "bbox": pa.list_(pa.float32(), 4),
    "area": pa.int64(),
    "iscrowd": pa.bool_(),
    "segmentation": pa.struct({"size": pa.list_(pa.int32(), 2), "counts": pa.string()}),
}


def _value(kind: pa.DataType) -> dict[str, Any]:
    return {"dtype": str(kind), "_type": "Value"}


def _sequence(feature: dict[str, Any]) -> dict[str, Any]:
    return {"feature": feature, "_type": "Sequence"}


def _write_parts(folder: Path, split: str, rows: Iterator[bytes], schema: pa.Schema) -> list[Path]:
    """Write the rows of one split, a new file after every 500 MB; their final names need to know how many there are."""
    parts: list[Path] = []
    writer: pq.ParquetWriter | None = None
    room = 0
    try:
        for group in _groups(rows):
            if writer is None or room <= 0:
                if writer is not None:
                    writer.close()
                parts.append(folder / f".{split}-{len(parts)}.parquet")
                writer, room = _open(parts[-1], schema), _FILE_BYTES
            writer.write_table(pa.Table.from_pylist([_unpacked(row, schema) for row in group], schema=schema))
            room -= sum(map(len, group))
    finally:
        if writer is not None:
            writer.close()
    return parts


def _empty_part(folder: Path, schema: pa.Schema) -> Path:
    path = folder / ".train-0.parquet"
    with _open(path, schema) as writer:
        writer.write_table(schema.empty_table())
    return path


def _open(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # No two images or masks are alike, so dictionaries of values would only cost memory.
    return pq.ParquetWriter(path, schema, use_dictionary=False, compression="snappy", write_page_index=True)


def _groups(rows: Iterator[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for row in rows:
        if group and (len(group) == _GROUP_IMAGES or size + len(row) > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(row)
        size += len(row)
    if group:
        yield group


def _unpacked(packed: bytes, schema: pa.Schema) -> dict[str, Any]:
    of_image, of_semantic = _LENGTHS.unpack_from(packed)
    start, middle = _LENGTHS.size, _LENGTHS.size + of_image
    end = middle + of_semantic
    row: dict[str, Any] = orjson.loads(memoryview(packed)[end:])
    row["image"] = {"bytes": packed[start:middle], "path": row["file_name"]} if of_image else None
    if "semantic" in schema.names:
        row["semantic"] = {"bytes": packed[middle:end], "path": None}
    return row
