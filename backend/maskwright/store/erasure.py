"""One erasure inside one transaction: which rows it reaches, which snapshots lose something, and the tombstones."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, insert, or_, select, update

from maskwright.store.erasure_learning import erase_from_rounds, erase_priorities, erase_suggestions
from maskwright.store.schema import (
    annotation_rows,
    corrections,
    proposals,
    snapshot_corrections,
    snapshot_erasures,
    snapshot_items,
    snapshots,
    task_versions,
    tasks,
)
from maskwright.store.schema_learning import suggestions
from maskwright.store.snapshot_rows import canonical
from maskwright.store.states import chunks, later
from maskwright.store.times import now

LOCKED = (tasks, task_versions, annotation_rows, corrections, proposals, snapshots, suggestions)
"""Nobody may write these while something is erased: what comes in meanwhile would not be reached. In writers' order."""

_NOBODY = "erased"


@dataclass(frozen=True)
class PurgeReport:
    """What was erased (or would be, in a rehearsal).

    Attributes:
        tasks: Tasks erased with everything on them.
        annotations: Annotations and drafts erased.
        corrections: Their states, history included.
        proposals: Model proposals erased.
        images: Rows of facts about images removed.
        snapshots: Names of the snapshots that lost something and are marked.
        copies: Other addresses of the same content, still there: erase by SHA-256 to reach them.
        pictures: Pictures of rounds that show what was erased, relative to the home folder; the caller deletes them.
        rewritten: Whether the database files were rewritten, so that no remnant is left in them.
    """

    tasks: int = 0
    annotations: int = 0
    corrections: int = 0
    proposals: int = 0
    images: int = 0
    snapshots: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    rewritten: bool = False


