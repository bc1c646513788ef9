"""Reading the store: states in force, histories, and task documents put together again, a page at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, tuple_

from maskwright.annotated import AnnotationKind
from maskwright.errors import NotFound
from maskwright.store.database import Database
from maskwright.store.documents import splice_task, unpack
from maskwright.store.records import Head, ProjectRow, StoreCounts, Stored
from maskwright.store.schema import annotation_rows, corrections, projects, proposals, task_versions, tasks
from maskwright.store.states import chunks
from maskwright.store.times import to_text

TASKS_PER_PAGE = 32
_HEADS_PER_PAGE = 256

task_is_there = and_(tasks.c.seen_at > tasks.c.deleted_at, tasks.c.erased_at.is_(None))
"""SQL: the platform has the task, as far as the store knows, and it was not erased."""

same_task = and_(tasks.c.project_id == annotation_rows.c.project_id, tasks.c.number == annotation_rows.c.task_number)
"""SQL: joins a task to its annotations."""

annotation_is_there = and_(
    annotation_rows.c.seen_at > annotation_rows.c.deleted_at, annotation_rows.c.erased_at.is_(None)
)
"""SQL: likewise for an annotation or draft, its task aside."""


class CorrectionsReading:
    """The half of ``CorrectionsStore`` that reads.

    Args:
        database: Where from.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def heads(
        self,
        project_id: int,
        *,
        after: int = -1,
        kinds: Collection[AnnotationKind] = ("submitted", "skipped", "draft"),
        tasks_only: Collection[int] | None = None,
        documents: bool = True,
    ) -> Iterator[Head]:
        """States in force of what is there now, in the order of task, then annotations before drafts, then number.

        Args:
            project_id: From ``CorrectionsStore.project``.
            after: Only tasks with greater numbers.
            kinds: Which kinds.
            tasks_only: Only these tasks (a few hundred at most), or None for all.
            documents: Whether to read the documents too.
        """
        place = (after, True, 2**63 - 1)
        columns = [
            *_meta(),
            annotation_rows.c.draft,
            annotation_rows.c.number,
            annotation_rows.c.id.label("annotation_id"),
        ]
        if documents:
            columns.append(corrections.c.document)
        order = (annotation_rows.c.task_number, annotation_rows.c.draft, annotation_rows.c.number)
        while True:
            query = _heads(columns).where(
                annotation_rows.c.project_id == project_id, tuple_(*order) > place, corrections.c.kind.in_(list(kinds))
            )
            if tasks_only is not None:
                query = query.where(annotation_rows.c.task_number.in_(sorted(tasks_only)))
            with self.database.read() as connection:
                # Closed after each page: a slow reader must not hold back the clean-up of old row versions.
                rows = connection.execute(query.order_by(*order).limit(_HEADS_PER_PAGE)).all()
            for row in rows:
                yield Head(row.task_number, row.id, row.digest, _stored(row, documents))
            if len(rows) < _HEADS_PER_PAGE:
                return
            place = (rows[-1].task_number, rows[-1].draft, rows[-1].number)

    def newest_heads(self, project_id: int, *, kinds: Collection[AnnotationKind]) -> Iterator[Head]:
        """States in force of the annotations that are there now, those changed last first; without documents.

        Args:
            project_id: From ``CorrectionsStore.project``.
            kinds: Which kinds; none of them a draft.
        """
        order = (corrections.c.updated_at, annotation_rows.c.number)
        place = (2**63 - 1, 2**63 - 1)
        while True:
            query = _heads([*_meta(), annotation_rows.c.number]).where(
                annotation_rows.c.project_id == project_id, annotation_rows.c.draft.is_(False),
                tuple_(*order) < place, corrections.c.kind.in_(list(kinds)),
            )  # fmt: skip
            with self.database.read() as connection:
                query = query.order_by(*(column.desc() for column in order))
                rows = connection.execute(query.limit(_HEADS_PER_PAGE)).all()
            for row in rows:
                yield Head(row.task_number, row.id, row.digest, _stored(row, False))
            if len(rows) < _HEADS_PER_PAGE:
                return
            place = (rows[-1].updated_at, rows[-1].number)

    def history(self, project_id: int, number: int, *, draft: bool = False) -> list[Stored]:
        """Every kept state of one annotation or draft, oldest first; erased ones are left out."""
        query = (
            select(*_meta(), corrections.c.document, annotation_rows.c.number)
            .join(annotation_rows, annotation_rows.c.id == corrections.c.annotation_id)
            .where(
                annotation_rows.c.project_id == project_id, annotation_rows.c.draft.is_(draft),
                annotation_rows.c.number == number, corrections.c.document.is_not(None),
            )
            .order_by(corrections.c.updated_at, corrections.c.seen_at, corrections.c.digest, corrections.c.task_number)
        )  # fmt: skip
        with self.database.read() as connection:
            return [_stored(row, True) for row in connection.execute(query)]

    def task_numbers(self, project_id: int, *, after: int = -1) -> Iterator[int]:
        """Numbers of the tasks that are there, in order."""
        while True:
            query = select(tasks.c.number).where(tasks.c.project_id == project_id, tasks.c.number > after)
            with self.database.read() as connection:
                page = (
                    connection.execute(query.where(task_is_there).order_by(tasks.c.number).limit(1000)).scalars().all()
                )
            yield from page
            if len(page) < 1000:
                return
            after = page[-1]

    def task_documents(self, project_id: int, numbers: Collection[int] | None = None) -> Iterator[bytes]:
        """Tasks that are there as Label Studio's JSON export shapes them, in the order of their numbers.

        ``{"id", "project", "data", "annotations", "predictions", "drafts"}``, each document in it byte for byte as it
        was stored, each list in the order of its numbers: one state of the store gives the same bytes every time.
        Tasks without annotations come too.

        Args:
            project_id: From ``CorrectionsStore.project``.
            numbers: Only these tasks, or None for all.

        Raises:
            NotFound: If there is no such project.
        """
        project = self.project_row(project_id)
        wanted = self.task_numbers(project_id) if numbers is None else iter(sorted(set(numbers)))
        for page in chunks(wanted, TASKS_PER_PAGE):
            with self.database.read(steady=True) as connection:
                documents = list(_page_documents(connection, project, page))
            yield from documents

    def project_row(self, project_id: int) -> ProjectRow:
        """The project of that number of the store's own.

        Raises:
            NotFound: If there is none.
        """
        with self.database.read() as connection:
            row = connection.execute(select(projects).where(projects.c.id == project_id)).first()
        if row is None:
            raise NotFound(f"the store has no project whose own number is {project_id}")
        return project_row(row)

    def counts(self, project_id: int) -> StoreCounts:
        """How much a project holds."""
        there = select(func.count()).select_from(annotation_rows).join(tasks, same_task)
        there = there.where(annotation_rows.c.project_id == project_id, annotation_is_there, task_is_there)
        kept = select(func.count()).select_from(corrections).join(
            annotation_rows, annotation_rows.c.id == corrections.c.annotation_id
        )  # fmt: skip
        queries = (
            select(func.count()).select_from(tasks).where(tasks.c.project_id == project_id, task_is_there),
            there.where(annotation_rows.c.draft.is_(False)),
            there.where(annotation_rows.c.draft.is_(True)),
            kept.where(annotation_rows.c.project_id == project_id),
            select(func.count()).select_from(proposals).where(proposals.c.project_id == project_id),
        )
        with self.database.read(steady=True) as connection:
            found = [int(connection.execute(query).scalar_one()) for query in queries]
        return StoreCounts(*found)


