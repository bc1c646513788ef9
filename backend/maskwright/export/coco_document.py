"""The text of COCO files (https://cocodataset.org/#format-data): its entries, and a writer that streams them.

Every image and annotation is on a line of its own, so that files can be compared line by line and read without parsing
them whole. A file written here, loaded into Python and written again by :func:`write_sections` has the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import orjson

from maskwright.errors import InvalidInput
from maskwright.masks import Mask, Size
from maskwright.regions import Region

SCORE_DIGITS = 6
_BUFFER = 1 << 20

Section = tuple[str, bytes | Iterable[bytes]]
"""A key of the file and its JSON text, or the JSON texts of the entries of its list."""


def image_entry(number: int, file_name: str, size: Size, licence: int | None = None) -> dict[str, Any]:
    """An element of ``images``; ``size`` is (H, W) in pixels."""
    entry: dict[str, Any] = {"id": number, "file_name": file_name, "height": size[0], "width": size[1]}
    return entry if licence is None else {**entry, "license": licence}


def annotation_entry(
    number: int, image: int, category: int, region: Region, segmentation: object, *, is_crowd: bool = False
) -> dict[str, Any]:
    """An element of ``annotations``. Area and box (xywh) are those of the mask, whatever the segmentation holds.

    ``score`` is given for what a model proposed and nobody has looked at.
    """
    x0, y0, x1, y1 = (int(value) for value in region.mask.box)
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "area": region.mask.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": int(is_crowd),
    }
    if region.provenance.source == "preannotation":
        entry["score"] = round(float(region.score), SCORE_DIGITS)
    return entry


def uncompressed(mask: Mask) -> dict[str, Any]:
    """``{"size": [height, width], "counts": [...]}``: run lengths down the columns, outside first."""
    edges = mask.edges.tolist()
    stops = [0, *edges, mask.height * mask.width]
    counts = [after - before for before, after in pairwise(stops)]
    if counts[-1] == 0 and len(counts) > 1:
        counts.pop()
    return {"size": list(mask.size), "counts": counts}


def category_entries(categories: Mapping[str, int]) -> list[dict[str, Any]]:
    """``categories`` from the ids by class name."""
    return [{"id": number, "name": name, "supercategory": "object"} for name, number in categories.items()]


def licence_entries(licence: str) -> list[dict[str, Any]]:
    """``licenses``: one, with the id 1, or none."""
    return [{"id": 1, "name": licence, "url": licence if "://" in licence else ""}] if licence else []


def dump(value: object) -> bytes:
    """The JSON text of an entry."""
    return orjson.dumps(value)


def write_sections(path: Path, sections: Iterable[Section]) -> None:
    """Write a file, streaming. It appears under its name only when it is whole; a failure leaves nothing behind.

    Args:
        path: The file to be; its folder must exist. An old file of that name is replaced at the end.
        sections: Its keys in order.

    Raises:
        InvalidInput: If the folder cannot be written to.
        OSError: If the disk refuses later on.
    """
    with whole_file(path) as sink:
        stream_sections(sink, sections)


def stream_sections(sink: IO[bytes], sections: Iterable[Section]) -> None:
    """As :func:`write_sections`, into an open file."""
    between = b"{"
    for name, content in sections:
        sink.write(between + dump(name) + b":")
        if isinstance(content, bytes):
            sink.write(content)
        else:
            _write_list(sink, content)
        between = b",\n"
    sink.write(b"}\n" if between != b"{" else b"{}\n")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content appears under ``path`` at the end of the block, synced, if no exception ends it.

    Raises:
        InvalidInput: If the folder cannot be written to, or the path is that of a folder.
        OSError: If the disk refuses later on.
    """
    if path.is_dir():
        raise InvalidInput(f"cannot write {path}: it is a folder")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from None
    temporary = Path(name)
    sink = os.fdopen(handle, "wb", buffering=_BUFFER)
    try:
        yield sink
        sink.flush()
        os.fchmod(sink.fileno(), 0o644)
        os.fsync(sink.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            # The new name must outlive a power cut as well as the content.
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
        # What is still in its buffer fits no full disk, and is not wanted any more.
        with contextlib.suppress(OSError):
            sink.close()


def _write_list(sink: IO[bytes], entries: Iterable[bytes]) -> None:
    between = b"[\n"
    for entry in entries:
        sink.write(between)
        sink.write(entry)
        between = b",\n"
    sink.write(b"[]" if between == b"[\n" else b"\n]")
