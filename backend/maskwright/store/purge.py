"""Erasure requests: what an image or a person left is taken out of the store for good; that it was there stays known.

Documents are overwritten with NULL (all states, not only those in force), their rows stay as tombstones with reason and
time, and the platform showing them again does not bring them back; only what it created since may take their numbers.
Afterwards the database is rewritten, so that no page keeps a remnant: ``VACUUM`` and a truncated journal on SQLite
(whose ``secure_delete`` has overwritten the bytes already), ``VACUUM FULL`` on PostgreSQL. Backups made earlier are not
reached.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.store.database import Database
from maskwright.store.erasure import LOCKED, Erasure, PurgeReport
from maskwright.store.erasure_learning import erase_from_notes
from maskwright.store.reading import document_of
from maskwright.store.registers import source_digest
from maskwright.store.schema import corrections, images, proposals, snapshots, task_versions, tasks
from maskwright.store.schema_learning import priorities, project_notes, rounds, suggestions

__all__ = ["PurgeReport", "purge_annotator", "purge_image"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PAGE = 200
_REWRITTEN = (task_versions, corrections, proposals, images, snapshots, priorities, project_notes, rounds, suggestions)
_TRUNCATE_ATTEMPTS, _TRUNCATE_PAUSE_S = 20, 0.25


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
        erase_from_notes(connection, project_id, sources | {row.sha256 for row in facts})
        erasure = Erasure(connection, reason)
        for task_id, project, number in found:
            erasure.task(task_id, project, number)
        erasure.again(project_id)
        return _finish(erasure.report(images=removed, copies=tuple(copies)), rehearse)

    return _run(database, work, rehearse)


def purge_annotator(
    database: Database,
    person: str,
    *,
    project_id: int | None = None,
    reason: str = "erasure of an annotator's work",
    rehearse: bool = False,
) -> PurgeReport:
    """Erase every annotation and draft that a person made, in all its states, and the person's name with them.

    Where the platform gave the number of an annotation of that person to somebody else, theirs stays.

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
        erasure = Erasure(connection, reason)
        erasure.person(person, project_id)
        erasure.again(project_id)
        return _finish(erasure.report(), rehearse)

    return _run(database, work, rehearse)


def _finish(report: PurgeReport, rehearse: bool) -> PurgeReport:
    if rehearse:
        raise _Rehearsal(report)
    return report


def _run(database: Database, work: Callable[[Connection], PurgeReport], rehearse: bool) -> PurgeReport:
    def alone(connection: Connection) -> PurgeReport:
        if not rehearse and not database.is_sqlite:  # SQLite has one writer anyway
            names = ", ".join(table.name for table in LOCKED)
            connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        return work(connection)

    try:
        report = database.write(alone)
    except _Rehearsal as rehearsal:
        return rehearsal.report
    # Also when nothing matched: an earlier purge may have been stopped before this.
    return replace(report, rewritten=_rewrite(database))


def _rewrite(database: Database) -> bool:
    try:
        with database.outside_transactions() as connection:
            if not database.is_sqlite:
                for table in _REWRITTEN:
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
