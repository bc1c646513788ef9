"""Many states of tasks, annotations and proposals stored in one transaction.

What is in force already costs one row of a SELECT and two of an UPDATE (its sighting); only new states are inserted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, bindparam, case, select, update

from maskwright.errors import NotFound
from maskwright.store.database import Database
from maskwright.store.faults import StoreUnavailable
from maskwright.store.proposing import store_proposals
from maskwright.store.records import TaskState
from maskwright.store.schema import NEVER, annotation_rows, corrections, projects, task_versions, tasks
from maskwright.store.state_rows import correction_row, proposal_row, task_row
from maskwright.store.times import now

T = TypeVar("T")
_CHUNK = 400
_VERSION = ("updated_at", "digest", "nbytes", "document")
_STATE = (
    "task_number", "kind", "person", "created_at", "lead_time", "proposal_number", "model_version", *_VERSION
)  # fmt: skip


def later(kept: ColumnElement[int], offered: Any) -> ColumnElement[int]:
    """The greater of two times, in SQL of both dialects."""
    return case((kept >= offered, kept), else_=offered)


def require_project(database: Database, connection: Connection, project_id: int) -> None:
    """Raise NotFound unless the store has that project, StoreUnavailable if the number is of another one by now."""
    query = select(projects.c.platform, projects.c.server, projects.c.number).where(projects.c.id == project_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"the store has no project whose own number is {project_id}")
    if database.identities.setdefault(project_id, (row.platform, row.server, row.number)) != tuple(row):
        raise StoreUnavailable("the corrections database was replaced while this process ran: start it anew")


def chunks(values: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """Lists of at most ``size``, for statements that name many values."""
    part: list[T] = []
    for value in values:
        part.append(value)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


class StateBatch:
    """States checked and compressed before their transaction begins, so that it is short; may be stored again.

    Args:
        database: Where to.
        project_id: The store's number of the project.
        states: What to store.
        seen: When the platform was asked, in microseconds; 0 if that is not known.

    Raises:
        InvalidInput: If a document, number, time or text is malformed.
    """

    def __init__(self, database: Database, project_id: int, states: Sequence[TaskState], seen: int) -> None:
        self._database, self._project_id, self._seen = database, project_id, seen
        self._tasks = [task_row(state) for state in states]
        # One order for all writers: two that hold each other's rows would have to be broken up.
        self._tasks.sort(key=lambda row: row["number"])
        self._annotations = [correction_row(state.number, one) for state in states for one in state.annotations]
        self._annotations.sort(key=lambda row: (row["draft"], row["number"], row["updated_at"]))
        self._proposals = [proposal_row(project_id, state.number, one) for state in states for one in state.proposals]
        self._complete = {state.number for state in states if state.complete}
        self._said: dict[int, int] = dict.fromkeys((row["number"] for row in self._tasks), 0)
        self._created = dict(self._said)
        for row in self._tasks:
            self._said[row["number"]] = max(self._said[row["number"]], row["updated_at"], row["created_at"])
            self._created[row["number"]] = max(self._created[row["number"]], row["created_at"])
        for row in self._annotations:
            self._said[row["task_number"]] = max(self._said[row["task_number"]], row["said_at"])

    def store(self, connection: Connection) -> int:
        """Store everything inside the caller's transaction; how many states were new."""
        require_project(self._database, connection, self._project_id)
        self._stored_at = now()
        # Of each task: what was created until then was erased (0: nothing was); None: it is erased still.
        self._erased: dict[int, int | None] = {}
        added = self._store_tasks(connection)
        added += self._store_annotations(connection)
        told = [row for row in self._proposals if self._is_new(row["task_number"], row["updated_at"])]
        whole = {number for number in self._complete if self._erased[number] is not None}
        return added + store_proposals(self._database, connection, self._project_id, told, whole, self._sighting)

    def _is_new(self, task_number: int, *created: int) -> bool:
        """Whether something on a task is not of what was erased there."""
        until = self._erased[task_number]
        return until is not None and (until == 0 or max(*created, self._created[task_number]) > until)

    def _sighting(self, said_at: int) -> tuple[int, int]:
        """When something was seen, and when read. A platform whose clock is ahead of ours has seen no future."""
        return self._seen or min(said_at, self._stored_at), self._seen

    def _store_tasks(self, connection: Connection) -> int:
        known: dict[int, Row[Any]] = {}
        for part in chunks(sorted(self._said)):
            query = (
                select(tasks.c.id, tasks.c.number, tasks.c.head_id, tasks.c.erased_at, tasks.c.erased_until)
                .add_columns(task_versions.c.updated_at, task_versions.c.digest)
                .outerjoin(task_versions, task_versions.c.id == tasks.c.head_id)
                .where(tasks.c.project_id == self._project_id, tasks.c.number.in_(part))
                .order_by(tasks.c.number)
                .with_for_update(of=tasks)
            )
            known.update((row.number, row) for row in connection.execute(query))
        self._touch(connection, tasks, [(row.id, self._said[number]) for number, row in known.items()])
        keys = [
            {"project_id": self._project_id, "number": number} for number in sorted(self._said) if number not in known
        ]
        met = self._meet(connection, tasks, keys, [self._said[key["number"]] for key in keys])
        places: dict[int, Row[Any]] = {**known, **{key[-1]: row for key, row in met.items()}}
        again = []
        for number, place in places.items():
            anew = place.erased_until is not None and self._created[number] > place.erased_until
            if place.erased_at is not None and anew:
                again.append(place.id)
            gone = place.erased_at is not None and not anew
            self._erased[number] = None if gone else place.erased_until or 0
        _unmark(connection, tasks, again)
        versions, same = [], []
        for row in self._tasks:
            until, head = self._erased[row["number"]], known.get(row["number"])
            if row["document"] is None or until is None or (until and row["created_at"] <= until):
                continue
            if head is not None and (head.updated_at, head.digest) == (row["updated_at"], row["digest"]):
                same.append(head.head_id)
            else:
                versions.append(
                    {"task_id": places[row["number"]].id, **{name: row[name] for name in _VERSION}}
                )  # fmt: skip
        self._reread(connection, task_versions, same)
        return self._add(connection, tasks, task_versions, ("task_id", "updated_at", "digest"), versions)

    def _store_annotations(self, connection: Connection) -> int:
        known: dict[tuple[bool, int], Row[Any]] = {}
        for part in chunks(sorted({row["number"] for row in self._annotations})):
            query = (
                select(annotation_rows.c.id, annotation_rows.c.draft, annotation_rows.c.number)
                .add_columns(annotation_rows.c.head_id)
                .add_columns(corrections.c.task_number, corrections.c.updated_at, corrections.c.digest)
                .join(corrections, corrections.c.id == annotation_rows.c.head_id)
                .where(annotation_rows.c.project_id == self._project_id, annotation_rows.c.number.in_(part))
                .order_by(annotation_rows.c.draft, annotation_rows.c.number)
                .with_for_update(of=annotation_rows)
            )
            known.update(((bool(row.draft), row.number), row) for row in connection.execute(query))
        same, rows = [], {}
        for row in self._annotations:
            if not self._on_what_is_there(row):
                continue
            head = known.get((row["draft"], row["number"]))
            state = (row["task_number"], row["updated_at"], row["digest"])
            if head is not None and (head.task_number, head.updated_at, head.digest) == state:
                same.append((head, row["said_at"]))
            else:
                rows[row["draft"], row["number"], row["updated_at"], row["digest"], row["task_number"]] = row
        self._touch(connection, annotation_rows, [(head.id, said_at) for head, said_at in same])
        self._reread(connection, corrections, [head.head_id for head, _ in same])
        said = {key[:2]: row["said_at"] for key, row in rows.items()}  # the last state of each is its latest
        names = ("project_id", "draft", "number")
        keys = [dict(zip(names, (self._project_id, *key), strict=True)) for key in sorted(said)]
        first = {key[:2]: row["task_number"] for key, row in rows.items()}
        more = [{"task_number": first[key["draft"], key["number"]]} for key in keys]
        met = self._meet(connection, annotation_rows, keys, [said[k["draft"], k["number"]] for k in keys], more)
        states, again = [], set()
        for (draft, number, *_), row in rows.items():
            place = met[self._project_id, draft, number]
            if place.erased_until is not None and row["created_at"] <= place.erased_until:
                continue
            if place.erased_at is not None:
                again.add(place.id)
            states.append({"annotation_id": place.id, **{name: row[name] for name in _STATE}})
        _unmark(connection, annotation_rows, sorted(again))
        key = ("annotation_id", "updated_at", "digest", "task_number")
        added = self._add(connection, annotation_rows, corrections, key, states)
        for number in sorted(self._complete):
            if self._erased[number] is not None:
                self._bury_others(connection, number)
        return added

    def _on_what_is_there(self, row: dict[str, Any]) -> bool:
        until = self._erased[row["task_number"]]
        return until is not None and (until == 0 or row["created_at"] > until)

    def _meet(
        self,
        connection: Connection,
        table: Table,
        keys: list[dict[str, Any]],
        said: list[int],
        more: list[dict[str, Any]] | None = None,
    ) -> dict[tuple[Any, ...], Row[Any]]:
        """Rows of tasks or annotations, made if need be and locked until the end: key -> id and times of erasure."""
        if not keys:
            return {}
        extra = more or [{}] * len(keys)
        rows = [
            {**key, **columns, "seen_at": self._sighting(said_at)[0], "deleted_at": NEVER}
            for key, said_at, columns in zip(keys, said, extra, strict=True)
        ]
        statement = self._database.insert(table)
        statement = statement.on_conflict_do_update(
            index_elements=list(keys[0]), set_={"seen_at": later(table.c.seen_at, statement.excluded.seen_at)}
        ).returning(table.c.id, table.c.erased_at, table.c.erased_until, *(table.c[name] for name in keys[0]))
        return {tuple(row[3:]): row for row in connection.execute(statement, rows)}

    def _add(
        self, connection: Connection, owners: Table, versions: Table, key: Sequence[str], rows: list[dict[str, Any]]
    ) -> int:
        """Insert states, then let each owner's head be the newest of its states; how many were not there."""
        if not rows:
            return 0
        owner = key[0]
        stamped = [{**row, "seen_at": self._seen, "stored_at": self._stored_at} for row in rows]
        statement = self._database.insert(versions).on_conflict_do_nothing()
        made = connection.execute(statement.returning(*(versions.c[name] for name in key)), stamped).all()
        added = {tuple(row) for row in made}
        if self._seen:
            here = [versions.c[name] == bindparam(f"its_{name}") for name in key]
            reread = update(versions).where(*here, versions.c.seen_at < self._seen).values(seen_at=self._seen)
            for row in rows:
                if tuple(row[name] for name in key) not in added:
                    connection.execute(reread, {f"its_{name}": row[name] for name in key})
        newest = (
            select(versions.c.id)
            .where(versions.c[owner] == owners.c.id, versions.c.document.is_not(None))
            .order_by(versions.c.updated_at.desc(), versions.c.seen_at.desc())
            .order_by(*(versions.c[name].desc() for name in key[2:]))
            .limit(1)
        )
        values: dict[str, Any] = {"head_id": newest.scalar_subquery()}
        if "task_number" in owners.c:
            values["task_number"] = newest.with_only_columns(versions.c.task_number).scalar_subquery()
        for part in chunks(sorted({row[owner] for row in rows})):
            connection.execute(update(owners).where(owners.c.id.in_(part)).values(values))
        return len(added)

    def _touch(self, connection: Connection, table: Table, rows: list[tuple[int, int]]) -> None:
        if self._seen:
            self._reread(connection, table, [row_id for row_id, _ in rows])
            return
        for row_id, said_at in sorted(rows):
            at, _ = self._sighting(said_at)
            connection.execute(update(table).where(table.c.id == row_id, table.c.seen_at < at).values(seen_at=at))

    def _reread(self, connection: Connection, table: Table, ids: Iterable[int]) -> None:
        """Record that a reading showed these rows."""
        for part in chunks(sorted(ids)) if self._seen else ():
            older = and_(table.c.id.in_(part), table.c.seen_at < self._seen)
            connection.execute(update(table).where(older).values(seen_at=self._seen))

    def _bury_others(self, connection: Connection, task_number: int) -> None:
        """What a complete task does not list was last seen before the platform was asked."""
        gone = and_(
            annotation_rows.c.project_id == self._project_id, annotation_rows.c.task_number == task_number,
            annotation_rows.c.seen_at < self._seen, annotation_rows.c.deleted_at < self._seen,
        )  # fmt: skip
        connection.execute(update(annotation_rows).where(gone).values(deleted_at=self._seen))


def _unmark(connection: Connection, table: Table, ids: list[int]) -> None:
    """The platform gave the numbers of what was erased to something new."""
    for part in chunks(ids):
        connection.execute(update(table).where(table.c.id.in_(part)).values(erased_at=None, erased_reason=None))
