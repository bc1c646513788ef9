"""What the columns of a backup's rows must hold beyond their types, or the store could not read them afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Table

from maskwright.errors import InvalidInput
from maskwright.store.events import numbers_in
from maskwright.store.round_rows import RoundState
from maskwright.store.state_rows import KINDS

_NAME = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LISTS = (("events", "annotations"), ("events", "tasks"), ("snapshot_items", "proposal_ids"))
_OBJECTS = (
    ("snapshots", "header"), ("snapshot_items", "manifest"), ("rounds", "config"), ("rounds", "metrics"),
    ("rounds", "verdict"), ("rounds", "progress"), ("priorities", "signals"), ("priorities", "effort"),
)  # fmt: skip
_HEADER = {"label_set": list, "selection": dict}
_SUGGESTED = {"suggestions": list, "problems": list}


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
        if owner == table.name and values[name] is not None:
            _check_object(values[name], _HEADER if name == "header" else {}, f"{where}: {name}")
    for name in ("adapter", "classes"):
        if not _NAME.fullmatch(values.get(name) or "0" * 32):
            raise InvalidInput(f"{where}: {name}: not 32 hex digits")
    if table.name == "rounds":
        ended = values["finished_at"] is not None
        if values["state"] not in list(RoundState) or RoundState(values["state"]).is_active == ended:
            raise InvalidInput(f"{where}: state: {values['state']!r} is none, or not one of a round that has so ended")
    if table.name == "suggestions":
        _check_object(values["suggested"], _SUGGESTED, f"{where}: suggested")
    if table.name == "project_notes":
        _check_json(values["value"], f"{where}: value")
    if len(values.get("feature") or b"") % 4:
        raise InvalidInput(f"{where}: feature: not a list of float32")


def _check_json(text: str, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidInput(f"{where}: not JSON") from None


def _check_object(text: str, needed: Mapping[str, type], where: str) -> None:
    found = _check_json(text, where)
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in needed.items()):
        raise InvalidInput(f"{where}: not the JSON object that the store writes")
