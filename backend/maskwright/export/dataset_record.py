"""``dataset.json``: what an export of ours wrote into a folder, and how far that can be believed.

Folders travel: a record may have been edited, or made to have files removed that lie elsewhere. So it is checked as a
whole before anything in it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from maskwright.errors import InvalidInput
from maskwright.export.categories import checked_ids

RECORD = "dataset.json"
WRITTEN_BY = "maskwright export"


def read_record(out: Path) -> dict[str, Any]:
    """``dataset.json`` of an earlier export in a folder; empty where there is none of ours, or none to be believed."""
    return read_listing(out / RECORD, out)


def read_listing(path: Path, out: Path) -> dict[str, Any]:
    """A JSON file that lists the files of a dataset; empty where it is not there or not to be believed.

    Args:
        path: The file.
        out: Folder of the dataset. All files that are listed are in it.

    Returns:
        The object. Its ``files`` are objects with ``path`` (relative, POSIX), ``size`` in bytes and ``sha256``; its
        ``category_ids`` are ids by class name.
    """
    try:
        record = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    if not isinstance(record, dict) or record.get("written_by") != WRITTEN_BY:
        return {}
    files, ids = record.get("files"), record.get("category_ids", {})
    if not isinstance(files, list) or not isinstance(ids, dict) or not all(map(_is_row, files)):
        return {}
    try:
        if ids:
            checked_ids(list(ids.items()), path.name)
        root = out.resolve()
        folders = {(out / row["path"]).parent for row in files}
        is_within = all(folder.resolve().is_relative_to(root) for folder in folders)
    except (InvalidInput, OSError, RuntimeError, ValueError):
        return {}
    return {**record, "category_ids": ids} if is_within else {}


def is_relative(path: object) -> bool:
    """Whether a value is a relative POSIX path without a step upwards."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    parsed = PurePosixPath(path)
    return bool(parsed.parts) and not parsed.is_absolute() and ".." not in parsed.parts


def _is_row(row: object) -> bool:
    return (
        isinstance(row, Mapping) and is_relative(row.get("path"))
        and type(row.get("size")) is int and isinstance(row.get("sha256"), str)
    )  # fmt: skip
