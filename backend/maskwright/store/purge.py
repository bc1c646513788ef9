"""Erasure requests: what an image or a person left is taken out of the store for good; that it was there stays known.

Documents are overwritten with NULL (all states, not only those in force), their rows stay as tombstones with reason and
time, and the platform showing them again does not bring them back. Afterwards the database is rewritten, so that no
page keeps a remnant: ``VACUUM`` and a truncated journal on SQLite (whose ``secure_delete`` has overwritten the bytes
already), ``VACUUM FULL`` on PostgreSQL. Backups made earlier are not reached.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.store.database import Database
from maskwright.store.reading import document_of
from maskwright.store.registers import source_digest
from maskwright.store.schema import (
    annotation_rows,
    corrections,
    images,
    proposals,
    snapshot_corrections,
    snapshot_erasures,
    snapshot_items,
    snapshots,
    task_versions,
    tasks,
)
from maskwright.store.states import chunks
from maskwright.store.times import now

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PAGE = 200
_TRUNCATE_ATTEMPTS, _TRUNCATE_PAUSE_S = 20, 0.25


@dataclass(frozen=True)
class PurgeReport:
    """What was erased (or would be, in a rehearsal).

    Attributes:
        tasks: Tasks erased with everything on them.
        annotations: Annotations and drafts erased.
        corrections: Their states, history included.
        proposals: Model proposals erased.
        images: Rows of facts about images removed.
        snapshots: Names of the snapshots that lost something and are marked.
        copies: Other addresses of the same content, still there: erase by SHA-256 to reach them.
        rewritten: Whether the database files were rewritten, so that no remnant is left in them.
    """

    tasks: int = 0
    annotations: int = 0
    corrections: int = 0
    proposals: int = 0
    images: int = 0
    snapshots: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    rewritten: bool = False


class _Rehearsal(MaskwrightError):
    """Takes the transaction back."""

    def __init__(self, report: PurgeReport) -> None:
        super().__init__("nothing was erased: this was a rehearsal")
        self.report = report


def purge_image(
    database: Database,
    image: str,
    *,
    project_id: int | None = None,
    reason: str = "erasure of an image",
    rehearse: bool = False,
) -> PurgeReport:
    """Erase every task that shows an image, or ever did, with all that was left on it and proposed for it.

    Args:
        database: The store's database.
        image: Its address exactly as the task's fields hold it, or the SHA-256 (64 hex digits) of its bytes, which is
            looked up among the recorded facts about images.
        project_id: Only in this project (the store's own number), or None for all.
        reason: Kept with the tombstones and shown with the snapshots; should not name the person concerned.
        rehearse: Only tell what would be erased.

    Raises:
        InvalidInput: If the address is empty.
    """
    if not image:
        raise InvalidInput("say which image: its address as in the task, or its SHA-256")

    def work(connection: Connection) -> PurgeReport:
        here = [] if project_id is None else [images.c.project_id == project_id]
        by_content = bool(_SHA256.fullmatch(image.lower()))
        wanted = images.c.sha256 == image.lower() if by_content else images.c.source_digest == source_digest(image)
        facts = connection.execute(select(images).where(wanted, *here)).all()
        sources = {row.source for row in facts} | {image}
        others = select(images.c.source).where(images.c.sha256.in_({row.sha256 for row in facts}), *here)
        copies = sorted(set(connection.execute(others).scalars()) - sources) if facts else []
        found = list(_tasks_showing(connection, sources, project_id))
        removed = connection.execute(delete(images).where(wanted, *here)).rowcount
        erasure = _Erasure(connection, reason)
        for task_id, project, number in found:
            erasure.task(task_id, project, number)
        return _finish(erasure.report(images=removed, copies=tuple(copies)), rehearse)

    return _run(database, work)


def purge_annotator(
    database: Database,
    person: str,
    *,
    project_id: int | None = None,
    reason: str = "erasure of an annotator's work",
    rehearse: bool = False,
) -> PurgeReport:
    """Erase every annotation and draft that a person made, in all its states, and the person's name with them.

    Args:
        database: The store's database.
        person: As ``Stored.person`` holds it.
        project_id: Only in this project (the store's own number), or None for all.
        reason: Kept with the tombstones and shown with the snapshots; should not name the person.
        rehearse: Only tell what would be erased.

    Raises:
        InvalidInput: If the name is empty.
    """
    if not person:
        raise InvalidInput("say which annotator: the number or address that the platform knows the person by")

    def work(connection: Connection) -> PurgeReport:
        query = (
            select(annotation_rows.c.id)
            .join(corrections, corrections.c.annotation_id == annotation_rows.c.id)
            .where(corrections.c.person == person)
        )
        if project_id is not None:
            query = query.where(annotation_rows.c.project_id == project_id)
        found = connection.execute(query.distinct().order_by(annotation_rows.c.id)).scalars().all()
        erasure = _Erasure(connection, reason)
        for part in chunks(found):
            erasure.annotations(annotation_rows.c.id.in_(part), person=None)
        return _finish(erasure.report(), rehearse)

    return _run(database, work)


def _finish(report: PurgeReport, rehearse: bool) -> PurgeReport:
    if rehearse:
        raise _Rehearsal(report)
    return report


def _run(database: Database, work: Any) -> PurgeReport:
    try:
        report: PurgeReport = database.write(work)
    except _Rehearsal as rehearsal:
        return rehearsal.report
    # Also when nothing matched: an earlier purge may have been stopped before this.
    return replace(report, rewritten=_rewrite(database))


def _rewrite(database: Database) -> bool:
    try:
        with database.outside_transactions() as connection:
            if not database.is_sqlite:
                for table in (task_versions, corrections, proposals, images):
                    connection.exec_driver_sql(f"VACUUM (FULL) {table.name}")
                return True
            connection.exec_driver_sql("VACUUM")
            for _ in range(_TRUNCATE_ATTEMPTS):
                blocked = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                if not blocked:
                    return True
                time.sleep(_TRUNCATE_PAUSE_S)
    except MaskwrightError:
        return False  # no room for the copy, or others hold it open: what was erased is erased all the same
    return False


def _tasks_showing(connection: Connection, sources: set[str], project_id: int | None) -> Iterator[tuple[int, int, int]]:
    """(id, project, number) of tasks that name one of the addresses in any of their versions."""
    after, seen = 0, set()
    base = (
        select(task_versions.c.id, task_versions.c.document, task_versions.c.nbytes, task_versions.c.digest)
        .add_columns(tasks.c.id.label("task_id"), tasks.c.project_id, tasks.c.number)
        .join(tasks, tasks.c.id == task_versions.c.task_id)
        .where(task_versions.c.document.is_not(None))
        .order_by(task_versions.c.id)
        .limit(_PAGE)
    )
    if project_id is not None:
        base = base.where(tasks.c.project_id == project_id)
    while True:
        page = connection.execute(base.where(task_versions.c.id > after)).all()
        for row in page:
            if row.task_id not in seen and _names(orjson.loads(document_of(row)), sources):
                seen.add(row.task_id)
                yield row.task_id, row.project_id, row.number
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _names(value: Any, sources: set[str]) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and one in sources:
            return True
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False


class _Erasure:
    """One erasure inside one transaction, and what it came to."""

    def __init__(self, connection: Connection, reason: str) -> None:
        self._connection, self._reason, self._at = connection, reason, now()
        self._counts: dict[str, int] = defaultdict(int)
        # Per snapshot: tasks that lost something, and how many states did.
        self._lost: dict[int, tuple[set[int], int]] = defaultdict(lambda: (set(), 0))

    def task(self, task_id: int, project_id: int, number: int) -> None:
        """Erase a task, everything on it and everything proposed for it."""
        here = and_(annotation_rows.c.project_id == project_id, annotation_rows.c.task_number == number)
        versions = select(task_versions.c.id).where(task_versions.c.task_id == task_id)
        held = select(snapshot_items.c.snapshot_id).where(snapshot_items.c.task_version_id.in_(versions))
        self.annotations(here)
        for snapshot_id in self._connection.execute(held).scalars():
            self._lost[snapshot_id][0].add(number)
        self._execute(update(task_versions).where(task_versions.c.task_id == task_id).values(document=None))
        made_for = and_(proposals.c.project_id == project_id, proposals.c.task_number == number)
        self._counts["proposals"] += self._execute(
            update(proposals).where(made_for, proposals.c.document.is_not(None)).values(document=None)
        )
        tombstone = {"erased_at": self._at, "erased_reason": self._reason}
        self._counts["tasks"] += self._execute(update(tasks).where(tasks.c.id == task_id).values(tombstone))

    def annotations(self, which: ColumnElement[bool], **more: Any) -> None:
        """Erase annotations and drafts in all their states; ``more`` are further columns to overwrite."""
        ids = select(annotation_rows.c.id).where(which)
        states = and_(corrections.c.annotation_id.in_(ids), corrections.c.document.is_not(None))
        frozen = (
            select(snapshot_corrections.c.snapshot_id, snapshot_corrections.c.task_number, func.count())
            .join(corrections, corrections.c.id == snapshot_corrections.c.correction_id)
            .where(states)
            .group_by(snapshot_corrections.c.snapshot_id, snapshot_corrections.c.task_number)
        )
        for snapshot_id, number, drawn in self._connection.execute(frozen).all():
            lost_tasks, lost_states = self._lost[snapshot_id]
            lost_tasks.add(number)
            self._lost[snapshot_id] = (lost_tasks, lost_states + drawn)
        self._counts["corrections"] += self._execute(update(corrections).where(states).values(document=None))
        self._execute(update(corrections).where(corrections.c.annotation_id.in_(ids)).values(lead_time=None, **more))
        unmarked = and_(which, annotation_rows.c.erased_at.is_(None))
        tombstone = {"erased_at": self._at, "erased_reason": self._reason}
        self._counts["annotations"] += self._execute(update(annotation_rows).where(unmarked).values(tombstone))

    def report(self, images: int = 0, copies: tuple[str, ...] = ()) -> PurgeReport:
        """Mark the snapshots that lost something and sum up."""
        rows = [
            {
                "snapshot_id": snapshot_id, "erased_at": self._at, "reason": self._reason,
                "tasks": len(lost_tasks), "corrections": lost_states,
            }
            for snapshot_id, (lost_tasks, lost_states) in sorted(self._lost.items())
        ]  # fmt: skip
        names: list[str] = []
        if rows:
            self._connection.execute(insert(snapshot_erasures), rows)
        for part in chunks(sorted(self._lost)):
            named = select(snapshots.c.name).where(snapshots.c.id.in_(part)).order_by(snapshots.c.id)
            names += self._connection.execute(named).scalars()
        tasks, drawn, states, made = (
            self._counts[name] for name in ("tasks", "annotations", "corrections", "proposals")
        )
        return PurgeReport(tasks, drawn, states, made, images, tuple(names), copies)

    def _execute(self, statement: Any) -> int:
        return int(self._connection.execute(statement).rowcount)
