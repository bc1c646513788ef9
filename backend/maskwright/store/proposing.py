"""Proposals (predictions) of tasks stored: every state is kept, and known to be there or gone like annotations are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, select, update

from maskwright.store.database import Database
from maskwright.store.schema import NEVER, proposals
from maskwright.store.times import now

_CHUNK = 400


def store_proposals(
    database: Database,
    connection: Connection,
    project_id: int,
    rows: Sequence[dict[str, Any]],
    whole: Collection[int],
    sighting: Callable[[int], tuple[int, int]],
) -> int:
    """Store states of proposals inside the caller's transaction, which holds the rows of their tasks.

    Args:
        database: Where to.
        connection: Of that transaction.
        project_id: The store's number of the project.
        rows: Of ``state_rows.proposal_row``.
        whole: Numbers of the tasks of which every proposal is among ``rows``: the others are buried.
        sighting: What the platform said of its time -> when it was seen, and when read (0: it was not read).

    Returns:
        How many states were new.
    """
    known: dict[tuple[int, ...], int] = {}
    numbers = sorted({row["task_number"] for row in rows})
    for part in _parts(numbers):
        query = select(proposals.c.id, proposals.c.task_number, proposals.c.number, proposals.c.updated_at)
        query = query.add_columns(proposals.c.digest).where(proposals.c.project_id == project_id)
        known.update((tuple(row[1:]), row.id) for row in connection.execute(query.where(_on(part))))
    fresh, stored_at = {}, now()
    for row in rows:
        seen_at, _ = sighting(row["updated_at"])
        key = tuple(row[name] for name in ("task_number", "number", "updated_at", "digest"))
        if key in known:
            older = and_(proposals.c.id == known[key], proposals.c.seen_at < seen_at)
            connection.execute(update(proposals).where(older).values(seen_at=seen_at))
        else:
            fresh[key] = {**row, "seen_at": seen_at, "deleted_at": NEVER, "stored_at": stored_at}
    added = 0
    if fresh:
        statement = database.insert(proposals).on_conflict_do_nothing().returning(proposals.c.id)
        added = len(connection.execute(statement, list(fresh.values())).all())
    for part in _parts(sorted(whole)):
        _, read_at = sighting(0)
        gone = and_(proposals.c.project_id == project_id, _on(part), proposals.c.seen_at < read_at)
        connection.execute(update(proposals).where(gone, proposals.c.deleted_at < read_at).values(deleted_at=read_at))
    return added


def _on(numbers: Iterable[int]) -> Any:
    return proposals.c.task_number.in_(list(numbers))


def _parts(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    return (numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK))
