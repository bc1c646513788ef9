"""What the columns of a backup's rows must hold beyond their types, or the store could not read them afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Table

from maskwright.errors import InvalidInput
from maskwright.store.events import numbers_in
from maskwright.store.state_rows import KINDS

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LISTS = (("events", "annotations"), ("events", "tasks"), ("snapshot_items", "proposal_ids"))
_OBJECTS = (("snapshots", "header"), ("snapshot_items", "manifest"))
_HEADER = {"label_set": list, "selection": dict}


def check_row(table: Table, values: Mapping[str, Any], where: str) -> None:
    """Check one row.

    Args:
        table: Where it goes.
        values: Column -> value, of the column's type.
        where: What messages begin with.

    Raises:
        InvalidInput: If a value is nothing that the store writes.
    """
    if values.get("kind", KINDS[0]) not in KINDS:
        raise InvalidInput(f"{where}: kind: {values['kind'][:40]!r} is none of {', '.join(KINDS)}")
    for name in ("digest", "source_digest", "sha256"):
        if not _DIGEST.fullmatch(values.get(name, "0" * 64)):
            raise InvalidInput(f"{where}: {name}: not 64 hex digits")
    for owner, name in _LISTS:
        if owner == table.name:
            try:
                numbers_in(values[name])
            except (ValueError, RecursionError):
                raise InvalidInput(f"{where}: {name}: not a JSON list of whole numbers") from None
    for owner, name in _OBJECTS:
        if owner == table.name:
            _check_object(values[name], _HEADER if name == "header" else {}, f"{where}: {name}")


def _check_object(text: str, needed: Mapping[str, type], where: str) -> None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in needed.items()):
        raise InvalidInput(f"{where}: not the JSON object that the store writes")
