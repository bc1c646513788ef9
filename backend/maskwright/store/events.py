"""Hints of the platforms, kept until somebody looked: durable, each once, bounded where anybody may send them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from maskwright.store.database import Database
from maskwright.store.documents import checked_number, checked_text
from maskwright.store.records import Event, PendingEvent
from maskwright.store.schema import events, projects
from maskwright.store.times import now, to_microseconds, to_text

_log = logging.getLogger(__name__)

MAX_NUMBERS = 2000
"""An event that names more annotations and tasks than this is kept without them: its project is then read whole."""


class EventHints:
    """The part of ``CorrectionsStore`` that keeps hints.

    Args:
        database: Where.
        max_unproven: How many events of senders that proved nothing may wait; beyond, the oldest are dropped and
            their projects marked as needing a full reading.
    """

    def __init__(self, database: Database, *, max_unproven: int = 10_000) -> None:
        self.database = database
        self._max_unproven = max_unproven

    def add_events(self, received: Sequence[Event]) -> int:
        """Keep events, on the disk when this returns; how many were not waiting already.

        Raises:
            InvalidInput: If a field is too long, a number out of range or a time malformed.
        """
        rows = [_row(event) for event in received]
        whole = {(event.platform, event.server, event.project) for event in received if _names_too_much(event)}

        def work(connection: Connection) -> int:
            added = 0
            for row in sorted(rows, key=lambda row: str(row["digest"])):
                statement = self.database.insert(events).values(**row)
                statement = statement.on_conflict_do_update(
                    index_elements=["digest"],
                    set_={
                        "deliveries": events.c.deliveries + 1,
                        "authenticated": or_(events.c.authenticated, statement.excluded.authenticated),
                    },
                ).returning(events.c.deliveries)
                added += connection.execute(statement).scalar_one() == 1
            self._ask_for_full_sync(connection, whole)
            if added and not all(row["authenticated"] for row in rows):
                self._drop_oldest(connection)
            return added

        return self.database.write(work)

    def pending_events(
        self, limit: int, *, after: int = 0, platform: str | None = None, server: str | None = None
    ) -> list[PendingEvent]:
        """Events that wait, oldest first, with ids above ``after``; of one platform or server if named.

        One that cannot be read (a damaged row) is dropped, and its project marked as needing a full reading.
        """
        query = select(events).order_by(events.c.id).limit(limit)
        for column, wanted in ((events.c.platform, platform), (events.c.server, server)):
            if wanted is not None:
                query = query.where(column == wanted)
        while True:
            with self.database.read() as connection:
                rows = connection.execute(query.where(events.c.id > after)).all()
            waiting, unreadable = [], []
            for row in rows:
                try:
                    waiting.append(_pending(row))
                except (ValueError, TypeError, OverflowError) as error:
                    _log.error("event %d cannot be read and is dropped: %s", row.id, error)
                    unreadable.append(row)
            if unreadable:
                self._drop(unreadable)
            if waiting or not rows:
                return waiting
            after = rows[-1].id

    def finish_events(self, done: Iterable[PendingEvent]) -> int:
        """Forget events that were looked into; one that came again meanwhile goes on waiting. How many went."""
        finished = sorted((event.id, event.deliveries) for event in done)

        def work(connection: Connection) -> int:
            gone = 0
            for event_id, deliveries in finished:
                same = and_(events.c.id == event_id, events.c.deliveries == deliveries)
                gone += connection.execute(delete(events).where(same)).rowcount
            return gone

        return self.database.write(work) if finished else 0

    def request_full_sync(self, project_id: int) -> None:
        """Mark a project as one of which hints may have been lost."""
        statement = update(projects).where(projects.c.id == project_id).values(full_sync_needed_at=now())
        self.database.write(lambda connection: connection.execute(statement))

    def mark_synced(self, project_id: int, started_at: str) -> None:
        """Record that the project was read whole by a reading that began then (ISO 8601).

        A loss of hints after that moment keeps the mark of ``needs_full_sync``.
        """
        moment = to_microseconds(started_at, "started_at")
        clear = and_(projects.c.id == project_id, projects.c.full_sync_needed_at <= moment)

        def work(connection: Connection) -> None:
            connection.execute(update(projects).where(clear).values(full_sync_needed_at=None))
            connection.execute(update(projects).where(projects.c.id == project_id).values(full_sync_at=moment))

        self.database.write(work)

    def _drop(self, rows: Sequence[Any]) -> None:
        def work(connection: Connection) -> None:
            connection.execute(delete(events).where(events.c.id.in_([row.id for row in rows])))
            self._ask_for_full_sync(connection, {(row.platform, row.server, row.project) for row in rows})

        self.database.write(work)

    def _drop_oldest(self, connection: Connection) -> None:
        unproven = events.c.authenticated.is_(False)
        waiting = connection.execute(select(func.count()).select_from(events).where(unproven)).scalar_one()
        excess = waiting - self._max_unproven
        if excess <= 0:
            return
        oldest = select(events.c.id).where(unproven).order_by(events.c.id).limit(excess)
        dropped = connection.execute(
            delete(events)
            .where(events.c.id.in_(oldest.scalar_subquery()))
            .returning(events.c.platform, events.c.server, events.c.project)
        )
        self._ask_for_full_sync(connection, {tuple(row) for row in dropped})  # type: ignore[misc]

    def _ask_for_full_sync(self, connection: Connection, lost: set[tuple[str, str, int | None]]) -> None:
        # Only projects that are known: the others need a full reading anyway, and strangers must not make rows.
        for platform, server, number in sorted(lost, key=str):
            same = and_(projects.c.platform == platform, projects.c.server == server)
            if number is not None:
                same = and_(same, projects.c.number == number)
            connection.execute(update(projects).where(same).values(full_sync_needed_at=now()))


def _pending(row: Any) -> PendingEvent:
    event = Event(
        row.platform, row.server, row.action, row.project, numbers_in(row.annotations), numbers_in(row.tasks),
        to_text(row.updated_at), bool(row.authenticated),
    )  # fmt: skip
    return PendingEvent(row.id, row.deliveries, to_text(row.received_at), event)


def numbers_in(text: str) -> tuple[int, ...]:
    """Numbers of a JSON list.

    Raises:
        ValueError: If it is no such list.
    """
    found = json.loads(text)
    if not isinstance(found, list) or not all(type(one) is int and 0 <= one < 2**63 for one in found):
        raise ValueError("not a list of whole numbers")
    return tuple(found)


def _names_too_much(event: Event) -> bool:
    return len(event.annotations) + len(event.tasks) > MAX_NUMBERS


def _row(event: Event) -> dict[str, object]:
    where = f"event {event.action[:64]!r}"
    for what, number in (
        ("project", event.project),
        *(("annotation", one) for one in event.annotations),
        *(("task", one) for one in event.tasks),
    ):
        if number is not None:
            checked_number(number, f"{where}: {what}")
    kept: tuple[tuple[int, ...], tuple[int, ...]] = (event.annotations, event.tasks)
    if _names_too_much(event):
        kept = ((), ())
    return {
        "digest": event.digest,
        "platform": checked_text(event.platform, f"{where}: platform", 64),
        "server": checked_text(event.server, f"{where}: server", 512),
        "action": checked_text(event.action, f"{where}: action", 64),
        "project": event.project,
        "annotations": json.dumps(kept[0]),
        "tasks": json.dumps(kept[1]),
        "updated_at": to_microseconds(event.updated_at, f"{where}: time"),
        "authenticated": event.authenticated,
        "received_at": now(),
        "deliveries": 1,
    }
