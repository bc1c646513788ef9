"""How much the assistant would learn from each task of a project, and what that was worked out from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import ArrayLike
from sqlalchemy import Connection, delete, select

from maskwright.errors import InvalidInput
from maskwright.store.database import Database
from maskwright.store.schema_learning import priorities
from maskwright.store.states import chunks
from maskwright.store.times import now, to_text

_REPLACED = ("score", "signals", "feature", "effort", "model_version", "updated_at")


@dataclass(frozen=True)
class Priority:
    """The place of one task in its project's queue.

    Attributes:
        task_number: The platform's number of the task.
        score: The lowest is wanted next; None comes before all.
        signals: What the score was worked out from: name -> value; values that are not finite are not kept.
        feature: (d,) the image's embedding, pooled, or None; kept as float32, and read as an array of it: a queue of a
            hundred thousand tasks is in memory at once.
        effort: What the correction is expected to cost, as JSON values, or None.
        model_version: What worked it out.
        updated_at: ISO 8601; written by the store.
    """

    task_number: int
    score: float | None
    signals: dict[str, float] = field(default_factory=dict)
    feature: ArrayLike | None = field(default=None, compare=False)
    effort: dict[str, Any] | None = None
    model_version: str = ""
    updated_at: str = ""


class PriorityStore:
    """Priorities of a store's projects.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, project_id: int, rows: Sequence[Priority]) -> None:
        """Keep these, each in place of what was kept of its task.

        Raises:
            InvalidInput: If a score is not finite.
        """
        if not rows:
            return
        statement = self._database.insert(priorities)
        statement = statement.on_conflict_do_update(
            index_elements=["project_id", "task_number"],
            set_={name: statement.excluded[name] for name in _REPLACED},
        )
        values = [_row(project_id, one) for one in sorted(rows, key=lambda one: one.task_number)]

        def work(connection: Connection) -> None:
            connection.execute(statement, values)

        self._database.write(work)

    def list(self, project_id: int, limit: int | None = None, offset: int = 0) -> Sequence[Priority]:
        """Priorities in the order of the queue: None first, then the lowest score; equal ones by task number."""
        query = select(priorities).where(priorities.c.project_id == project_id)
        query = query.order_by(priorities.c.score.asc().nulls_first(), priorities.c.task_number)
        with self._database.read() as connection:
            return [_priority(row) for row in connection.execute(query.limit(limit).offset(offset))]

    def forget(self, project_id: int, task_numbers: Iterable[int]) -> None:
        """Drop what is kept of these tasks."""
        numbers = sorted(task_numbers)

        def work(connection: Connection) -> None:
            for part in chunks(numbers):
                here = priorities.c.project_id == project_id, priorities.c.task_number.in_(part)
                connection.execute(delete(priorities).where(*here))

        self._database.write(work)


def _row(project_id: int, one: Priority) -> dict[str, Any]:
    if one.score is not None and not math.isfinite(one.score):
        raise InvalidInput(f"priority of task {one.task_number}: {one.score} is not a finite number")
    return {
        "project_id": project_id,
        "task_number": one.task_number,
        "score": one.score,
        "signals": orjson.dumps({name: value for name, value in one.signals.items() if math.isfinite(value)}).decode(),
        "feature": None if one.feature is None else np.asarray(one.feature, "<f4").tobytes(),
        "effort": None if one.effort is None else orjson.dumps(one.effort).decode(),
        "model_version": one.model_version,
        "updated_at": now(),
    }


def _priority(row: Any) -> Priority:
    return Priority(
        task_number=row.task_number,
        score=row.score,
        signals=orjson.loads(row.signals),
        feature=None if row.feature is None else np.frombuffer(row.feature, "<f4"),
        effort=None if row.effort is None else orjson.loads(row.effort),
        model_version=row.model_version,
        updated_at=to_text(row.updated_at),
    )
