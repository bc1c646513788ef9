"""The classes that were suggested of each task's image, whichever prediction of it was the last.

Suggestions are JSON here: what they mean is told by ``maskwright.assist.suggestion.records``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, delete, exists, func, select

from maskwright.errors import TooLarge
from maskwright.store.database import Database
from maskwright.store.documents import checked_number, checked_text
from maskwright.store.schema import tasks
from maskwright.store.schema_learning import suggestions
from maskwright.store.states import require_project
from maskwright.store.times import now, to_text

MOST_UNKNOWN = 2_000
"""Tasks of a project that the store has not heard of yet and keeps suggestions of, the newest: anybody may name one."""
MOST_BYTES = 250_000
"""Of one task's suggestions: thousands of times what a usual one takes would fill a disk."""
_PAGE = 500


@dataclass(frozen=True)
class Suggested:
    """What was suggested of one task's image.

    Attributes:
        task_number: The platform's number of the task.
        model_version: Of the prediction.
        support_version: Of the models that measured how far pixels support each class.
        suggestions: JSON, one object for each class.
        problems: What failed on the way, in sentences.
        created_at: ISO 8601.
    """

    task_number: int
    model_version: str
    support_version: str
    suggestions: list[Any]
    problems: list[Any]
    created_at: str


@dataclass(frozen=True)
class SuggestedState:
    """What tells whether a project's suggestions have changed: how many tasks have some, and of what the last is."""

    tasks: int
    newest: str
    support_version: str


class Suggestions:
    """Suggestions of a store's projects.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        project_id: int,
        task_number: int,
        model_version: str,
        suggested: Sequence[Mapping[str, Any]],
        problems: Sequence[str] = (),
        *,
        support_version: str = "",
    ) -> None:
        """Keep what a prediction suggested, in place of what an earlier one of that task did.

        Of a task that was erased nothing is kept; of tasks that the store does not know yet, only the newest
        ``MOST_UNKNOWN`` are.

        Args:
            project_id: From ``CorrectionsStore.project``.
            task_number: The platform's number of the task.
            model_version: Of the prediction.
            suggested: One JSON object for each class, of ``suggestions_to_json``.
            problems: Why a stage gave nothing.
            support_version: Of the models that measured the support; see ``maskwright.assist.suggestion.learnt``.

        Raises:
            InvalidInput: If a number or text is malformed.
            TooLarge: If all of it takes more than ``MOST_BYTES``.
            NotFound: If there is no such project.
        """
        document = orjson.dumps({"suggestions": list(suggested), "problems": list(problems)})
        if len(document) > MOST_BYTES:
            raise TooLarge(f"the suggestions take {len(document)} bytes; at most {MOST_BYTES} are kept of a task")
        row = {
            "model_version": checked_text(model_version, "model version"),
            "support_version": checked_text(support_version, "support version"),
            "suggested": checked_text(document.decode(), "suggestions", MOST_BYTES),
            "created_at": now(),
        }
        key = {"project_id": project_id, "task_number": checked_number(task_number, "task")}
        statement = self._database.insert(suggestions).values(**key, **row)
        statement = statement.on_conflict_do_update(index_elements=list(key), set_=row)
        here = suggestions.c.project_id == project_id, suggestions.c.task_number == task_number
        known = exists().where(
            tasks.c.project_id == suggestions.c.project_id, tasks.c.number == suggestions.c.task_number
        )
        unknown = suggestions.c.project_id == project_id, ~known
        newest_first = suggestions.c.created_at.desc(), suggestions.c.task_number.desc()
        too_many = select(suggestions.c.task_number).where(*unknown).order_by(*newest_first).offset(MOST_UNKNOWN)
        erased = exists().where(
            tasks.c.project_id == project_id, tasks.c.number == task_number, tasks.c.erased_at.is_not(None)
        )

        def work(connection: Connection) -> None:
            require_project(self._database, connection, project_id)
            connection.execute(statement)
            # Asked afterwards: an erasure that was under way has ended before that could be written.
            connection.execute(delete(suggestions).where(*here, erased))
            if connection.execute(select(suggestions.c.task_number).where(*here, ~known)).first() is not None:
                rest = suggestions.c.task_number.in_(too_many)
                connection.execute(delete(suggestions).where(suggestions.c.project_id == project_id, rest))

        self._database.write(work)

    def state(self, project_id: int) -> SuggestedState | None:
        """What is kept of a project in short; None for nothing."""
        here = suggestions.c.project_id == project_id
        last = select(suggestions.c.created_at, suggestions.c.support_version).where(here)
        last = last.order_by(suggestions.c.created_at.desc(), suggestions.c.task_number.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(last).first()
            count = connection.execute(select(func.count()).select_from(suggestions).where(here)).scalar_one()
        return None if row is None else SuggestedState(int(count), to_text(row.created_at), row.support_version)

    def list(self, project_id: int) -> Iterator[Suggested]:
        """Those of a project in the order of the tasks' numbers, a page at a time; not of tasks that are deleted."""
        query = (
            select(suggestions)
            .where(suggestions.c.project_id == project_id)
            .where(~exists().where(
                tasks.c.project_id == suggestions.c.project_id, tasks.c.number == suggestions.c.task_number,
                tasks.c.deleted_at >= tasks.c.seen_at,
            ))
            .order_by(suggestions.c.task_number)
            .limit(_PAGE)
        )  # fmt: skip
        after = -1
        while True:
            with self._database.read() as connection:
                rows = connection.execute(query.where(suggestions.c.task_number > after)).all()
            yield from map(_suggested, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1].task_number


def _suggested(row: Any) -> Suggested:
    document = orjson.loads(row.suggested)
    return Suggested(
        row.task_number, row.model_version, row.support_version, document["suggestions"], document["problems"],
        to_text(row.created_at),
    )  # fmt: skip