def project_row(row: Any) -> ProjectRow:
    """A row of ``projects`` as a value."""
    return ProjectRow(
        row.id, row.platform, row.server, row.number, row.title, row.label_config,
        row.full_sync_needed_at is not None, to_text(row.full_sync_at),
    )  # fmt: skip


def document_of(row: Any) -> bytes:
    """The JSON in a row with ``document``, ``nbytes`` and ``digest``."""
    return unpack(row.document, row.nbytes, row.digest)


def newest_proposals(connection: Connection, project_id: int, numbers: Sequence[int]) -> dict[int, list[Any]]:
    """Per task: the newest state of every proposal that it has now, in order of their numbers; without documents."""
    query = (
        select(proposals.c.id, proposals.c.task_number, proposals.c.number, proposals.c.digest)
        .where(proposals.c.project_id == project_id, proposals.c.task_number.in_(numbers))
        .where(proposals.c.document.is_not(None), proposals.c.seen_at > proposals.c.deleted_at)
        .order_by(proposals.c.task_number, proposals.c.number)
        .order_by(proposals.c.updated_at.desc(), proposals.c.seen_at.desc(), proposals.c.digest.desc())
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        if not found[row.task_number] or found[row.task_number][-1].number != row.number:
            found[row.task_number].append(row)
    return found


def proposal_documents(connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """Documents of proposals by the store's ids; erased ones are left out."""
    found: dict[int, bytes] = {}
    for part in chunks(ids):
        query = select(proposals.c.id, proposals.c.document, proposals.c.nbytes, proposals.c.digest)
        query = query.where(proposals.c.id.in_(part), proposals.c.document.is_not(None))
        found.update((row.id, document_of(row)) for row in connection.execute(query))
    return found


def _page_documents(connection: Connection, project: ProjectRow, numbers: Sequence[int]) -> Iterator[bytes]:
    query = (
        select(tasks.c.number, task_versions.c.document, task_versions.c.nbytes, task_versions.c.digest)
        .outerjoin(task_versions, task_versions.c.id == tasks.c.head_id)
        .where(tasks.c.project_id == project.id, tasks.c.number.in_(numbers), task_is_there)
        .order_by(tasks.c.number)
    )
    data = {row.number: None if row.document is None else document_of(row) for row in connection.execute(query)}
    drawn: dict[tuple[int, bool], list[bytes]] = defaultdict(list)
    drawn_on = (
        _heads([annotation_rows.c.draft, corrections.c.task_number, *_content()])
        .where(annotation_rows.c.project_id == project.id, annotation_rows.c.task_number.in_(numbers))
        .order_by(annotation_rows.c.task_number, annotation_rows.c.draft, annotation_rows.c.number)
    )
    for row in connection.execute(drawn_on):
        drawn[row.task_number, bool(row.draft)].append(document_of(row))
    proposed = newest_proposals(connection, project.id, numbers)
    texts = proposal_documents(connection, [row.id for rows in proposed.values() for row in rows])
    for number, document in data.items():
        predictions = [texts[row.id] for row in proposed[number]]
        yield splice_task(number, project.number, document, drawn[number, False], predictions, drawn[number, True])


def _heads(columns: Sequence[ColumnElement[Any]]) -> Select[Any]:
    query = select(*columns).join_from(annotation_rows, corrections, corrections.c.id == annotation_rows.c.head_id)
    return query.join(tasks, same_task).where(annotation_is_there, task_is_there, corrections.c.document.is_not(None))


def _content() -> list[ColumnElement[Any]]:
    return [corrections.c.document, corrections.c.nbytes, corrections.c.digest]


def _meta() -> list[ColumnElement[Any]]:
    return [column for column in corrections.c if column.name not in ("document", "annotation_id", "stored_at")]


def _stored(row: Any, documents: bool) -> Stored:
    return Stored(
        row.number, row.kind, row.person, to_text(row.created_at), to_text(row.updated_at),
        document_of(row) if documents else b"", row.lead_time, row.proposal_number, row.model_version,
    )  # fmt: skip