class Erasure:
    """One erasure inside one transaction, and what it came to.

    Args:
        connection: Of the transaction.
        reason: Kept with the tombstones and shown with the snapshots.
    """

    def __init__(self, connection: Connection, reason: str) -> None:
        self._connection, self._reason, self._at = connection, reason, now()
        self._counts: dict[str, int] = defaultdict(int)
        self._pictures: list[str] = []
        # Per snapshot: tasks that lost something, and how many states did.
        self._lost: dict[int, tuple[set[int], int]] = defaultdict(lambda: (set(), 0))

    def task(self, task_id: int, project_id: int, number: int) -> None:
        """Erase a task, everything that was ever drawn on it and everything proposed for it."""
        owners = select(annotation_rows.c.id).where(annotation_rows.c.project_id == project_id)
        # Also of annotations that belong to another task by now.
        drawn = and_(corrections.c.task_number == number, corrections.c.annotation_id.in_(owners))
        told = func.max(corrections.c.created_at), func.max(corrections.c.updated_at)
        times = [self._at, *self._connection.execute(select(*told).where(drawn)).one()]
        own = select(func.max(task_versions.c.updated_at)).where(task_versions.c.task_id == task_id)
        times.append(self._connection.execute(own).scalar())
        # The platform's clock may be ahead of ours: whatever was known of is not "created later".
        until = max(time for time in times if time is not None)
        self._states(drawn)
        here = and_(annotation_rows.c.project_id == project_id, annotation_rows.c.task_number == number)
        self._counts["annotations"] += self._mark(annotation_rows, here, until)
        versions = select(task_versions.c.id).where(task_versions.c.task_id == task_id)
        held = select(snapshot_items.c.snapshot_id).where(snapshot_items.c.task_version_id.in_(versions))
        held = held.where(snapshot_items.c.task_number == number)
        for snapshot_id in self._connection.execute(held).scalars():
            self._lost[snapshot_id][0].add(number)
        self._execute(update(task_versions).where(task_versions.c.task_id == task_id).values(document=None))
        made_for = and_(proposals.c.project_id == project_id, proposals.c.task_number == number)
        self._counts["proposals"] += self._execute(
            update(proposals).where(made_for, proposals.c.document.is_not(None)).values(document=None)
        )
        self._counts["tasks"] += self._mark(tasks, tasks.c.id == task_id, until)
        erase_priorities(self._connection, project_id, [number])
        erase_suggestions(self._connection, project_id, number)
        self._pictures += erase_from_rounds(self._connection, project_id, [number])

    def person(self, person: str, project_id: int | None) -> None:
        """Erase what a person made, and the name with it; what others made under the same numbers stays."""
        theirs = (
            select(corrections.c.annotation_id, func.max(corrections.c.created_at), func.max(corrections.c.updated_at))
            .join(annotation_rows, annotation_rows.c.id == corrections.c.annotation_id)
            .where(corrections.c.person == person)
            .group_by(corrections.c.annotation_id)
            .order_by(corrections.c.annotation_id)
        )
        if project_id is not None:
            theirs = theirs.where(annotation_rows.c.project_id == project_id)
        found = {row[0]: (row[1], row[2]) for row in self._connection.execute(theirs)}
        self._take_out_of_galleries(person, project_id)
        for part in chunks(found):
            query = select(annotation_rows.c.id, corrections.c.person, corrections.c.created_at)
            query = query.join(corrections, corrections.c.id == annotation_rows.c.head_id)
            heads = {row.id: row for row in self._connection.execute(query.where(annotation_rows.c.id.in_(part)))}
            own = [one for one in part if one not in heads or heads[one].person in (person, None)]
            made = corrections.c.person == person
            unnamed = and_(corrections.c.person.is_(None), corrections.c.annotation_id.in_(own))
            self._states(and_(corrections.c.annotation_id.in_(part), or_(made, unnamed)), person=None)
            for one in part:
                its = annotation_rows.c.id == one
                if one in own:
                    self._counts["annotations"] += self._mark(annotation_rows, its, max(self._at, *found[one]))
                elif found[one][0] < heads[one].created_at:
                    # The number was given to somebody else: only what was created before that stays out.
                    self._execute(update(annotation_rows).where(its).values(_until(annotation_rows, found[one][0])))
        self._forget(person, project_id)

    def again(self, project_id: int | None) -> None:
        """Erase what is left on tasks that were erased before: it came in while that went on."""
        versions = select(task_versions.c.id).where(
            task_versions.c.task_id == tasks.c.id, task_versions.c.document.is_not(None)
        )
        made = select(proposals.c.id).where(
            proposals.c.project_id == tasks.c.project_id, proposals.c.task_number == tasks.c.number,
            proposals.c.document.is_not(None),
        )  # fmt: skip
        drawn = (
            select(corrections.c.id)
            .join(annotation_rows, annotation_rows.c.id == corrections.c.annotation_id)
            .where(annotation_rows.c.project_id == tasks.c.project_id, corrections.c.task_number == tasks.c.number)
            .where(corrections.c.document.is_not(None))
        )
        left = or_(versions.exists(), made.exists(), drawn.exists())
        query = select(tasks.c.id, tasks.c.project_id, tasks.c.number).where(tasks.c.erased_at.is_not(None), left)
        if project_id is not None:
            query = query.where(tasks.c.project_id == project_id)
        for row in self._connection.execute(query).all():
            self.task(*row)

    def _take_out_of_galleries(self, person: str, project_id: int | None) -> None:
        drawn = select(annotation_rows.c.project_id, corrections.c.task_number).distinct()
        drawn = drawn.join(corrections, corrections.c.annotation_id == annotation_rows.c.id)
        drawn = drawn.where(corrections.c.person == person)
        if project_id is not None:
            drawn = drawn.where(annotation_rows.c.project_id == project_id)
        shown: dict[int, set[int]] = defaultdict(set)
        for project, number in self._connection.execute(drawn):
            shown[project].add(number)
        for project, numbers in shown.items():
            self._pictures += erase_from_rounds(self._connection, project, numbers)

    def _states(self, which: ColumnElement[bool], **more: Any) -> None:
        """Erase states of annotations; ``more`` are further columns to overwrite."""
        states = and_(which, corrections.c.document.is_not(None))
        frozen = (
            select(snapshot_corrections.c.snapshot_id, snapshot_corrections.c.task_number, func.count())
            .join(corrections, corrections.c.id == snapshot_corrections.c.correction_id)
            .where(states)
            .group_by(snapshot_corrections.c.snapshot_id, snapshot_corrections.c.task_number)
        )
        for snapshot_id, number, drawn in self._connection.execute(frozen).all():
            lost_tasks, lost_states = self._lost[snapshot_id]
            lost_tasks.add(number)
            self._lost[snapshot_id] = (lost_tasks, lost_states + drawn)
        self._counts["corrections"] += self._execute(
            update(corrections).where(states).values(document=None, lead_time=None)
        )
        self._execute(update(corrections).where(which).values(lead_time=None, **more))

    def _mark(self, table: Any, which: ColumnElement[bool], until: int) -> int:
        """Set tombstones; how many are new."""
        self._execute(update(table).where(which).values(_until(table, until)))
        tombstone = {"erased_at": self._at, "erased_reason": self._reason}
        return self._execute(update(table).where(which, table.c.erased_at.is_(None)).values(tombstone))

    def _forget(self, person: str, project_id: int | None) -> None:
        """Take the person's name out of what snapshots say of how they were chosen."""
        for row in self._connection.execute(_headers(project_id)).all():
            header = json.loads(row.header)
            without = {**header, "selection": _without(header["selection"], person)}
            if without != header:
                self._execute(update(snapshots).where(snapshots.c.id == row.id).values(header=canonical(without)))
                self._lost[row.id]  # it is marked, though it may hold nothing of that person

    def report(self, images: int = 0, copies: tuple[str, ...] = ()) -> PurgeReport:
        """Mark the snapshots that lost something and sum up."""
        rows = [
            {
                "snapshot_id": snapshot_id, "erased_at": self._at, "reason": self._reason,
                "tasks": len(lost_tasks), "corrections": lost_states,
            }
            for snapshot_id, (lost_tasks, lost_states) in sorted(self._lost.items())
        ]  # fmt: skip
        names: list[str] = []
        if rows:
            self._connection.execute(insert(snapshot_erasures), rows)
        for part in chunks(sorted(self._lost)):
            named = select(snapshots.c.name).where(snapshots.c.id.in_(part)).order_by(snapshots.c.id)
            names += self._connection.execute(named).scalars()
        tasks, drawn, states, made = (
            self._counts[name] for name in ("tasks", "annotations", "corrections", "proposals")
        )
        return PurgeReport(tasks, drawn, states, made, images, tuple(names), copies, tuple(self._pictures))

    def _execute(self, statement: Any) -> int:
        return int(self._connection.execute(statement).rowcount)


def _until(table: Any, moment: int) -> dict[str, Any]:
    return {"erased_until": later(func.coalesce(table.c.erased_until, 0), moment)}


def _headers(project_id: int | None) -> Select[Any]:
    query = select(snapshots.c.id, snapshots.c.header)
    return query if project_id is None else query.where(snapshots.c.project_id == project_id)


def _without(value: Any, person: str) -> Any:
    if isinstance(value, str):
        value = f"annotator:{_NOBODY}" if value == f"annotator:{person}" else value
        # A bare number may be anything; an address is that person's.
        return _NOBODY if value == person and not person.isdigit() else value
    if isinstance(value, dict):
        return {key: _without(one, person) for key, one in value.items()}
    return [_without(one, person) for one in value] if isinstance(value, list) else value
