"""Putting tasks, annotations and proposals into the store, in any order and any number of times.

Every state is kept; the newest by (``updated_at``, ``seen_at``, digest) is the one in force. Platforms change things
without a new time (an annotation is moved to another task, a label renamed), so of two states of one moment the one
that was read last wins; events have no time of reading and are told apart the same way in every order of arrival.
Whether a thing is there or deleted is decided by two times that only grow: when it was last seen on the platform and
when it was last found deleted; the later one wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, func, select, update

from maskwright.errors import InvalidInput
from maskwright.store.database import Database
from maskwright.store.documents import checked_number
from maskwright.store.records import Proposal, Stored, TaskState
from maskwright.store.schema import annotation_rows, tasks
from maskwright.store.states import StateBatch, chunks, later, require_project
from maskwright.store.times import to_microseconds


class CorrectionsWriting:
    """The half of ``CorrectionsStore`` that writes.

    Args:
        database: Where to.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def put_task(self, project_id: int, number: int, data: bytes, updated_at: str = "", *, seen_at: str = "") -> bool:
        """Store a task's fields (JSON object); see ``put_tasks``. True if that state was new."""
        return self.put_tasks(project_id, [TaskState(number, data, updated_at)], seen_at=seen_at) > 0

    def put_annotation(self, project_id: int, task_number: int, stored: Stored, *, seen_at: str = "") -> bool:
        """Store a state of an annotation or draft; see ``put_tasks``. True if that state was new."""
        return self.put_tasks(project_id, [TaskState(task_number, None, annotations=(stored,))], seen_at=seen_at) > 0

    def put_proposal(
        self, project_id: int, task_number: int, number: int, model_version: str, document: bytes, updated_at: str = ""
    ) -> bool:
        """Store what a model had proposed; see ``put_tasks``. True if it was new."""
        proposal = Proposal(number, model_version, document, updated_at)
        return self.put_tasks(project_id, [TaskState(task_number, None, proposals=(proposal,))]) > 0

    def put_tasks(self, project_id: int, states: Sequence[TaskState], *, seen_at: str = "") -> int:
        """Store what the platform shows of some tasks, in one transaction. Safe to repeat, in any order.

        Args:
            project_id: From ``CorrectionsStore.project``.
            states: The tasks; what ``complete`` ones do not list is buried as of ``seen_at``.
            seen_at: ISO 8601 time just **before** the platform was asked (our clock). What was buried earlier than
                this is there again. Empty: the states' own times count (the present, if the platform's clock is
                ahead of ours), so a late word of an old state does not bring back what was deleted since.

        Returns:
            How many states were new. What was erased by ``maskwright purge`` stays erased and does not count, until
            the platform tells of something under the same number that was created since.

        Raises:
            InvalidInput: If a document is not a JSON object, or a number, time or text is malformed.
            NotFound: If there is no such project.
        """
        if any(state.complete for state in states) and not seen_at:
            raise InvalidInput("complete tasks need the time at which the platform was asked (seen_at)")
        batch = StateBatch(self.database, project_id, states, to_microseconds(seen_at, "seen_at"))
        return self.database.write(batch.store)

    def bury_task(self, project_id: int, number: int, at: str) -> None:
        """Record that the platform no longer has a task (and so nothing on it) at that time."""
        self.bury_tasks(project_id, [number], at)

    def bury_tasks(self, project_id: int, numbers: Iterable[int], at: str, *, known_only: bool = False) -> int:
        """``bury_task`` for many, in one transaction.

        Args:
            project_id: From ``CorrectionsStore.project``.
            numbers: Of the tasks.
            at: ISO 8601 time at which the platform was found without them (our clock).
            known_only: Leave out tasks that the store never heard of, rather than remembering that they are gone: for
                numbers that anybody may have made up.

        Returns:
            How many tasks were there before, as far as the store knew.
        """
        moment = _moment(at)
        gone = sorted({checked_number(number, "task") for number in numbers})

        def work(connection: Connection) -> int:
            require_project(self.database, connection, project_id)
            buried = 0
            for part in chunks(gone):
                these = and_(tasks.c.project_id == project_id, tasks.c.number.in_(part))
                known = select(tasks.c.id, tasks.c.number).where(these).order_by(tasks.c.number).with_for_update()
                strange = set(part) - {row.number for row in connection.execute(known)}
                there = and_(these, tasks.c.deleted_at < moment)
                shown = and_(there, tasks.c.seen_at > tasks.c.deleted_at, tasks.c.seen_at < moment)
                buried += connection.execute(select(func.count()).select_from(tasks).where(shown)).scalar_one()
                connection.execute(update(tasks).where(there).values(deleted_at=moment))
                rows = [
                    {"project_id": project_id, "number": number, "seen_at": 0, "deleted_at": moment}
                    for number in sorted(strange)
                ]
                if rows and not known_only:
                    statement = self.database.insert(tasks)
                    offered = later(tasks.c.deleted_at, statement.excluded.deleted_at)
                    connection.execute(
                        statement.on_conflict_do_update(
                            index_elements=["project_id", "number"], set_={"deleted_at": offered}
                        ),
                        rows,
                    )
            return buried

        return self.database.write(work)

    def bury_annotation(self, project_id: int, number: int, at: str, *, draft: bool = False) -> None:
        """Record that the platform no longer has an annotation (or draft) at that time; its states are kept."""
        row = {"project_id": project_id, "draft": draft, "number": checked_number(number, "annotation")}
        # Its task may never have been told; 0 is replaced as soon as a state of it comes.
        self._bury(
            annotation_rows, {**row, "task_number": 0, "deleted_at": _moment(at)}, ("project_id", "draft", "number")
        )

    def bury_unseen(self, project_id: int, since: str) -> tuple[int, int]:
        """After the whole project was read: bury what was not seen since the reading began.

        Args:
            project_id: From ``CorrectionsStore.project``.
            since: The ``seen_at`` of that reading's beginning; every task and annotation was put with it or later.

        Returns:
            How many tasks, and how many annotations and drafts, were buried now.
        """
        moment = _moment(since)

        def work(connection: Connection) -> tuple[int, int]:
            counts = []
            for table in (tasks, annotation_rows):
                gone = and_(
                    table.c.project_id == project_id, table.c.seen_at < moment, table.c.seen_at > table.c.deleted_at
                )
                counts.append(connection.execute(update(table).where(gone).values(deleted_at=moment)).rowcount)
            return counts[0], counts[1]

        return self.database.write(work)

    def _bury(self, table: Table, row: dict[str, Any], key: tuple[str, ...]) -> None:
        statement = self.database.insert(table).values(**row, seen_at=0)
        statement = statement.on_conflict_do_update(
            index_elements=list(key), set_={"deleted_at": later(table.c.deleted_at, statement.excluded.deleted_at)}
        )

        def work(connection: Connection) -> None:
            require_project(self.database, connection, int(row["project_id"]))
            connection.execute(statement)

        self.database.write(work)


def _moment(text: str) -> int:
    if not text:
        raise InvalidInput("a time is needed: when the platform was found without it")
    return to_microseconds(text)
