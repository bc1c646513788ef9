"""Training rounds of projects: who runs which, how far it is, and how it ended.

A round belongs to whoever claimed it for as long as the lease is renewed; one whose lease ran out goes to the next that
asks. At most one round of a project is active, whoever queues: the database's index allows no second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, func, insert, or_, select

from maskwright.errors import InvalidInput
from maskwright.store.database import Database
from maskwright.store.documents import checked_text
from maskwright.store.round_rows import (
    LeaseLost,
    Round,
    RoundState,
    active_round,
    change,
    end,
    owned,
    round_of,
    round_row,
    to_json,
)
from maskwright.store.schema_learning import rounds
from maskwright.store.served import Served, append, in_force, lock_project
from maskwright.store.times import now

__all__ = ["MOST_ATTEMPTS", "LeaseLost", "Round", "RoundFields", "RoundState", "RoundStore"]

MOST_ATTEMPTS = 3
"""How often a round is begun before it counts as failed."""


class RoundFields(TypedDict, total=False):
    """What ``RoundStore.advance`` can fill in; only what is named is changed."""

    snapshot: str | None
    adapter: str | None
    classes: str | None
    metrics: Mapping[str, Any]
    served_before: int | None


class RoundStore:
    """Rounds of a store's projects. Safe for threads and processes.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(self, project_id: int, *, trigger: str, base: str, config: Mapping[str, Any]) -> tuple[Round, bool]:
        """Queue a round, unless one is active.

        Args:
            project_id: From ``CorrectionsStore.project``.
            trigger: Why: a word or two.
            base: Canonical URI of the base model.
            config: JSON values for the one who will run it.

        Returns:
            The active round, and whether it was made by this call.

        Raises:
            NotFound: If there is no such project.
            InvalidInput: If a text does not fit.
        """
        row = {
            "project_id": project_id, "state": RoundState.QUEUED, "trigger": checked_text(trigger, "trigger", 64),
            "base": checked_text(base, "base model", 1024), "config": to_json(config), "metrics": "{}", "reason": "",
            "progress": "{}", "attempts": 0, "lease_until": 0, "cancel_requested": False,
        }  # fmt: skip

        def work(connection: Connection) -> tuple[Round, bool]:
            lock_project(connection, project_id)
            there = active_round(connection, project_id)
            if there is not None:
                return there, False
            last = select(func.max(rounds.c.number)).where(rounds.c.project_id == project_id)
            number = (connection.execute(last).scalar() or 0) + 1
            made = insert(rounds).values(**row, number=number, created_at=now()).returning(*rounds.c)
            return round_row(connection.execute(made).one()), True

        # Most who ask find one already, and need not wait for the writers.
        there = self.active(project_id)
        return (there, False) if there is not None else self._database.write(work)

    def get(self, project_id: int, number: int) -> Round:
        """The round of that number.

        Raises:
            NotFound: If there is none.
        """
        with self._database.read() as connection:
            return round_of(connection, project_id, number)

    def active(self, project_id: int) -> Round | None:
        """The round of the project that has not ended, if there is one."""
        with self._database.read() as connection:
            return active_round(connection, project_id)

    def list(self, project_id: int | None = None, limit: int = 100) -> Sequence[Round]:
        """Rounds of one project or of all, newest first."""
        query = select(rounds).order_by(rounds.c.id.desc()).limit(limit)
        if project_id is not None:
            query = query.where(rounds.c.project_id == project_id)
        with self._database.read() as connection:
            return [round_row(row) for row in connection.execute(query)]

    def counts(self) -> tuple[int, int]:
        """How many rounds wait, and how many are running."""
        query = select(rounds.c.state, func.count()).where(rounds.c.finished_at.is_(None)).group_by(rounds.c.state)
        with self._database.read() as connection:
            found = {state: int(number) for state, number in connection.execute(query)}
        waiting = found.pop(RoundState.QUEUED, 0)
        return waiting, sum(found.values())

    def claim(self, owner: str, lease_s: float, *, project_id: int | None = None) -> Round | None:
        """Take the oldest round that waits or whose lease ran out.

        One that was claimed ``MOST_ATTEMPTS`` times ends as failed, one that was to be cancelled as cancelled.

        Args:
            owner: A name that no other process has.
            lease_s: Seconds for which it is the owner's unless ``renew`` is called.
            project_id: Only of this project.
        """
        checked_text(owner, "owner", 255)

        def work(connection: Connection) -> Round | None:
            moment = now()
            free = select(rounds).where(
                rounds.c.finished_at.is_(None), or_(rounds.c.state == RoundState.QUEUED, rounds.c.lease_until < moment)
            )
            if project_id is not None:
                free = free.where(rounds.c.project_id == project_id)
            free = free.order_by(rounds.c.id).limit(1).with_for_update(skip_locked=True)
            while (row := connection.execute(free).first()) is not None:
                if row.cancel_requested:
                    end(connection, row.id, RoundState.CANCELLED, "cancelled")
                elif row.attempts >= MOST_ATTEMPTS:
                    why = f"stopped {MOST_ATTEMPTS} times without an end: see the worker's log of what it was doing"
                    end(connection, row.id, RoundState.FAILED, why)
                else:
                    return change(
                        connection, row.id, state=RoundState.TRAINING, owner=owner, attempts=row.attempts + 1,
                        lease_until=moment + round(lease_s * 1e6), started_at=row.started_at or moment,
                    )  # fmt: skip
            return None

        return self._database.write(work)

    def renew(self, round_id: int, owner: str, lease_s: float, progress: Mapping[str, Any] | None = None) -> bool:
        """Keep a round for longer, and tell how far it is.

        Returns:
            Whether somebody asked to cancel it.

        Raises:
            LeaseLost: If it is no longer the owner's.
        """
        values: dict[str, Any] = {"lease_until": now() + round(lease_s * 1e6)}
        if progress is not None:
            values["progress"] = to_json(progress)

        def work(connection: Connection) -> bool:
            owned(connection, round_id, owner)
            return change(connection, round_id, **values).cancel_requested

        return self._database.write(work)

    def advance(self, round_id: int, owner: str, state: RoundState, **fields: Unpack[RoundFields]) -> Round:
        """Keep what a round has come to.

        Raises:
            LeaseLost: If it is no longer the owner's.
            ValueError: If the state is not an active one.
        """
        if not state.is_active:
            raise ValueError(f"a round ends by finish or promote, not by advancing to {state}")
        values: dict[str, Any] = {**fields}
        if "metrics" in values:
            values["metrics"] = to_json(values["metrics"])

        def work(connection: Connection) -> Round:
            owned(connection, round_id, owner)
            return change(connection, round_id, state=state, **values)

        return self._database.write(work)

    def release(self, round_id: int, owner: str) -> Round:
        """Give a round back unfinished, to be claimed by the next who asks; this was no attempt.

        Raises:
            LeaseLost: If it is no longer the owner's.
        """

        def work(connection: Connection) -> Round:
            owned(connection, round_id, owner)
            attempts = rounds.c.attempts - 1
            return change(connection, round_id, state=RoundState.QUEUED, owner=None, lease_until=0, attempts=attempts)

        return self._database.write(work)

    def release_all(self, owner: str) -> None:
        """``release`` every round that is still this owner's."""
        with self._database.read() as connection:
            own = select(rounds.c.id).where(rounds.c.owner == owner, rounds.c.finished_at.is_(None))
            found = connection.execute(own).scalars().all()
        for round_id in found:
            with contextlib.suppress(LeaseLost):
                self.release(round_id, owner)

    def finish(
        self,
        round_id: int,
        owner: str,
        state: RoundState,
        *,
        reason: str,
        verdict: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Round:
        """End a round in any way but promotion.

        Raises:
            LeaseLost: If it is no longer the owner's.
            ValueError: If the state is not such an end.
        """
        if state.is_active or state is RoundState.PROMOTED:
            raise ValueError(f"a round does not finish as {state}")

        def work(connection: Connection) -> Round:
            owned(connection, round_id, owner)
            return end(connection, round_id, state, reason, verdict, metrics)

        return self._database.write(work)

    def promote(
        self, round_id: int, owner: str, *, reason: str, verdict: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> tuple[Round, Served | None]:
        """Serve the candidate and end the round, both or neither.

        If another version than ``served_before`` is in force by now the round ends as failed, and if somebody asked to
        cancel it as cancelled; then nothing is served and None returned beside it.

        Raises:
            LeaseLost: If it is no longer the owner's.
        """

        def work(connection: Connection) -> tuple[Round, Served | None]:
            project_id = connection.execute(select(rounds.c.project_id).where(rounds.c.id == round_id)).scalar()
            if project_id is not None:
                lock_project(connection, project_id)
            own = owned(connection, round_id, owner)
            before = in_force(connection, own.project_id, own.base)
            told = verdict, metrics
            if own.cancel_requested:
                return end(connection, round_id, RoundState.CANCELLED, "cancelled", *told), None
            if (before.id if before else None) != own.served_before:
                why = "another version was promoted meanwhile; train again"
                return end(connection, round_id, RoundState.FAILED, why, *told), None
            served = append(
                connection, own.project_id, own.base, own.adapter, own.classes, round_number=own.number, reason=reason
            )
            return end(connection, round_id, RoundState.PROMOTED, reason, *told), served

        return self._database.write(work)

    def cancel(self, project_id: int, number: int) -> Round:
        """End a round that waits; ask the one who runs it to stop otherwise.

        Raises:
            NotFound: If there is no such round.
            InvalidInput: If it has ended.
        """

        def work(connection: Connection) -> Round:
            there = round_of(connection, project_id, number, lock=True)
            if not there.state.is_active:
                raise InvalidInput(f"round {number} has ended already: {there.state}")
            if there.state is RoundState.QUEUED:
                return end(connection, there.id, RoundState.CANCELLED, "cancelled")
            return change(connection, there.id, cancel_requested=True)

        return self._database.write(work)
