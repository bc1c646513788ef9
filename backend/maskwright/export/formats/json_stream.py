"""JSON files with long arrays, written as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from maskwright.export.records import Dataset


def write_arrays(path: Path, head: Mapping[str, Any], arrays: Mapping[str, Iterable[bytes]]) -> None:
    """Write an object: some small values, then arrays whose elements are JSON already, one to a line.

    Args:
        path: The file to be; its folder is made.
        head: What stands before the arrays.
        arrays: Elements by name; read one at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        between = b"{"
        for name, value in head.items():
            sink.write(between + orjson.dumps(name) + b":" + orjson.dumps(value))
            between = b",\n"
        for name, elements in arrays.items():
            sink.write(between + orjson.dumps(name) + b":[")
            comma = b"\n"
            for element in elements:
                sink.write(comma + element)
                comma = b",\n"
            sink.write(b"\n]")
            between = b",\n"
        sink.write(b"}\n")


def coco_head(dataset: Dataset) -> dict[str, Any]:
    """``info`` and ``licenses`` of COCO's files. No time stands in it: the same input gives the same bytes."""
    licences = [{"id": 1, "name": dataset.licence, "url": ""}] if dataset.licence else []
    return {"info": {"description": dataset.description} if dataset.description else {}, "licenses": licences}
