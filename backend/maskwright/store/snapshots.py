"""Snapshots: named sets of corrections that never change, known by the SHA-256 of what they hold.

The digest of a snapshot is taken over its manifest: lines of canonical JSON (keys sorted, no blanks, UTF-8), each ended
by a newline. The first line is the header (``format``, ``platform``, ``server``, ``project``, ``label_set``,
``selection``); one line per task follows in the order of task numbers:
``{"task", "data": SHA-256 of the task's fields or null, "split", "corrections": [[number, is draft, updated_at in
microseconds, SHA-256 of the document], ...], "proposals": [[number, SHA-256], ...]}``. Nothing in it is numbered by the
database, so the same corrections give the same digest on every server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from maskwright.annotated import AnnotationKind
from maskwright.errors import InvalidInput, NotFound
from maskwright.store.database import Database
from maskwright.store.documents import checked_text
from maskwright.store.reading import CorrectionsReading, project_row
from maskwright.store.records import ProjectRow
from maskwright.store.schema import projects, snapshots
from maskwright.store.snapshot_diff import SnapshotDiff, compare
from maskwright.store.snapshot_rows import (
    Erasure,
    Frozen,
    SnapshotItem,
    canonical,
    erasures_of,
    frozen_documents,
    heads_by_task,
    items_page,
)
from maskwright.store.states import chunks
from maskwright.store.times import now, to_text

__all__ = ["Erasure", "Snapshot", "SnapshotDiff", "SnapshotItem", "SnapshotStore"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PAGE, _ITEMS_PER_PAGE = 32, 256


@dataclass(frozen=True)
class Snapshot:
    """A snapshot without its items.

    Attributes:
        name: Unique in the store.
        digest: SHA-256 (hex) of its manifest, as it was made.
        project: The project that it is of.
        created_at: ISO 8601.
        label_set: The classes, in order.
        selection: How it was chosen, as JSON values (mapping, consensus, split parameters, ...).
        tasks: How many tasks were frozen.
        corrections: How many annotations and drafts were frozen.
        erasures: What has been erased from it since; empty for a whole one.
    """

    name: str
    digest: str
    project: ProjectRow
    created_at: str
    label_set: tuple[str, ...]
    selection: Mapping[str, Any]
    tasks: int
    corrections: int
    erasures: tuple[Erasure, ...] = ()

    @property
    def notice(self) -> str:
        """A sentence on what is missing because it was erased, or empty."""
        if not self.erasures:
            return ""
        lost = sum(one.corrections for one in self.erasures), sum(one.tasks for one in self.erasures)
        why = "; ".join(dict.fromkeys(f"{one.reason} ({one.at[:10]})" for one in self.erasures))
        return f"snapshot {self.name}: {lost[0]} corrections on {lost[1]} tasks were erased since it was made: {why}"


class SnapshotStore:
    """Snapshots of a store's projects.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._store = CorrectionsReading(database)

    def create(
        self,
        name: str,
        project_id: int,
        *,
        label_set: Sequence[str] = (),
        selection: Mapping[str, Any] | None = None,
        items: Iterable[SnapshotItem] | None = None,
        kinds: Sequence[AnnotationKind] = ("submitted", "skipped"),
        splits: Mapping[int, str] | None = None,
    ) -> Snapshot:
        """Freeze corrections under a name. Whole or not at all; making the same one again changes nothing.

        Args:
            name: Letters, digits, dot, underscore and hyphen; at most 100.
            project_id: From ``CorrectionsStore.project``.
            label_set: The classes, in order.
            selection: How it was chosen: JSON values, kept and part of the digest.
            items: What to freeze, in ascending order of tasks. None: what is in force of ``kinds`` on every task.
            kinds: What to freeze if ``items`` is None.
            splits: Task number -> part (``train``, ...) if ``items`` is None.

        Raises:
            InvalidInput: If the name is malformed or taken by other content, or an item names what is not there.
            NotFound: If there is no such project.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"snapshot name {name!r}: use letters, digits, '.', '_' and '-' (at most 100)")
        project = self._store.project_row(project_id)
        header = _header(project, label_set, selection or {})
        # Worked out beside the writers, as of one moment: corrections must not wait for it to be acknowledged.
        with Frozen(header) as frozen:
            with self.database.read(steady=True) as connection:
                if items is None:
                    items = heads_by_task(connection, project.id, kinds, splits or {})
                frozen.read(connection, project.id, items)
            self.database.write(lambda connection: self._keep(connection, name, project.id, frozen))
        return self.get(name)

    def _keep(self, connection: Connection, name: str, project_id: int, frozen: Frozen) -> None:
        known = connection.execute(select(snapshots.c.digest).where(snapshots.c.name == name)).scalar()
        if known == frozen.digest:
            return
        if known is not None:
            raise InvalidInput(
                f"snapshot {name!r} exists and holds something else; snapshots never change: take another name"
            )
        row = {"project_id": project_id, "name": name, "digest": frozen.digest, "header": frozen.header}
        row.update(created_at=now(), tasks=frozen.tasks, corrections=frozen.corrections)
        made = connection.execute(insert(snapshots).values(row).returning(snapshots.c.id)).scalar_one()
        frozen.write(connection, int(made))

    def get(self, name: str) -> Snapshot:
        """The snapshot of that name.

        Raises:
            NotFound: If there is none.
        """
        found = self._snapshots(name)
        if not found:
            raise NotFound(f"there is no snapshot {name!r}; maskwright snapshot list shows those there are")
        return found[0]

    def items(self, name: str) -> Iterator[tuple[SnapshotItem, Mapping[str, Any]]]:
        """Items in the order of tasks, each with its line of the manifest; erased corrections are still listed.

        Raises:
            NotFound: If there is no such snapshot.
        """
        snapshot_id, _ = self._find(name)
        after: int | None = -1
        while after is not None:
            with self.database.read(steady=True) as connection:
                page = items_page(connection, snapshot_id, after, _ITEMS_PER_PAGE)
            for item, manifest in page:
                yield item, json.loads(manifest)
            after = page[-1][0].task_number if len(page) == _ITEMS_PER_PAGE else None

    def splits(self, name: str) -> dict[int, str]:
        """Task number -> part, of the tasks that have one."""
        return {item.task_number: item.split for item, _ in self.items(name) if item.split is not None}

    def task_documents(self, name: str) -> Iterator[bytes]:
        """The frozen tasks as ``CorrectionsStore.task_documents`` gives them, whatever happened since.

        What was erased is left out: single annotations from their lists, erased tasks altogether;
        ``Snapshot.erasures`` and ``notice`` tell.

        Raises:
            NotFound: If there is no such snapshot.
        """
        snapshot_id, project = self._find(name)
        numbers = (item.task_number for item, _ in self.items(name))
        for page in chunks(numbers, _PAGE):
            with self.database.read(steady=True) as connection:
                documents = list(frozen_documents(connection, snapshot_id, project.number, page))
            yield from documents

    def diff(self, first: str, second: str) -> SnapshotDiff:
        """What changed from one snapshot to another, by their manifests (also where content was erased since).

        Raises:
            NotFound: If there is no such snapshot.
            InvalidInput: If they are of different projects.
        """
        one, other = self.get(first), self.get(second)
        if one.project.id != other.project.id:
            raise InvalidInput(f"snapshots {first!r} and {second!r} are of different projects: they share no task")
        lines = ((line for _, line in self.items(first)), (line for _, line in self.items(second)))
        return compare(
            *lines,
            label_set_changed=one.label_set != other.label_set,
            selection_changed=one.selection != other.selection,
        )

    def list(self, project_id: int | None = None) -> Sequence[Snapshot]:
        """All snapshots, oldest first; of one project if named."""
        return [one for one in self._snapshots(None) if project_id in (None, one.project.id)]

    def _find(self, name: str) -> tuple[int, ProjectRow]:
        with self.database.read() as connection:
            query = select(snapshots.c.id, snapshots.c.project_id).where(snapshots.c.name == name)
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"there is no snapshot {name!r}; maskwright snapshot list shows those there are")
        return row.id, self._store.project_row(row.project_id)

    def _snapshots(self, name: str | None) -> Sequence[Snapshot]:
        query = select(snapshots).order_by(snapshots.c.id)
        if name is not None:
            query = query.where(snapshots.c.name == name)
        with self.database.read(steady=True) as connection:
            rows = connection.execute(query).all()
            erased = erasures_of(connection, [row.id for row in rows])
            found = {row.id: row for row in connection.execute(select(projects))}
        return [_snapshot(row, project_row(found[row.project_id]), erased.get(row.id, ())) for row in rows]


def _snapshot(row: Any, project: ProjectRow, erasures: Sequence[Erasure]) -> Snapshot:
    header = json.loads(row.header)
    return Snapshot(
        row.name, row.digest, project, to_text(row.created_at), tuple(header["label_set"]), header["selection"],
        row.tasks, row.corrections, tuple(erasures),
    )  # fmt: skip


def _header(project: ProjectRow, label_set: Sequence[str], selection: Mapping[str, Any]) -> str:
    try:
        header = canonical(
            {
                "format": 1, "platform": project.platform, "server": project.server, "project": project.number,
                "label_set": [checked_text(str(name), "class name") for name in label_set],
                "selection": selection,
            }
        )  # fmt: skip
        return checked_text(header, "label set and selection of the snapshot", 10_000_000)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"selection of the snapshot: not JSON values: {error}") from None
