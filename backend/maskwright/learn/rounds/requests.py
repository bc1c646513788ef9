"""When a round is due: asked for, after so many new corrections, or after some time; at most one per project."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.learn.rounds.workshop import MACHINE, Workshop
from maskwright.learn.settings import read_learning
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.reading import annotation_is_there, same_task, task_is_there
from maskwright.store.records import ProjectRow
from maskwright.store.rounds import Round
from maskwright.store.schema import annotation_rows, corrections, snapshot_corrections, snapshots, tasks
from maskwright.store.times import now, to_microseconds, to_text

WANTED = "training-wanted"
"""Note of a project: when somebody last asked for training."""
WISH_HOLDS_S = 3600.0
"""A wish that met nothing new to learn from is forgotten after so long: the corrections may still be on their way. One
that met something stands, however long the round before it or the next worker takes."""
WISH_DEBOUNCE_S = 5.0
"""With a wish open a round waits for no longer a pause than this: a person is looking at it."""
LONGEST_WAIT = 10
"""Work that never pauses puts a round off for no longer than so many times ``debounce_s``."""
_SECOND = 1_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """The corrections that the last round did not have.

    Attributes:
        count: Submitted annotations that are new or changed, the machine's own left out.
        oldest: When the first of them was stored; microseconds since 1970, 0 for none.
        newest: When the last was.
    """

    count: int
    oldest: int = 0
    newest: int = 0


def want_training(store: CorrectionsStore, project_id: int) -> None:
    """Remember that somebody asked for training; on the disk when this returns.

    A worker queues the round when it next looks, if there is anything new to learn from within the hour.
    """
    ProjectNotes(store.database).put(project_id, WANTED, {"at": to_text(now())})


def open_wish(store: CorrectionsStore, project_id: int, last: Round | None, fresh: Waiting, present: int) -> int:
    """When somebody asked for a round that is still owed, in microseconds since 1970; 0 for nobody.

    Args:
        store: The corrections.
        project_id: The store's own number of the project.
        last: The round that ended last.
        fresh: What is new since then.
        present: Microseconds since 1970.
    """
    note = ProjectNotes(store.database).get(project_id, WANTED) or {}
    wanted, met = to_microseconds(note.get("at", "")), fresh.oldest or present
    before = to_microseconds(last.created_at) if last is not None else 0
    return wanted if wanted > before and met < wanted + WISH_HOLDS_S * _SECOND else 0


def queue_round(workshop: Workshop, project: ProjectRow, *, trigger: str, force: bool = False) -> tuple[Round, bool]:
    """Queue a round now.

    Args:
        workshop: Tells base and settings.
        project: Of the store.
        trigger: Why, for the history.
        force: Also if there is nothing new since the last round.

    Returns:
        The round, and whether it is new: False for one that was active already.

    Raises:
        InvalidInput: If there is nothing new to learn from.
    """
    last = _last(workshop, project)
    active = workshop.rounds.active(project.id)
    if active is None and not force and not waiting(workshop.store, project.id, last).count:
        raise InvalidInput(
            f"project {project.number} has no submitted annotation that "
            + ("is new since its last round; " if last else "could be learnt from; ")
            + "label more images, or train all the same with --force"
        )
    learning = read_learning(workshop.notes, project.id)
    config = learning.model_dump(mode="json")
    return workshop.rounds.queue(project.id, trigger=trigger, base=workshop.base(project), config=config)


def queue_due_rounds(workshop: Workshop) -> list[Round]:
    """Queue what is due in every project; the rounds that are new. A project that cannot be read is logged."""
    found = []
    for project in workshop.store.projects():
        try:
            trigger = due(workshop, project)
            if trigger:
                made, is_new = queue_round(workshop, project, trigger=trigger)
                found += [made] if is_new else []
        except MaskwrightError as error:
            log.warning("project %d: whether a round is due cannot be told: %s", project.number, error)
    return found


def due(workshop: Workshop, project: ProjectRow, at: int | None = None) -> str:
    """Why a round is due, for the history; empty if none is.

    Args:
        workshop: Tells the settings.
        project: Of the store.
        at: The present in microseconds since 1970, or None for now.
    """
    present = now() if at is None else at
    return next((why for moment, why in _coming(workshop, project, present) if moment <= present), "")


def seconds_until_due(workshop: Workshop, at: int | None = None) -> float:
    """How long until a round of any project becomes due if nothing else is corrected; infinite if none ever does.

    What is due already does not count: ``queue_due_rounds`` has seen to it, or cannot.

    Args:
        workshop: Tells the settings.
        at: As for ``due``.
    """
    present = now() if at is None else at
    soonest = math.inf
    for project in workshop.store.projects():
        try:
            coming = [moment for moment, _ in _coming(workshop, project, present) if moment > present]
        except MaskwrightError:  # told when rounds were queued
            continue
        soonest = min([soonest, *coming])
    return (soonest - present) / _SECOND


def _coming(workshop: Workshop, project: ProjectRow, present: int) -> list[tuple[float, str]]:
    """(microseconds since 1970, why) of the rounds that come without another correction, wishes of people first.

    Args:
        workshop: Tells the settings.
        project: Of the store.
        present: Microseconds since 1970.
    """
    if workshop.rounds.active(project.id) is not None:
        return []
    learning, last = read_learning(workshop.notes, project.id), _last(workshop, project)
    fresh = waiting(workshop.store, project.id, last)
    if not fresh.count:
        return []

    def pause(seconds: float) -> float:
        return min(fresh.newest + seconds * _SECOND, fresh.oldest + LONGEST_WAIT * seconds * _SECOND)

    found: list[tuple[float, str]] = []
    if open_wish(workshop.store, project.id, last, fresh, present):
        found.append((pause(min(learning.debounce_s, WISH_DEBOUNCE_S)), "asked for"))
    if learning.corrections_per_round and fresh.count >= learning.corrections_per_round:
        found.append((pause(learning.debounce_s), f"{fresh.count} new corrections"))
    if learning.interval_s:
        since = to_microseconds(last.finished_at) if last is not None else fresh.oldest
        found.append((max(since + learning.interval_s * _SECOND, pause(learning.debounce_s)), "timer"))
    return found


def waiting(store: CorrectionsStore, project_id: int, last: Round | None) -> Waiting:
    """What people have submitted since a round; everything if there was none.

    Args:
        store: The corrections.
        project_id: The store's own number of the project.
        last: The round; one that died before it froze its corrections had those that were there when it was queued.
    """
    machine = {int(task) for task in ProjectNotes(store.database).get(project_id, MACHINE) or ()}
    query = (
        select(annotation_rows.c.task_number, corrections.c.stored_at, corrections.c.lead_time)
        .join(corrections, corrections.c.id == annotation_rows.c.head_id)
        .join(tasks, same_task)
        .where(annotation_rows.c.project_id == project_id, annotation_is_there, task_is_there)
        .where(corrections.c.kind == "submitted", corrections.c.document.is_not(None))
    )
    if last is not None:
        query = query.where(_not_in(last))
    with store.database.read() as connection:
        rows = connection.execute(query).all()
    times = [row.stored_at for row in rows if row.lead_time or row.task_number not in machine]
    return Waiting(len(times), min(times), max(times)) if times else Waiting(0)


def _not_in(last: Round) -> ColumnElement[bool]:
    if last.snapshot is None:
        return corrections.c.stored_at > to_microseconds(last.created_at)
    frozen = (
        select(snapshot_corrections.c.correction_id)
        .join(snapshots, snapshots.c.id == snapshot_corrections.c.snapshot_id)
        .where(snapshots.c.name == last.snapshot, snapshot_corrections.c.correction_id == corrections.c.id)
    )
    return ~frozen.exists()


def _last(workshop: Workshop, project: ProjectRow) -> Round | None:
    """The round that ended last."""
    return next((one for one in workshop.rounds.list(project.id, limit=2) if not one.state.is_active), None)
