"""Rows of training rounds: what they say, and the changes that ``RoundStore`` puts together in its transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import Connection, select, update

from maskwright.errors import MaskwrightError, NotFound
from maskwright.store.schema_learning import rounds
from maskwright.store.times import now, to_text

_LONGEST_REASON = 10_000


class RoundState(StrEnum):
    """Where a round is, or how it ended."""

    QUEUED = "queued"
    TRAINING = "training"
    EVALUATING = "evaluating"
    PROMOTED = "promoted"
    REFUSED = "refused"
    UNDECIDED = "not enough data"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self in (RoundState.QUEUED, RoundState.TRAINING, RoundState.EVALUATING)


class LeaseLost(MaskwrightError):
    """The round is somebody else's by now, or has ended: stop working on it and change nothing."""

    status = 409


@dataclass(frozen=True)
class Round:
    """A round of a project.

    Attributes:
        id: The store's own number.
        project_id: From ``CorrectionsStore.project``.
        number: From 1 in its project.
        state: Where it is.
        trigger: Why it was queued.
        base: Canonical URI of the base model.
        config: JSON values that it was queued with.
        snapshot: Name of the frozen corrections that it learns from, once there.
        served_before: Id of the version that it is compared with; None: the base alone.
        adapter: The candidate's adapter, once there.
        classes: The candidate's class head, once there.
        metrics: The report; parts may be missing until the end.
        verdict: What the gate said, if it was asked.
        reason: Why it ended as it did, or empty.
        progress: How far it is.
        attempts: How often it was claimed and not given back.
        owner: Who runs it, or ran it last.
        lease_until: When it may be taken over; ISO 8601, empty if nobody runs it.
        cancel_requested: Whether somebody asked the one who runs it to stop.
        created_at, started_at, finished_at: ISO 8601, empty for not yet.
    """

    id: int
    project_id: int
    number: int
    state: RoundState
    trigger: str
    base: str
    config: dict[str, Any]
    snapshot: str | None
    served_before: int | None
    adapter: str | None
    classes: str | None
    metrics: dict[str, Any]
    verdict: dict[str, Any] | None
    reason: str
    progress: dict[str, Any]
    attempts: int
    owner: str | None
    lease_until: str
    cancel_requested: bool
    created_at: str
    started_at: str
    finished_at: str


def round_of(connection: Connection, project_id: int, number: int, lock: bool = False) -> Round:
    """The round of that number.

    Raises:
        NotFound: If there is none.
    """
    query = select(rounds).where(rounds.c.project_id == project_id, rounds.c.number == number)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(f"the project has no round {number}; maskwright rounds list shows those there are")
    return round_row(row)


def active_round(connection: Connection, project_id: int) -> Round | None:
    """The round of the project that has not ended, if there is one."""
    query = select(rounds).where(rounds.c.project_id == project_id, rounds.c.finished_at.is_(None))
    row = connection.execute(query).first()
    return None if row is None else round_row(row)


def owned(connection: Connection, round_id: int, owner: str) -> Round:
    """The round, locked until the transaction ends.

    Raises:
        LeaseLost: If it is no longer the owner's.
    """
    own = rounds.c.id == round_id, rounds.c.owner == owner, rounds.c.finished_at.is_(None)
    row = connection.execute(select(rounds).where(*own).with_for_update()).first()
    if row is None:
        raise LeaseLost(f"round with the store's number {round_id}: taken over by another worker, or ended")
    return round_row(row)


def change(connection: Connection, round_id: int, **values: Any) -> Round:
    """Change these columns."""
    statement = update(rounds).where(rounds.c.id == round_id).values(**values).returning(*rounds.c)
    return round_row(connection.execute(statement).one())


def end(
    connection: Connection,
    round_id: int,
    state: RoundState,
    reason: str,
    verdict: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Round:
    """Bring a round to its end."""
    values: dict[str, Any] = {"state": state, "lease_until": 0, "finished_at": now()}
    # Reasons quote errors: whatever they hold, the round must come to its end.
    values["reason"] = reason.encode("utf-8", "replace").decode().replace("\0", "")[:_LONGEST_REASON]
    if verdict is not None:
        values["verdict"] = to_json(verdict)
    if metrics is not None:
        values["metrics"] = to_json(metrics)
    return change(connection, round_id, **values)


def to_json(value: Mapping[str, Any]) -> str:
    """As it lies in a column; numbers that are not finite become null."""
    return orjson.dumps(value).decode()


def round_row(row: Any) -> Round:
    """A row of the table as what it says."""
    return Round(
        id=row.id, project_id=row.project_id, number=row.number, state=RoundState(row.state), trigger=row.trigger,
        base=row.base, config=orjson.loads(row.config), snapshot=row.snapshot, served_before=row.served_before,
        adapter=row.adapter, classes=row.classes, metrics=orjson.loads(row.metrics),
        verdict=None if row.verdict is None else orjson.loads(row.verdict), reason=row.reason,
        progress=orjson.loads(row.progress), attempts=row.attempts, owner=row.owner,
        lease_until=to_text(row.lease_until), cancel_requested=row.cancel_requested,
        created_at=to_text(row.created_at), started_at=to_text(row.started_at), finished_at=to_text(row.finished_at),
    )  # fmt: skip
