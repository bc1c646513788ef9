"""Putting tasks, annotations and proposals into the store, in any order and any number of times.

Every state is kept; the newest by (``updated_at``, digest) is the one in force, so two states of one moment are told
apart the same way in every order of arrival. Whether a thing is there or deleted is decided by two times that only
grow: when it was last seen on the platform and when it was last found deleted; the later one wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, update

from maskwright.errors import InvalidInput
from maskwright.store.database import Database
from maskwright.store.documents import checked_number
from maskwright.store.records import Proposal, Stored, TaskState
from maskwright.store.schema import annotation_rows, tasks
from maskwright.store.states import StateBatch, later, require_project
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
                this is there again. Empty: the states' own times count, so a late word of an old state does not
                bring back what was deleted since.

        Returns:
            How many states were new. What was erased by ``maskwright purge`` stays erased and does not count.

        Raises:
            InvalidInput: If a document is not a JSON object, or a number, time or text is malformed.
            NotFound: If there is no such project.
        """
        if any(state.complete for state in states) and not seen_at:
            raise InvalidInput("complete tasks need the time at which the platform was asked (seen_at)")
        batch = StateBatch(project_id, states, to_microseconds(seen_at, "seen_at"), self.database.insert)
        return self.database.write(batch.store)

    def bury_task(self, project_id: int, number: int, at: str) -> None:
        """Record that the platform no longer has a task (and so nothing on it) at that time."""
        row = {"project_id": project_id, "number": checked_number(number, "task"), "deleted_at": _moment(at)}
        self._bury(tasks, row, ("project_id", "number"))

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
            require_project(connection, int(row["project_id"]))
            connection.execute(statement)

        self.database.write(work)


def _moment(text: str) -> int:
    if not text:
        raise InvalidInput("a time is needed: when the platform was found without it")
    return to_microseconds(text)
