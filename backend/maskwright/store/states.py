"""Many states of tasks, annotations and proposals stored in one transaction.

What is in force already costs one row of a SELECT and one of an UPDATE (its sighting); only new states are inserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, get_args

from sqlalchemy import ColumnElement, Connection, Table, and_, case, select, update

from maskwright.annotated import AnnotationKind
from maskwright.errors import InvalidInput, NotFound
from maskwright.store.documents import checked_number, checked_text, pack
from maskwright.store.records import Proposal, Stored, TaskState
from maskwright.store.schema import NEVER, annotation_rows, corrections, projects, proposals, task_versions, tasks
from maskwright.store.times import now, to_microseconds

T = TypeVar("T")
_KINDS = get_args(AnnotationKind)
_CHUNK = 400
_VERSION = ("updated_at", "digest", "nbytes", "document")
_STATE = (
    "task_number", "kind", "person", "created_at", "lead_time", "proposal_number", "model_version", *_VERSION
)  # fmt: skip


def later(kept: ColumnElement[int], offered: Any) -> ColumnElement[int]:
    """The greater of two times, in SQL of both dialects."""
    return case((kept >= offered, kept), else_=offered)


def require_project(connection: Connection, project_id: int) -> None:
    """Raise NotFound unless the store has that project."""
    if connection.execute(select(projects.c.id).where(projects.c.id == project_id)).first() is None:
        raise NotFound(f"the store has no project whose own number is {project_id}")


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
        project_id: The store's number of the project.
        states: What to store.
        seen: When the platform was asked, in microseconds; 0 if that is not known.
        insert: Makes the INSERT of the database's dialect.

    Raises:
        InvalidInput: If a document, number, time or text is malformed.
    """

    def __init__(self, project_id: int, states: Sequence[TaskState], seen: int, insert: Callable[[Table], Any]) -> None:
        self._project_id, self._seen, self._insert = project_id, seen, insert
        # One order for all writers: two that hold each other's rows would have to be broken up.
        ordered = sorted(states, key=lambda state: checked_number(state.number, "task"))
        self._tasks = [_task_row(state) for state in ordered]
        self._annotations = [_correction_row(state.number, one) for state in ordered for one in state.annotations]
        self._annotations.sort(key=lambda row: (row["draft"], row["number"], row["updated_at"]))
        self._proposals = [_proposal_row(project_id, state.number, one) for state in ordered for one in state.proposals]
        self._complete = {state.number for state in ordered if state.complete}
        self._said: dict[int, int] = dict.fromkeys((row["number"] for row in self._tasks), 0)
        for row in self._tasks:
            self._said[row["number"]] = max(self._said[row["number"]], row["updated_at"])
        for row in self._annotations:
            self._said[row["task_number"]] = max(self._said[row["task_number"]], row["said_at"])

    def store(self, connection: Connection) -> int:
        """Store everything inside the caller's transaction; how many states were new."""
        require_project(connection, self._project_id)
        self._stored_at = now()
        erased: set[int] = set()
        added = self._store_tasks(connection, erased)
        added += self._store_annotations(connection, erased)
        rows = [{**row, "stored_at": self._stored_at} for row in self._proposals if row["task_number"] not in erased]
        if rows:
            statement = self._insert(proposals).on_conflict_do_nothing().returning(proposals.c.id)
            added += len(connection.execute(statement, rows).all())
        return added

    def _store_tasks(self, connection: Connection, erased: set[int]) -> int:
        known: dict[int, Any] = {}
        for part in chunks(sorted(self._said)):
            query = (
                select(
                    tasks.c.id, tasks.c.number, tasks.c.erased_at, task_versions.c.updated_at, task_versions.c.digest
                )
                .outerjoin(task_versions, task_versions.c.id == tasks.c.head_id)
                .where(tasks.c.project_id == self._project_id, tasks.c.number.in_(part))
            )
            known.update((row.number, row) for row in connection.execute(query))
        erased.update(number for number, row in known.items() if row.erased_at is not None)
        self._touch(connection, tasks, [(row.id, self._said[number]) for number, row in known.items()])
        fresh = {number: said for number, said in self._said.items() if number not in known}
        rows = []
        for row in self._tasks:
            head = known.get(row["number"])
            same = head is not None and (head.updated_at, head.digest) == (row["updated_at"], row.get("digest"))
            if row["document"] is not None and not same and row["number"] not in erased:
                fresh[row["number"]] = self._said[row["number"]]
                rows.append(row)
        keys = [{"project_id": self._project_id, "number": number} for number in sorted(fresh)]
        met = self._meet(connection, tasks, keys, [fresh[key["number"]] for key in keys])
        erased.update(key[-1] for key, (_, erased_at) in met.items() if erased_at is not None)
        versions = [
            {"task_id": met[self._project_id, row["number"]][0], **{name: row[name] for name in _VERSION}}
            for row in rows if row["number"] not in erased
        ]  # fmt: skip
        return self._add(connection, tasks, task_versions, "task_id", versions)

    def _store_annotations(self, connection: Connection, erased: set[int]) -> int:
        known: dict[tuple[bool, int], Any] = {}
        for part in chunks(sorted({row["number"] for row in self._annotations})):
            query = (
                select(
                    annotation_rows.c.id, annotation_rows.c.draft, annotation_rows.c.number, corrections.c.task_number,
                    corrections.c.updated_at, corrections.c.digest,
                )
                .join(corrections, corrections.c.id == annotation_rows.c.head_id)
                .where(annotation_rows.c.project_id == self._project_id, annotation_rows.c.number.in_(part))
            )  # fmt: skip
            known.update(((bool(row.draft), row.number), row) for row in connection.execute(query))
        same, rows = [], {}
        for row in self._annotations:
            if row["task_number"] in erased:
                continue
            head = known.get((row["draft"], row["number"]))
            state = (row["task_number"], row["updated_at"], row["digest"])
            if head is not None and (head.task_number, head.updated_at, head.digest) == state:
                same.append((head.id, row["said_at"]))
            else:
                rows[row["draft"], row["number"], row["updated_at"], row["digest"]] = row
        self._touch(connection, annotation_rows, same)
        said = {key[:2]: row["said_at"] for key, row in rows.items()}  # the last state of each is its latest
        names = ("project_id", "draft", "number")
        keys = [dict(zip(names, (self._project_id, *key), strict=True)) for key in sorted(said)]
        first = {key[:2]: row["task_number"] for key, row in rows.items()}
        more = [{"task_number": first[key["draft"], key["number"]]} for key in keys]
        met = self._meet(connection, annotation_rows, keys, [said[k["draft"], k["number"]] for k in keys], more)
        states = []
        for (draft, number, _, _), row in rows.items():
            annotation_id, erased_at = met[self._project_id, draft, number]
            if erased_at is None:
                states.append({"annotation_id": annotation_id, **{name: row[name] for name in _STATE}})
        added = self._add(connection, annotation_rows, corrections, "annotation_id", states)
        for number in sorted(self._complete - erased):
            self._bury_others(connection, number)
        return added

    def _meet(
        self,
        connection: Connection,
        table: Table,
        keys: list[dict[str, Any]],
        said: list[int],
        more: list[dict[str, Any]] | None = None,
    ) -> dict[tuple[Any, ...], tuple[int, int | None]]:
        """Rows of tasks or annotations, made if need be and locked until the end: key -> id and time of erasure."""
        if not keys:
            return {}
        extra = more or [{}] * len(keys)
        rows = [
            {**key, **columns, "seen_at": self._seen or said_at, "deleted_at": NEVER}
            for key, said_at, columns in zip(keys, said, extra, strict=True)
        ]
        statement = self._insert(table)
        statement = statement.on_conflict_do_update(
            index_elements=list(keys[0]), set_={"seen_at": later(table.c.seen_at, statement.excluded.seen_at)}
        ).returning(table.c.id, table.c.erased_at, *(table.c[name] for name in keys[0]))
        return {tuple(row[2:]): (row.id, row.erased_at) for row in connection.execute(statement, rows)}

    def _add(
        self, connection: Connection, owners: Table, versions: Table, owner: str, rows: list[dict[str, Any]]
    ) -> int:
        """Insert states, then let each owner's head be the newest of its states; how many were not there."""
        if not rows:
            return 0
        stamped = [{**row, "stored_at": self._stored_at} for row in rows]
        statement = self._insert(versions).on_conflict_do_nothing().returning(versions.c.id)
        added = len(connection.execute(statement, stamped).all())
        newest = (
            select(versions.c.id)
            .where(versions.c[owner] == owners.c.id)
            .order_by(versions.c.updated_at.desc(), versions.c.digest.desc())
            .limit(1)
        )
        values: dict[str, Any] = {"head_id": newest.scalar_subquery()}
        if "task_number" in owners.c:
            values["task_number"] = newest.with_only_columns(versions.c.task_number).scalar_subquery()
        for part in chunks(sorted({row[owner] for row in rows})):
            connection.execute(update(owners).where(owners.c.id.in_(part)).values(values))
        return added

    def _touch(self, connection: Connection, table: Table, rows: list[tuple[int, int]]) -> None:
        if self._seen:
            for part in chunks(sorted(row_id for row_id, _ in rows)):
                older = and_(table.c.id.in_(part), table.c.seen_at < self._seen)
                connection.execute(update(table).where(older).values(seen_at=self._seen))
            return
        for row_id, said_at in sorted(rows):
            older = and_(table.c.id == row_id, table.c.seen_at < said_at)
            connection.execute(update(table).where(older).values(seen_at=said_at))

    def _bury_others(self, connection: Connection, task_number: int) -> None:
        """What a complete task does not list was last seen before the platform was asked."""
        gone = and_(
            annotation_rows.c.project_id == self._project_id, annotation_rows.c.task_number == task_number,
            annotation_rows.c.seen_at < self._seen, annotation_rows.c.deleted_at < self._seen,
        )  # fmt: skip
        connection.execute(update(annotation_rows).where(gone).values(deleted_at=self._seen))


