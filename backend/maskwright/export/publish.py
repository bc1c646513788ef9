"""Moving a finished dataset to where the user sees it: file by file, the index last, without touching what is foreign.

``dataset.json`` in the dataset's folder lists what an export of ours wrote, with checksums. A file that is not listed
there, or that somebody changed since, is not ours. What is about to be moved is written down first, so that a move
that was interrupted is completed by the next export.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from maskwright.errors import InvalidInput
from maskwright.export.dataset_record import RECORD, WRITTEN_BY, read_listing, read_record
from maskwright.export.journal import Workplace
from maskwright.export.work import WrittenFile

_PLAN = "publishing.json"
_BLOCK = 1 << 20
_SHOWN = 5


def check_free(out: Path, paths: Iterable[str], *, overwrite: bool) -> None:
    """See that no file of somebody else stands where the dataset will.

    Raises:
        InvalidInput: If there is one; the message names it.
    """
    record = read_record(out)
    ours = {row["path"]: row for row in record.get("files", [])}
    foreign = []
    for path in paths:
        place = out / path
        is_ours = bool(record) if path == RECORD else _is_as_written(place, ours.get(path))
        if place.is_file() and not overwrite and not is_ours:
            foreign.append(path)
        elif place.is_dir():
            raise InvalidInput(f"{place} is a folder, where the export writes a file of that name")
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise InvalidInput(
            f"in {out} there is already {', '.join(sorted(foreign)[:_SHOWN])}{more}, not written by an export or "
            "changed since; choose another folder, or give --overwrite"
        )


def publish(place: Workplace, files: Iterable[WrittenFile], index: str, record: Mapping[str, Any]) -> None:
    """Move everything to where the user sees it.

    Args:
        place: Where the files lie.
        files: All files.
        index: The file that a loader opens, moved last.
        record: What ``dataset.json`` says besides the list of files.

    Raises:
        OSError: If the disk refuses; running the export again goes on.
    """
    rows = [file._asdict() for file in sorted(files, key=lambda file: (file.path == index, file.path))]
    for row in rows:
        _sync(place.dataset / row["path"])
    plan = {"written_by": WRITTEN_BY, **record, "index": index, "files": rows}
    temporary = place.folder / f"{_PLAN}.new"
    temporary.write_bytes(orjson.dumps(plan, option=orjson.OPT_INDENT_2) + b"\n")
    _sync(temporary)
    temporary.replace(place.folder / _PLAN)
    complete(place)


def complete(place: Workplace) -> None:
    """Complete a move that was written down, if there is one. One that would lead out of the folder is dropped."""
    plan_file = place.folder / _PLAN
    plan = read_listing(plan_file, place.out)
    if not plan:
        plan_file.unlink(missing_ok=True)
        return
    old = {row["path"]: row for row in read_record(place.out).get("files", [])}
    folders = {place.out}
    for row in plan["files"]:
        old.pop(row["path"], None)
        source, target = place.dataset / row["path"], place.out / row["path"]
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
            source.replace(target)
    for path, row in old.items():
        # What the export before had, and this one has not, would pass for a part of it.
        if path != RECORD and _is_as_written(place.out / path, row):
            (place.out / path).unlink(missing_ok=True)
            _remove_empty(place.out, path)
    for folder in folders:
        _sync(folder)
    plan_file.replace(place.out / RECORD)
    _sync(place.out)


def checksum(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _is_as_written(path: Path, row: Mapping[str, Any] | None) -> bool:
    if row is None or not path.is_file() or path.stat().st_size != row["size"]:
        return False
    return checksum(path)[1] == str(row["sha256"])


def _remove_empty(out: Path, path: str) -> None:
    """Remove the folders that are empty now that a file is gone."""
    with contextlib.suppress(OSError):
        for folder in PurePosixPath(path).parents[:-1]:
            (out / folder).rmdir()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
