"""Comparing the corrections store with Label Studio, so that lost, late or doubled events leave no trace.

A comparison lists every task with the time of its last change and its number of annotations (see ``sync_pages``), and
reads whole only those that differ from what the store holds, those with drafts, and those that the store believes to
have drafts. That needs no common clock, finds what was deleted, and takes an interrupted run up where it ended: what
was stored is not read again. It costs one light request per thousand tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from maskwright.errors import Cancelled, InvalidInput, MaskwrightError, NotFound, TooLarge, Unreachable
from maskwright.store.corrections import CorrectionsStore, ProjectRow, TaskState
from maskwright.store.states import chunks
from maskwright.store.times import now, to_text
from maskwright_label_studio.client import ForeignNotFound, LabelStudioClient
from maskwright_label_studio.store_marks import StoreMarks
from maskwright_label_studio.sync_pages import ProjectPages
from maskwright_label_studio.webhook import PLATFORM_NAME

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SyncReport:
    """What a comparison found.

    Attributes:
        project: The project's number.
        title: Its title.
        tasks: Tasks compared so far.
        total: Tasks of the project as Label Studio counts them, or 0 if not known.
        new: Annotations that the store did not have.
        changed: Annotations that were changed since.
        deleted: Annotations that are no longer there; they are kept as deleted.
        unchanged: Annotations that were the same.
        drafts: Unfinished drawings that are there now.
        failures: (task, reason) of tasks that could not be read or stored.
        gone: Whether the project itself is no longer there.
    """

    project: int
    title: str = ""
    tasks: int = 0
    total: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    drafts: int = 0
    failures: tuple[tuple[int, str], ...] = ()
    gone: bool = False


Progress = Callable[[SyncReport], None]


class ProjectMissing(NotFound):
    """Label Studio says that it has no such project (any more), or does not show it to this key."""


def synchronise(
    client: LabelStudioClient,
    store: CorrectionsStore,
    number: int,
    *,
    server: str,
    full: bool = False,
    tasks: Collection[int] | None = None,
    annotations: Collection[int] = (),
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    bury_missing: bool = False,
) -> SyncReport:
    """Make the store equal to a project. Safe to interrupt, to repeat, and beside events and other comparisons.

    Args:
        client: Of the project's server.
        store: Where to.
        number: The project's number.
        server: The server's address as the store knows it.
        full: Read every task again, whatever the store believes to know.
        tasks: Only these tasks, or None for all.
        annotations: With ``tasks``: and those on which these annotations are, as far as the store knows.
        progress: Told after each page.
        cancelled: Asked before each page.
        bury_missing: Whether a project that is not there is recorded as deleted, with everything on it; only for who
            found it missing before.

    Raises:
        ProjectMissing: If it is not there; with ``bury_missing`` only if the store does not know it either.
        Cancelled: If it was asked to stop; what was stored stays.
        MaskwrightError: If Label Studio or the store does not answer as it should. Single tasks that cannot be read
            are told in ``SyncReport.failures`` instead.
    """
    began = to_text(now())
    try:
        project = client.project(number)
    except NotFound as error:
        _require_own_word(client, number, error)
        return _bury_project(store, number, server, began, sure=bury_missing)
    row = store.project(
        PLATFORM_NAME, server, number,
        title=str(project.get("title") or ""), label_config=str(project.get("label_config") or ""),
    )  # fmt: skip
    total = project.get("task_number")
    run = _Run(client, store, row, total if isinstance(total, int) else 0, progress, cancelled)
    if tasks is not None:
        run.read({*tasks, *StoreMarks(store.database, row.id).tasks_of(annotations)}, maybe_gone=True)
        return run.report
    run.compare(full=full)
    if not run.report.failures:
        store.mark_synced(row.id, began)
    return run.report


def _require_own_word(client: LabelStudioClient, number: int, error: NotFound) -> None:
    """Whatever stands before a Label Studio may answer 404; only its own list tells that a project is not there."""
    if isinstance(error, ForeignNotFound) or not client.version() or client.lists_project(number):
        raise Unreachable(f"project {number} cannot be read: {error}") from error


def _bury_project(store: CorrectionsStore, number: int, server: str, began: str, *, sure: bool) -> SyncReport:
    row = store.find_project(PLATFORM_NAME, server, number)
    if row is None:
        raise ProjectMissing(f"{server or 'Label Studio'} has no project {number}, or the key does not see it")
    counts = store.counts(row.id)
    if not sure and counts.tasks:
        message = (
            f"{server or 'Label Studio'} has no project {number} any more, or the key does not see it; its "
            f"{counts.tasks} tasks will be recorded as deleted when it is found missing again"
        )
        log.error("%s", message)
        raise ProjectMissing(message)
    store.bury_unseen(row.id, began)
    store.mark_synced(row.id, began)
    if counts.tasks:
        log.error("project %d is no longer there; its %d tasks are kept as deleted", number, counts.tasks)
    return SyncReport(number, row.title, deleted=counts.annotations, gone=True)


@dataclass
class _Run:
    client: LabelStudioClient
    store: CorrectionsStore
    row: ProjectRow
    total: int
    progress: Progress | None
    cancelled: Callable[[], bool] | None
    report: SyncReport = field(init=False)

    def __post_init__(self) -> None:
        self.report = SyncReport(self.row.number, self.row.title, total=self.total)
        self.pages = ProjectPages(self.client, self.row.number)
        self.marks = StoreMarks(self.store.database, self.row.id)

    def compare(self, *, full: bool) -> None:
        """Go through all tasks in order of their numbers."""
        drawn = self.pages.with_drafts(self._check) | self.marks.with_drafts()
        listing, after = self.pages.marks(self._check), 0
        while True:
            asked = to_text(now())
            page = next(listing, None)
            last = page[-1].number if page else None
            known = self.marks.known(after, last)
            self._bury(known.keys() - {mark.number for mark in page or ()}, asked)
            if page is None or last is None:
                return
            wanted = []
            for mark in page:
                task = known.get(mark.number)
                if task is not None and (
                    task.is_erased(mark) or (task.is_current(mark) and not full and mark.number not in drawn)
                ):
                    self._count(tasks=1, unchanged=task.submitted + task.skipped)
                else:
                    wanted.append(mark.number)
            self.read(wanted)
            self._tell()
            after = last

    def read(self, numbers: Iterable[int], *, maybe_gone: bool = False) -> None:
        """Read tasks whole and store them. ``maybe_gone``: bury those that are not there any more."""
        for page in self.pages.read_all(numbers, self._check):
            if page.failure is not None:
                self._fail(page.numbers[0], page.failure)
                continue
            self._store(page.states, page.asked_at)
            if maybe_gone:
                self._bury({*page.numbers} - {state.number for state in page.states}, page.asked_at)
            self._tell()

    def _store(self, states: Sequence[TaskState], asked: str) -> None:
        numbers = [state.number for state in states]
        before = self._heads(numbers)
        try:
            self.store.put_tasks(self.row.id, states, seen_at=asked)
        except (InvalidInput, TooLarge):
            for state in states:
                try:
                    self.store.put_tasks(self.row.id, [state], seen_at=asked)
                except (InvalidInput, TooLarge) as error:
                    self._fail(state.number, error)
        self.marks.name_versions(states)
        after = self._heads(numbers)
        drafts = sum(draft for draft, _ in after)
        annotations = {key: digest for key, digest in after.items() if not key[0]}
        kept = annotations.keys() & before.keys()
        changed = sum(annotations[key] != before[key] for key in kept)
        self._count(
            tasks=len(states), new=len(annotations) - len(kept), changed=changed, unchanged=len(kept) - changed,
            deleted=sum(not draft for draft, _ in before.keys() - after.keys()), drafts=drafts,
        )  # fmt: skip

    def _bury(self, numbers: Collection[int], asked: str) -> None:
        for part in chunks(sorted(numbers)):
            self._check()
            heads = self._heads(part)
            self.store.bury_tasks(self.row.id, part, asked, known_only=True)  # anybody may name numbers
            self._count(deleted=sum(not draft for draft, _ in heads))

    def _heads(self, numbers: list[int]) -> dict[tuple[bool, int], str]:
        heads = self.store.heads(self.row.id, tasks_only=numbers, documents=False)
        return {(head.stored.kind == "draft", head.stored.number): head.digest for head in heads}

    def _fail(self, number: int, error: MaskwrightError) -> None:
        log.warning("task %d of project %d could not be stored: %s", number, self.row.number, error)
        self._count(tasks=1)
        self.report = replace(self.report, failures=(*self.report.failures, (number, str(error))))

    def _count(self, **added: int) -> None:
        self.report = replace(self.report, **{name: getattr(self.report, name) + n for name, n in added.items()})

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.report)

    def _check(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("the comparison was stopped; the next one goes on from there")