def _task_row(state: TaskState) -> dict[str, Any]:
    where = f"task {state.number}"
    row: dict[str, Any] = {"number": state.number, "updated_at": to_microseconds(state.updated_at, f"{where}: time")}
    if state.data is None:
        return {**row, "document": None}
    packed = pack(state.data, f"{where}: data")
    return {**row, "digest": packed.digest, "nbytes": packed.nbytes, "document": packed.stream}


def _correction_row(task_number: int, stored: Stored) -> dict[str, Any]:
    where = f"task {task_number}: annotation {stored.number}"
    if stored.kind not in _KINDS:
        raise InvalidInput(f"{where}: kind {stored.kind!r} is none of {', '.join(_KINDS)}")
    packed = pack(stored.document, where)
    created = to_microseconds(stored.created_at, f"{where}: time of creation")
    updated = to_microseconds(stored.updated_at, f"{where}: time of update")
    return {
        "draft": stored.kind == "draft",
        "number": checked_number(stored.number, where),
        "said_at": max(created, updated),
        "task_number": task_number,
        "kind": stored.kind,
        "person": None if stored.person is None else checked_text(stored.person, f"{where}: person", 1000),
        "created_at": created,
        "updated_at": updated,
        "lead_time": None if stored.lead_time is None else float(stored.lead_time),
        "proposal_number": stored.proposal_number,
        "model_version": None if stored.model_version is None else checked_text(stored.model_version, where, 10_000),
        "digest": packed.digest,
        "nbytes": packed.nbytes,
        "document": packed.stream,
    }


def _proposal_row(project_id: int, task_number: int, proposal: Proposal) -> dict[str, Any]:
    where = f"task {task_number}: prediction {proposal.number}"
    packed = pack(proposal.document, where)
    return {
        "project_id": project_id,
        "task_number": task_number,
        "number": checked_number(proposal.number, where),
        "updated_at": to_microseconds(proposal.updated_at, where),
        "model_version": checked_text(proposal.model_version, where, 10_000),
        "digest": packed.digest,
        "nbytes": packed.nbytes,
        "document": packed.stream,
    }
