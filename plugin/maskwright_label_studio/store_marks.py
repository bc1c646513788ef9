"""What the corrections store knows of a project's tasks, as far as it tells whether they must be read again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import and_, case, func, select, update

from maskwright.store.database import Database
from maskwright.store.records import TaskState
from maskwright.store.schema import annotation_rows, corrections, task_versions, tasks
from maskwright.store.states import chunks
from maskwright.store.times import to_microseconds
from maskwright_label_studio.sync_pages import TaskMark

_THERE = annotation_rows.c.seen_at > annotation_rows.c.deleted_at


@dataclass(frozen=True)
class KnownTask:
    """A task that the platform had when it was last read.

    Attributes:
        updated_at: Time of its last change in microseconds, 0 if it was never read whole.
        submitted: How many annotations it had.
        skipped: How many of these were skipped.
        erased_until: What was created until then (microseconds) was erased here and must not be read again; or None.
    """

    updated_at: int
    submitted: int
    skipped: int
    erased_until: int | None

    def is_erased(self, mark: TaskMark) -> bool:
        """Whether it must not be read again. What was created after the erasure only has the number of what was."""
        created_at = to_microseconds(mark.created_at, f"task {mark.number}: time of creation")
        return self.erased_until is not None and created_at <= self.erased_until

    def is_current(self, mark: TaskMark) -> bool:
        """Whether the platform shows the same."""
        updated_at = to_microseconds(mark.updated_at, f"task {mark.number}: time")
        same = (self.updated_at, self.submitted, self.skipped) == (updated_at, mark.submitted, mark.skipped)
        return same and self.erased_until is None


class StoreMarks:
    """Questions about one project.

    Args:
        database: Of the store.
        project_id: The store's number of the project.
    """

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project = project_id

    def known(self, after: int, last: int | None) -> dict[int, KnownTask]:
        """Tasks that are there with numbers above ``after``, up to ``last`` (None: all), by number."""
        between = and_(
            tasks.c.project_id == self._project, tasks.c.number > after, tasks.c.seen_at > tasks.c.deleted_at
        )
        of = annotation_rows.c.task_number > after
        if last is not None:
            between, of = and_(between, tasks.c.number <= last), and_(of, annotation_rows.c.task_number <= last)
        erased_until = case((tasks.c.erased_at.is_not(None), tasks.c.erased_until))
        query = (
            select(tasks.c.number, erased_until, func.coalesce(task_versions.c.updated_at, 0))
            .outerjoin(task_versions, task_versions.c.id == tasks.c.head_id)
            .where(between)
        )
        skipped = func.sum(case((corrections.c.kind == "skipped", 1), else_=0))
        counts = (
            select(annotation_rows.c.task_number, func.count(), skipped)
            .join(corrections, corrections.c.id == annotation_rows.c.head_id)
            .where(annotation_rows.c.project_id == self._project, annotation_rows.c.draft.is_(False), _THERE, of)
            .group_by(annotation_rows.c.task_number)
        )
        with self._database.read() as connection:
            counted = {number: (int(all_) - int(cut), int(cut)) for number, all_, cut in connection.execute(counts)}
            return {
                number: KnownTask(updated_at, *counted.get(number, (0, 0)), until)
                for number, until, updated_at in connection.execute(query)
            }

    def with_drafts(self) -> set[int]:
        """Numbers of the tasks that have drafts here."""
        query = select(annotation_rows.c.task_number).where(
            annotation_rows.c.project_id == self._project, annotation_rows.c.draft.is_(True), _THERE
        )
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def tasks_of(self, numbers: Collection[int]) -> set[int]:
        """Numbers of the tasks on which annotations of these numbers were seen last."""
        found: set[int] = set()
        with self._database.read() as connection:
            for part in chunks(sorted(numbers)):
                query = select(annotation_rows.c.task_number).where(
                    annotation_rows.c.project_id == self._project, annotation_rows.c.draft.is_(False),
                    annotation_rows.c.number.in_(part),
                )  # fmt: skip
                found.update(connection.execute(query).scalars())
        return found

    def name_versions(self, states: Collection[TaskState]) -> None:
        """Name the model version of what an event had brought before its proposal was known."""
        told = {(one.number, one.proposal_number): one.model_version for state in states for one in state.annotations}
        wanted = {key: version for key, version in told.items() if key[1] is not None and version is not None}
        if not wanted:
            return
        query = (
            select(corrections.c.id, annotation_rows.c.number, corrections.c.proposal_number)
            .join(annotation_rows, annotation_rows.c.id == corrections.c.annotation_id)
            .where(
                annotation_rows.c.project_id == self._project, annotation_rows.c.draft.is_(False),
                annotation_rows.c.number.in_(sorted({number for number, _ in wanted})),
                corrections.c.proposal_number.is_not(None), corrections.c.model_version.is_(None),
            )
        )  # fmt: skip
        with self._database.read() as connection:
            rows = [(row.id, wanted.get((row.number, row.proposal_number))) for row in connection.execute(query)]
        named = [(row_id, version) for row_id, version in rows if version is not None]
        if named:
            self._database.write(
                lambda connection: [
                    connection.execute(update(corrections).where(corrections.c.id == row_id).values(model_version=name))
                    for row_id, name in named
                ]
            )
