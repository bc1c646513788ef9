"""The thread of a server that keeps predictions and queues of its projects up to date with what they serve.

A promotion or a rollback is noticed within about a second; new labelled images, new tasks and what rounds taught of
labelling, now and then. Projects in which nothing was ever learnt, and that show people everything, are left alone:
their tasks are pre-annotated as they are opened, and ordered by plain confidence.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from maskwright.assist.services import Services
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.store.priorities import PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundStore
from maskwright.store.served import ServedRegister
from maskwright_label_studio.access import Access
from maskwright_label_studio.behind import BehindRequests
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.corrected import CorrectedExamples
from maskwright_label_studio.machine import MachineAnnotator, is_trusted
from maskwright_label_studio.modes import Mode, Modes
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.pace import Pace
from maskwright_label_studio.patience import Patience
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import PROJECTS_FILE, Project, ProjectMemory
from maskwright_label_studio.queue_pass import PassReport, Place, QueuePass
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.serving import LearningDoor
from maskwright_label_studio.suggested import SuggestionLessons
from maskwright_label_studio.webhook import PLATFORM_NAME

POLL_S = 1.0
_SHARE = 20
"""A large project on a slow server is not listed all the time: it rests so many times as long as that took."""
_COUNTS = ("task_number", "total_annotations_number", "skipped_annotations_number")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """Everything that a queue depends on, at one moment; a queue that was made of the same is not made again."""

    parts: Hashable
    predictions: int


def refresher(services: Services) -> QueueRefresher:
    """One for a process without a server: it knows the projects that the server was told of."""
    access = Access(services.settings)
    projects = ProjectMemory(services.settings.home / PROJECTS_FILE)
    servers = Servers(services.settings, access, projects)
    predictor = Predictor(
        services,
        access,
        Modes(services.store.soon, servers).shown,
        SuggestionLessons(services.store.soon, servers),
        CorrectedExamples(services.store.soon, servers, services.assistant),
    )
    return QueueRefresher(services, predictor, servers, projects, LearningDoor(services, servers))


class QueueRefresher(BehindRequests):
    """Refreshes queues in one thread that runs from ``start`` to ``stop``.

    Args:
        services: Models and store.
        predictor: Pre-annotates.
        servers: Clients.
        projects: What /setup told.
        door: Tells what each project serves.
    """

    def __init__(
        self, services: Services, predictor: Predictor, servers: Servers, projects: ProjectMemory, door: LearningDoor
    ) -> None:
        super().__init__("queue-refresher")
        self._services, self._predictor = services, predictor
        self._servers, self._projects, self._door = servers, projects, door
        self._patience = Patience()
        self._last_click = float("-inf")
        self._newest: int | None = None
        self._looked: dict[str, float] = {}
        self._next_look = 0.0
        self._seen: dict[str, _Seen] = {}
        self._again: dict[str, float] = {}
        self._broken: dict[str, dict[int, float]] = {}
        self._rests: dict[str, tuple[ProjectOptions, float]] = {}
        self._numbers: dict[str, float] = {"passes": 0, "measured": 0, "stored": 0, "rescored": 0, "annotated": 0}

    def clicked(self) -> None:
        """Tell that a person is at work, whom this work makes way for."""
        self._last_click = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Numbers for ``/metrics``."""
        with self._changed:
            running = self.is_running
            return {**self._numbers, "running": running, "failing": self._patience.any_rests()}

    def refresh(self, project: Project, *, automatic: bool = True) -> PassReport | None:
        """Bring one project up to date, if anything that its queue depends on has changed.

        Args:
            project: As /setup told of it.
            automatic: Whether tasks may be annotated where the project's mode says so.

        Returns:
            What was done; None where there was nothing to do, or nobody can look.

        Raises:
            MaskwrightError: If Label Studio, the store or the model is not there.
            Cancelled: If this is being stopped, or the project serves another version meanwhile.
        """
        served = self._door.served(project)
        pace = Pace(self._superseded(project, served), lambda: self._last_click)
        resting = self._rests.get(project.key)
        if resting is not None and resting[0] == served.options and time.monotonic() < resting[1]:
            return None
        found = self._place(project, served)
        if found is None:
            return None
        place, seen = found
        if self._seen.get(project.key) == seen and time.time() < self._again.get(project.key, math.inf):
            return None
        broken = self._broken.setdefault(project.key, {})
        report = QueuePass(self._services, self._predictor, place, pace, broken).run()
        annotated = self._annotate(place, pace) if automatic else 0
        self._rests[project.key] = served.options, time.monotonic() + _SHARE * report.listing_s
        self._again[project.key] = report.again_at
        self._seen[project.key] = _Seen(seen.parts, seen.predictions + report.stored)
        with self._changed:
            for name in ("measured", "stored", "rescored"):
                self._numbers[name] += getattr(report, name)
            self._numbers["passes"] += 1
            self._numbers["annotated"] += annotated
        log.info(
            "project %d: of %d tasks %d were measured, %d predictions stored, %d scores changed, %d tasks annotated",
            place.number, report.waiting, report.measured, report.stored, report.rescored, annotated,
        )  # fmt: skip
        return report

    def _place(self, project: Project, served: Project) -> tuple[Place, _Seen] | None:
        if project.id is None or not project.options.preannotate:
            return None
        server = self._servers.of(project)
        store = self._services.store()
        row = store.find_project(PLATFORM_NAME, server, project.id)
        client = self._servers.client(server, project.id)
        if row is None or client is None:
            return None
        told = client.project(project.id)
        config = parse_config(str(told.get("label_config") or ""))
        if config.is_blank:
            return None
        mode = Mode.of(store, row.id)
        segmenter = self._services.assistant.segmenter(served.options.model)
        name = segmenter.name.partition("+")[0]
        notes = ProjectNotes(store.database)
        parts = (
            self._predictor.version(config, served.options),
            mode.settings.model_dump_json(),
            *(orjson.dumps(notes.get(row.id, note)) for note in ("cost", "calibration")),
            *(told.get(count) for count in _COUNTS),
        )
        seen = _Seen(parts, int(told.get("total_predictions_number") or 0))
        return Place(served, project.id, row.id, client, config, mode, name), seen

    def _annotate(self, place: Place, pace: Pace) -> int:
        store = self._services.store()
        uri = place.project.options.model or self._services.settings.model

        def may() -> bool:
            is_as_chosen = Mode.of(store, place.id).settings == place.mode.settings
            return is_as_chosen and is_trusted(store.database, place.id, uri)

        if place.mode.settings.mode != "automatic" or not may():
            return 0
        version = self._predictor.version(place.config, place.project.options)
        rows = PriorityStore(store.database).list(place.id)
        return MachineAnnotator(place, ProjectNotes(store.database), version, pace, may).run(rows)

    def _superseded(self, project: Project, served: Project) -> Callable[[], bool]:
        """Whether work for what a project serves is to end; the store is asked now and then only.

        It also makes way when any project serves something new, whose turn comes first then.
        """
        next_look, is_over = time.monotonic() + POLL_S, False

        def is_so() -> bool:
            nonlocal next_look, is_over
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + POLL_S
                told = self._projects.known(project.key) or project
                is_over = self._door.served(told).options != served.options or self._serves_new()
            return self._stopping or is_over

        return is_so

    def _learning(self) -> Iterator[Project]:
        """Connected projects that learn, the one that was set up last first; of one number the newest only."""
        store = self._services.store()
        database = store.database
        taken = set()
        for project in reversed(self._projects.all()):
            where = (self._servers.of(project), project.id)
            if project.id is None or where in taken:
                continue
            taken.add(where)
            row = store.find_project(PLATFORM_NAME, where[0], project.id)
            if row is None:
                continue
            ended = any(not one.state.is_active for one in RoundStore(database).list(row.id, limit=2))
            if ended or ServedRegister(database).history(row.id) or not Mode.of(store, row.id).shows_everything:
                yield project

    def _id(self) -> int:
        """Changes with every promotion and rollback of any project."""
        return ServedRegister(self._services.store().database).newest_id()

    def _serves_new(self) -> bool:
        try:
            return self._newest not in (None, self._id())
        except MaskwrightError:
            return False  # this is asked by whoever works for us, in whatever thread

    def _run(self) -> None:
        pause = POLL_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)
                if self._stopping:
                    return
            try:
                self._turn()
                pause = POLL_S
            except Exception as error:
                pause = min(2 * pause, self._services.settings.queue_look_s)
                self._next_look = 0.0
                if isinstance(error, MaskwrightError):
                    log.warning("queues are not refreshed: %s", error)
                else:
                    log.exception("queues are not refreshed")

    def _turn(self) -> None:
        newest = self._id()
        if newest == self._newest and time.monotonic() < self._next_look and not self._patience.take_due():
            return
        self._newest, self._next_look = newest, time.monotonic() + self._services.settings.queue_look_s
        for project in sorted(self._learning(), key=lambda project: self._looked.get(project.key, 0.0)):
            if self._stopping or self._next_look == 0.0:
                return
            if not self._patience.rests(project.key):
                self._guarded(project)
                self._looked[project.key] = time.monotonic()

    def _guarded(self, project: Project) -> None:
        try:
            self.refresh(project)
        except Cancelled:
            self._next_look = 0.0  # another version is served, unless this is the end
        except Exception as error:
            if self._stopping:
                return  # the store may be closed by now
            pause = self._patience.failed(project.key)
            if isinstance(error, MaskwrightError):
                log.warning("the queue of project %s waits: %s; next attempt in %.0f s", project.key, error, pause)
            else:
                log.exception("the queue of project %s waits for %.0f s", project.key, pause)
        else:
            self._patience.succeeded(project.key)
