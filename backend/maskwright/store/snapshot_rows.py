"""Rows of snapshots: written as the items come, read back a page at a time."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from maskwright.errors import Busy, InvalidInput
from maskwright.store.documents import checked_text, splice_task
from maskwright.store.reading import (
    annotation_is_there,
    document_of,
    newest_proposals,
    proposal_documents,
    same_task,
    task_is_there,
)
from maskwright.store.schema import (
    annotation_rows,
    corrections,
    snapshot_corrections,
    snapshot_erasures,
    snapshot_items,
    task_versions,
    tasks,
)
from maskwright.store.states import chunks
from maskwright.store.times import to_text

_PAGE = 200
_MEMORY_BYTES = 8 * 1024**2


@dataclass(frozen=True)
class SnapshotItem:
    """What is frozen of one task.

    Attributes:
        task_number: The platform's number of the task.
        corrections: ``Head.correction_id`` of each annotation or draft, none twice.
        split: ``train``, ``val``, ``test``, or None.
    """

    task_number: int
    corrections: tuple[int, ...]
    split: str | None = None


@dataclass(frozen=True)
class Erasure:
    """What an erasure request took out of a snapshot, when (ISO 8601) and why."""

    at: str
    reason: str
    tasks: int
    corrections: int


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: the same text for the same values.

    Raises:
        TypeError, ValueError: If a value has no JSON form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def heads_by_task(
    connection: Connection, project_id: int, kinds: Sequence[str], splits: Mapping[int, str]
) -> Iterator[SnapshotItem]:
    """What is in force of ``kinds``, task by task; tasks with nothing of them are left out."""
    after = -1
    base = (
        select(annotation_rows.c.task_number, annotation_rows.c.head_id)
        .join(corrections, corrections.c.id == annotation_rows.c.head_id)
        .join(tasks, same_task)
        .where(annotation_rows.c.project_id == project_id, annotation_is_there, task_is_there)
        .where(corrections.c.kind.in_(list(kinds)), corrections.c.document.is_not(None))
    )
    while True:
        numbers = base.with_only_columns(annotation_rows.c.task_number).where(annotation_rows.c.task_number > after)
        numbers = numbers.distinct().order_by(annotation_rows.c.task_number).limit(_PAGE)
        page = connection.execute(numbers).scalars().all()
        held = defaultdict(list)
        for task_number, head_id in connection.execute(base.where(annotation_rows.c.task_number.in_(page))):
            held[task_number].append(head_id)
        yield from (SnapshotItem(number, tuple(sorted(held[number])), splits.get(number)) for number in page)
        if len(page) < _PAGE:
            return
        after = page[-1]


class Frozen:
    """The items of a snapshot between being worked out and being written; kept in a temporary file beyond a few MB.

    Args:
        header: First line of the manifest.

    Attributes:
        digest: SHA-256 (hex) of the manifest, once read.
        tasks: How many tasks were read.
        corrections: How many corrections were read.
    """

    def __init__(self, header: str) -> None:
        self.header, self.digest, self.tasks, self.corrections = header, "", 0, 0
        self._spool = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115  (closed on leaving)

    def __enter__(self) -> Frozen:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def read(self, connection: Connection, project_id: int, items: Iterable[SnapshotItem]) -> None:
        """Work the items out.

        Raises:
            InvalidInput: If items are out of order or name what the project does not hold.
        """
        digest, last = hashlib.sha256(self.header.encode() + b"\n"), -1
        for page in chunks(items, _PAGE):
            for item in page:
                if item.task_number <= last:
                    raise InvalidInput(f"snapshot: task {item.task_number} comes after task {last}; sort them by task")
                last = item.task_number
            rows = _freeze_page(connection, project_id, page)
            digest.update("".join(f"{row['manifest']}\n" for row in rows).encode())
            self._spool.write(orjson.dumps([rows, [item.corrections for item in page]]) + b"\n")
            self.tasks += len(page)
            self.corrections += sum(len(item.corrections) for item in page)
        self.digest = digest.hexdigest()

    def write(self, connection: Connection, snapshot_id: int) -> None:
        """Write the items; may be done again.

        Raises:
            Busy: If some of it was erased since it was read.
        """
        self._spool.seek(0)
        for line in self._spool:
            rows, held = orjson.loads(line)
            connection.execute(insert(snapshot_items), [{**row, "snapshot_id": snapshot_id} for row in rows])
            links = [
                {"snapshot_id": snapshot_id, "correction_id": one, "task_number": row["task_number"]}
                for row, ids in zip(rows, held, strict=True) for one in ids
            ]  # fmt: skip
            if links:
                connection.execute(insert(snapshot_corrections), links)
        here = snapshot_corrections.c.snapshot_id == snapshot_id
        gone = select(corrections.c.id).join_from(snapshot_corrections, corrections).where(here)
        dropped = (
            select(task_versions.c.id)
            .join_from(snapshot_items, task_versions, task_versions.c.id == snapshot_items.c.task_version_id)
            .where(snapshot_items.c.snapshot_id == snapshot_id, task_versions.c.document.is_(None))
        )
        for query in (gone.where(corrections.c.document.is_(None)), dropped):
            if connection.execute(query.limit(1)).first() is not None:
                raise Busy("snapshot: something was erased while it was made; make it again")


def items_page(connection: Connection, snapshot_id: int, after: int, limit: int) -> list[tuple[SnapshotItem, str]]:
    """Items of tasks beyond ``after``, in order, with their lines of the manifest."""
    query = select(snapshot_items.c.task_number, snapshot_items.c.split, snapshot_items.c.manifest)
    query = query.where(snapshot_items.c.snapshot_id == snapshot_id, snapshot_items.c.task_number > after)
    rows = connection.execute(query.order_by(snapshot_items.c.task_number).limit(limit)).all()
    held = defaultdict(list)
    for part in chunks([row.task_number for row in rows]):
        links = select(snapshot_corrections.c.task_number, snapshot_corrections.c.correction_id).where(
            snapshot_corrections.c.snapshot_id == snapshot_id, snapshot_corrections.c.task_number.in_(part)
        )
        for task_number, correction_id in connection.execute(links.order_by(snapshot_corrections.c.correction_id)):
            held[task_number].append(correction_id)
    return [(SnapshotItem(number, tuple(held[number]), split), manifest) for number, split, manifest in rows]


def frozen_documents(
    connection: Connection, snapshot_id: int, project_number: int, numbers: Sequence[int]
) -> Iterator[bytes]:
    """Task documents of a snapshot, in the order of ``numbers`` (ascending), without what was erased."""
    query = (
        select(snapshot_items.c.task_number, snapshot_items.c.task_version_id, snapshot_items.c.proposal_ids)
        .add_columns(task_versions.c.document, task_versions.c.nbytes, task_versions.c.digest)
        .outerjoin(task_versions, task_versions.c.id == snapshot_items.c.task_version_id)
        .where(snapshot_items.c.snapshot_id == snapshot_id, snapshot_items.c.task_number.in_(numbers))
        .order_by(snapshot_items.c.task_number)
    )
    items = connection.execute(query).all()
    drawn: dict[tuple[int, bool], list[bytes]] = defaultdict(list)
    links = (
        select(snapshot_corrections.c.task_number, annotation_rows.c.draft)
        .add_columns(corrections.c.document, corrections.c.nbytes, corrections.c.digest)
        .join(corrections, corrections.c.id == snapshot_corrections.c.correction_id)
        .join(annotation_rows, annotation_rows.c.id == corrections.c.annotation_id)
        .where(snapshot_corrections.c.snapshot_id == snapshot_id, snapshot_corrections.c.task_number.in_(numbers))
        .where(corrections.c.document.is_not(None))
        .order_by(snapshot_corrections.c.task_number, annotation_rows.c.draft, annotation_rows.c.number)
    )
    for row in connection.execute(links):
        drawn[row.task_number, bool(row.draft)].append(document_of(row))
    proposed = {row.task_number: json.loads(row.proposal_ids) for row in items}
    texts = proposal_documents(connection, [one for ids in proposed.values() for one in ids])
    for row in items:
        if row.task_version_id is not None and row.document is None:
            continue  # erased with its image
        number = row.task_number
        data = None if row.document is None else document_of(row)
        predictions = [texts[one] for one in proposed[number] if one in texts]
        yield splice_task(number, project_number, data, drawn[number, False], predictions, drawn[number, True])


def erasures_of(connection: Connection, snapshot_ids: Sequence[int]) -> dict[int, list[Erasure]]:
    """What was erased from snapshots, oldest first."""
    found: dict[int, list[Erasure]] = defaultdict(list)
    for part in chunks(snapshot_ids):
        query = select(snapshot_erasures).where(snapshot_erasures.c.snapshot_id.in_(part))
        for row in connection.execute(query.order_by(snapshot_erasures.c.erased_at)):
            found[row.snapshot_id].append(Erasure(to_text(row.erased_at), row.reason, row.tasks, row.corrections))
    return found


def _freeze_page(connection: Connection, project_id: int, page: Sequence[SnapshotItem]) -> list[dict[str, Any]]:
    states = _states(connection, project_id, [one for item in page for one in item.corrections])
    numbers = [item.task_number for item in page]
    query = (
        select(tasks.c.number, tasks.c.head_id, task_versions.c.digest)
        .outerjoin(task_versions, task_versions.c.id == tasks.c.head_id)
        .where(tasks.c.project_id == project_id, tasks.c.number.in_(numbers), tasks.c.erased_at.is_(None))
    )
    heads = {row.number: row for row in connection.execute(query)}
    proposed = newest_proposals(connection, project_id, numbers)
    rows: list[dict[str, Any]] = []
    for item in page:
        number = item.task_number
        if number not in heads:
            raise InvalidInput(f"snapshot: the store has no task {number}, or it was erased")
        if item.split is not None:
            checked_text(item.split, f"snapshot: task {number}: split", 64)
        drawn = {}
        for one in item.corrections:
            state = states.get(one)
            if state is None or state.task_number != number or (bool(state.draft), state.number) in drawn:
                raise InvalidInput(
                    f"snapshot: correction {one} is not one of task {number}, was erased, or is one annotation twice"
                )
            drawn[bool(state.draft), state.number] = [state.number, bool(state.draft), state.updated_at, state.digest]
        proposals = [[row.number, row.digest] for row in proposed[number]]
        line = {"task": number, "data": heads[number].digest, "split": item.split, "proposals": proposals}
        line["corrections"] = [drawn[key] for key in sorted(drawn)]
        rows.append(
            {
                "task_number": number, "task_version_id": heads[number].head_id,
                "proposal_ids": json.dumps([row.id for row in proposed[number]]), "split": item.split,
                "manifest": canonical(line),
            }
        )  # fmt: skip
    return rows


def _states(connection: Connection, project_id: int, ids: Sequence[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for part in chunks(ids):
        query = (
            select(corrections.c.id, corrections.c.task_number, corrections.c.updated_at, corrections.c.digest)
            .add_columns(annotation_rows.c.draft, annotation_rows.c.number)
            .join(annotation_rows, annotation_rows.c.id == corrections.c.annotation_id)
            .where(corrections.c.id.in_(part), annotation_rows.c.project_id == project_id)
            .where(corrections.c.document.is_not(None))
        )
        found.update((row.id, row) for row in connection.execute(query))
    return found
