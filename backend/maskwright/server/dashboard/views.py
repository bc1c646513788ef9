"""What the pages show, gathered from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from maskwright.errors import InvalidInput
from maskwright.learn.rounds.requests import open_wish, waiting
from maskwright.learn.rounds.workshop import MACHINE
from maskwright.learn.settings import LearningSettings, read_learning
from maskwright.server.dashboard.report import Figures, Report
from maskwright.server.dashboard.words import STAGES, number
from maskwright.store.corrections import CorrectionsStore, ProjectRow, StoreCounts
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import Round, RoundStore
from maskwright.store.served import Served, ServedRegister
from maskwright.store.times import now, to_text

ROUNDS_SHOWN = 100
TASKS_PER_PAGE = 50
VERSIONS_SHOWN = 100


@dataclass(frozen=True)
class ProjectView:
    """What every page of a project shows."""

    row: ProjectRow
    settings: LearningSettings
    settings_fault: str
    serving: tuple[Served, ...]
    active: Round | None

    @property
    def title(self) -> str:
        """Its title, or what stands in for one."""
        return self.row.title or f"Project {self.row.number}"

    @property
    def address(self) -> str:
        """Its page on the platform, or empty where that has no address for browsers."""
        return f"{self.row.server.rstrip('/')}/projects/{self.row.number}/data" if is_web(self.row.server) else ""

    def task_address(self, task: int | None) -> str:
        """The page of one of its tasks on the platform, likewise."""
        return f"{self.address}?task={quote(str(task))}" if self.address and task is not None else ""

    @classmethod
    def of(cls, store: CorrectionsStore, row: ProjectRow) -> ProjectView:
        """Read it."""
        settings, fault = LearningSettings(), ""
        try:
            settings = read_learning(ProjectNotes(store.database), row.id)
        except InvalidInput as error:  # kept by another version; the form writes them anew
            fault = str(error)
        serving = in_force(ServedRegister(store.database).history(row.id))
        return cls(row, settings, fault, serving, RoundStore(store.database).active(row.id))


def is_web(address: str) -> bool:
    """Whether a browser may be sent there."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def in_force(history: Sequence[Served]) -> tuple[Served, ...]:
    """The newest version of every base model, the last changed first."""
    newest = {version.base: version for version in history}
    return tuple(sorted(newest.values(), key=lambda version: -version.id))


@dataclass(frozen=True)
class Glance:
    """One line of the list of projects, and the head of a project's page."""

    project: ProjectView
    counts: StoreCounts
    last: Round | None

    @classmethod
    def of(cls, store: CorrectionsStore, project: ProjectView) -> Glance:
        """Read it."""
        rounds = RoundStore(store.database).list(project.row.id, limit=2)
        ended = next((one for one in rounds if not one.state.is_active), None)
        return cls(project, store.counts(project.row.id), ended)


@dataclass(frozen=True)
class Outlook:
    """What the next round would have.

    Attributes:
        fresh: Corrections that the last round did not have.
        asked_at: When somebody asked for a round that has not begun and still may, ISO 8601, or empty.
        machine: Tasks that the machine annotated itself, of which no round learns.
    """

    fresh: int
    asked_at: str
    machine: int

    @classmethod
    def of(cls, store: CorrectionsStore, project_id: int, last: Round | None) -> Outlook:
        """Read it."""
        machine, fresh = ProjectNotes(store.database).get(project_id, MACHINE), waiting(store, project_id, last)
        asked = open_wish(store, project_id, last, fresh, now())
        return cls(fresh.count, to_text(asked), len(machine or ()))


@dataclass(frozen=True)
class Progress:
    """How far a round is."""

    round: Round
    stage: str
    share: float | None
    details: tuple[tuple[str, float], ...]
    lacks_worker: bool

    @classmethod
    def of(cls, active: Round, *, workers_are_away: bool) -> Progress:
        """Read it from what the worker last told; ``maskwright train`` works on a round without being a worker."""
        told = {name: number(value) for name, value in active.progress.items()}
        done, of = (told.get("step"), told.get("steps")) if told.get("steps") else (told.get("done"), told.get("of"))
        share = min(1.0, max(0.0, done / of)) if done is not None and of else None
        stage = STAGES.get(str(active.progress.get("stage")), "starting" if active.owner else "")
        is_held = bool(active.lease_until) and active.lease_until > to_text(now())
        details = tuple((name, value) for name, value in told.items() if value is not None)
        return cls(active, stage, share, details, workers_are_away and not is_held)


@dataclass(frozen=True)
class RoundsView:
    """The rounds of a project, newest first, and what they taught."""

    reports: tuple[Report, ...]
    more: bool

    @property
    def measured(self) -> list[Report]:
        """Ended rounds with figures, oldest first."""
        return [one for one in reversed(self.reports) if not one.round.state.is_active and one.served]

    def figures_of(self, present: Served | None, history: Sequence[Served]) -> Figures:
        """What was last measured of a version in force (None: of the base alone); empty if nothing was.

        Args:
            present: It.
            history: What the project ever served: tells which version a round was compared with.
        """
        known = {version.id: version.uri for version in history}
        for report in reversed(self.measured):
            one = report.round
            if present is not None and present.round_number == one.number:
                return report.candidate
            if known.get(one.served_before or 0, one.base) == (one.base if present is None else present.uri):
                return report.served
        return Figures()

    @classmethod
    def of(cls, store: CorrectionsStore, project_id: int) -> RoundsView:
        """Read the newest of them."""
        found = RoundStore(store.database).list(project_id, limit=ROUNDS_SHOWN + 1)
        return cls(tuple(Report(one) for one in found[:ROUNDS_SHOWN]), len(found) > ROUNDS_SHOWN)


@dataclass(frozen=True)
class QueuePage:
    """One page of the queue.

    Attributes:
        rows: (place from 1, priority) in order.
        signals: Names of the signals on this page.
        page: From 1.
        more: Whether another page follows.
    """

    rows: tuple[tuple[int, Priority], ...]
    signals: tuple[str, ...]
    page: int
    more: bool

    @property
    def is_growing(self) -> bool:
        """Whether tasks were measured that were not placed among the others yet."""
        return any(row.score is None for _, row in self.rows)

    @classmethod
    def of(cls, store: CorrectionsStore, project_id: int, page: int) -> QueuePage:
        """Read it."""
        start = (page - 1) * TASKS_PER_PAGE
        found = PriorityStore(store.database).list(project_id, TASKS_PER_PAGE + 1, start)
        rows = tuple(enumerate(found[:TASKS_PER_PAGE], start=start + 1))
        names = dict.fromkeys(name for _, row in rows for name in row.signals)
        return cls(rows, tuple(names), page, len(found) > TASKS_PER_PAGE)


@dataclass(frozen=True)
class Version:
    """One line of the history of versions.

    Attributes:
        served: It.
        is_in_force: Whether it is served now.
        can_go_back: Whether a rollback from it leads somewhere.
        can_serve_again: Whether its round can be promoted once more.
    """

    served: Served
    is_in_force: bool
    can_go_back: bool
    can_serve_again: bool


def versions(history: Sequence[Served]) -> list[Version]:
    """The history, newest first."""
    newest = in_force(history)
    present = {version.base: version.uri for version in newest}
    ids = {version.id for version in newest}
    return [
        Version(
            version,
            version.id in ids,
            version.id in ids and (version.uri != version.base or version.parent_id is not None),
            version.id not in ids and version.round_number is not None and version.uri != present[version.base],
        )
        for version in sorted(history, key=lambda version: -version.id)[:VERSIONS_SHOWN]
    ]
