"""One pass over a project's queue: measure the tasks that wait, put them in order, and tell Label Studio.

Whatever was measured or stored is written down at once, so that a pass that is cut short goes on where it was. Tasks
that stood first come first; after the first of them have their predictions, the project is moved to the version in
service, so that its queue is never empty; old predictions stay stored. Then the others follow, some dozens at a time.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from maskwright.assist.services import Services
from maskwright.assist.suggestion.in_flight import Outcome, in_flight
from maskwright.errors import Cancelled, MaskwrightError, ModelUnavailable, NotFound
from maskwright.learn.acquisition.candidates import Context
from maskwright.learn.queue import BATCH, Queue, moved
from maskwright.learn.rounds.experience import read_cost
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright_label_studio.client import ApiError, LabelStudioClient
from maskwright_label_studio.config import LabelingConfig
from maskwright_label_studio.connect import connection_credentials
from maskwright_label_studio.labelled import LabelledFeatures
from maskwright_label_studio.modes import Mode
from maskwright_label_studio.pace import Pace
from maskwright_label_studio.pages import Page, is_degraded
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import Project
from maskwright_label_studio.queue_looks import TaskLooker
from maskwright_label_studio.queue_rows import Rows, was_degraded
from maskwright_label_studio.queue_tasks import (
    follow_version,
    labelled_tasks,
    put_prediction,
    rescore,
    unpredicted_tasks,
    waiting_tasks,
)
from maskwright_label_studio.tasks import Task

AT_ONCE = 2 * BATCH
"""Tasks that are measured before any of them is told to Label Studio: among so many the next ones are chosen."""
STAGED_AT_ONCE = 4
"""Tasks that are pre-annotated at the same time where that waits for answers from elsewhere; few, for people's sake."""
BROKEN_REST_S = 600.0
"""A task whose images cannot be had is not tried again before: many of them, each waited for in vain, must not keep the
others waiting in every pass."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Place:
    """A project and everything that its queue is made of.

    Attributes:
        project: As it is served: its model URI names the adapter and the class head.
        number: Label Studio's number of it.
        id: The store's own number of it.
        client: Label Studio.
        config: Its labelling configuration.
        mode: What its owner chose, and how far confidence can be trusted.
        base_name: Readable name of the base model, without adapter.
    """

    project: Project
    number: int
    id: int
    client: LabelStudioClient
    config: LabelingConfig
    mode: Mode
    base_name: str


@dataclass
class PassReport:
    """What a pass did.

    Attributes:
        waiting: Tasks that nobody has labelled.
        measured: Of these, how many were looked at.
        stored: Predictions stored or brought up to date.
        rescored: Predictions that only got another score.
        failed: Tasks without a place, such as for a broken image.
        follows: Whether the project shows the version in service, so that the order is followed.
        listing_s: Seconds that Label Studio took to list the tasks.
        scores: By task, the next first.
        again_at: When a prediction is to be made again that a language model gave no answer for, as ``time.time``.
    """

    waiting: int = 0
    measured: int = 0
    stored: int = 0
    rescored: int = 0
    failed: int = 0
    follows: bool = False
    listing_s: float = 0.0
    scores: dict[int, float] = field(default_factory=dict, repr=False)
    again_at: float = math.inf


class QueuePass:
    """One pass over one project.

    Args:
        services: Models and store.
        predictor: Pre-annotates.
        place: The project.
        pace: Asked between steps.
        broken: Tasks that failed, with the ``time.monotonic`` before which they are left alone; kept up to date.
    """

    def __init__(
        self, services: Services, predictor: Predictor, place: Place, pace: Pace, broken: dict[int, float] | None = None
    ) -> None:
        self._broken = {} if broken is None else broken
        self._place, self._pace = place, pace
        settings = services.settings
        self._credentials = connection_credentials(settings.username, settings.password.get_secret_value())
        database = services.store().database
        self._notes, self._priorities = ProjectNotes(database), PriorityStore(database)
        self._looker = TaskLooker(services, predictor, place.config, place.project, place.mode, pace)
        self._segmenter = services.assistant.segmenter(place.project.options.model)
        self._version = predictor.version(place.config, place.project.options)
        self._at_once = STAGED_AT_ONCE if predictor.is_staged(place.project.options) else 1
        self._rows = Rows(self._version, self._segmenter.embedding_version, place.mode.signature)
        self._known: dict[int, Priority] = {}
        self._predictions: dict[int, Mapping[str, Any]] = {}
        self._degraded: set[int] = set()
        self.report = PassReport()

    def run(self) -> PassReport:
        """Do it all.

        Raises:
            MaskwrightError: If Label Studio, the store or the model is not there; single tasks cost only themselves.
            Cancelled: If the work is to end.
        """
        place = self._place
        began = time.monotonic()
        waiting = waiting_tasks(place.client, place.number)
        labelled = labelled_tasks(place.client, place.number)
        lacking = unpredicted_tasks(place.client, place.number, self._version)
        self.report.listing_s = time.monotonic() - began
        self._known = {row.task_number: row for row in self._priorities.list(place.id)}
        queue = self._queue(waiting, labelled)
        before = {number: row.score for number, row in self._known.items() if row.score is not None}
        for number in lacking & self._known.keys():
            self._known[number] = replace(self._known[number], score=None)
        self.report.waiting = len(waiting)
        in_old_order = sorted(waiting, key=lambda number: (before.get(number, 1.0), number))
        for number in self._broken.keys() - waiting.keys():
            del self._broken[number]
        open_ones = [number for number in in_old_order if not self._is_done(queue, number)]
        open_ones = [number for number in open_ones if self._broken.get(number, began) <= began]
        for start in range(0, len(open_ones), AT_ONCE):
            self._measure_all(queue, [waiting[number] for number in open_ones[start : start + AT_ONCE]])
            self._tell(self._ordered(queue, waiting))
        scores = self._ordered(queue, waiting)
        self._rescore(scores)
        self._follow()
        self.report.scores = scores
        self.report.again_at = min(map(self._rows.again_at, self._known.values()), default=math.inf)
        return self.report

    def _queue(self, waiting: Mapping[int, Task], labelled: Mapping[int, Task]) -> Queue:
        """How the project is ordered now. Rows of tasks that wait no longer are dropped on the way."""
        place, settings = self._place, self._place.mode.settings
        kept = LabelledFeatures(self._notes, place.id, self._segmenter.embedding_version)
        gone = {number: self._rows.image(row).feature for number, row in self._known.items() if number not in waiting}
        vectors = {number: feature for number, feature in gone.items() if feature is not None}
        kept.update(labelled, vectors, lambda number: self._vector(labelled[number]))
        for number in gone:
            self._forget(number)
        context = Context(
            seed=settings.seed,
            batch=BATCH,
            labelled=kept.array(),
            calibration=place.mode.calibration,
            cost=read_cost(self._notes, place.id),
        )
        return Queue(self._segmenter, settings.acquisition, len(place.config.labels_on()), context)

    def _vector(self, task: Task) -> Any:
        try:
            return self._looker.feature(task)
        except (Cancelled, ModelUnavailable):
            raise
        except MaskwrightError as error:
            log.info("labelled task %s is left out of the order: %s", task.id, error)
            return None

    def _is_done(self, queue: Queue, number: int) -> bool:
        row = self._known.get(number)
        return self._rows.is_stored(row) and self._rows.is_measured(row, queue)

    def _measure_all(self, queue: Queue, tasks: Sequence[Task]) -> None:
        looks = in_flight(tasks, lambda task, turn: self._looker.pages(task), workers=self._at_once)
        with closing(looks):
            for look in looks:
                self._measure(queue, look)

    def _measure(self, queue: Queue, look: Outcome[Task, list[Page]]) -> None:
        number = look.item.id
        assert number is not None
        row = self._known.get(number)
        try:
            if look.error is not None:
                raise look.error
            pages = look.result or []
            known = None if row is None or was_degraded(row) else self._rows.image(row)
            found = self._looker.measured(queue, str(number), pages, known)
        except (Cancelled, ModelUnavailable):
            raise
        except MaskwrightError as error:
            log.warning("task %s has no place in the queue: %s", number, error)
            self._fail(number)
            return
        except Exception:
            # One image must not cost the others their places, whatever is wrong with it.
            log.exception("task %s has no place in the queue", number)
            self._fail(number)
            return
        # A degraded one is shown all the same, until a later pass makes it again.
        self._predictions[number] = {**self._looker.prediction(pages), "model_version": self._version}
        if is_degraded(pages):
            self._degraded.add(number)
        self._keep(self._rows.measured(number, found, queue, row))
        self.report.measured += 1

    def _fail(self, number: int) -> None:
        self._forget(number)
        self._broken[number] = time.monotonic() + BROKEN_REST_S
        self.report.failed += 1

    def _forget(self, number: int) -> None:
        if self._known.pop(number, None) is not None:
            self._priorities.forget(self._place.id, [number])

    def _ordered(self, queue: Queue, waiting: Mapping[int, Task]) -> dict[int, float]:
        """Scores of the tasks measured under this version, the next first."""
        rows = [self._known[number] for number in waiting if number in self._known]
        images = [self._rows.image(row) for row in rows if self._rows.is_measured(row, queue)]
        return {int(key): score for key, score in queue.order(images)}

    def _tell(self, scores: Mapping[int, float]) -> None:
        """Store the predictions of what was just measured, the next ones first."""
        for number in [number for number in scores if number in self._predictions]:
            self._pace.check()
            prediction = {**self._predictions.pop(number), "score": scores[number]}
            row, place = self._known[number], self._place
            other = self._rows.shows_other(row) or was_degraded(row)
            with _one_task(number):
                if put_prediction(place.client, place.number, number, prediction, regions_too=other):
                    self._keep(self._rows.stored(row, scores[number], degraded=number in self._degraded))
                    self.report.stored += 1
                    if self.report.stored == BATCH:
                        self._follow()
        self._predictions.clear()
        self._rescore(scores)
        self._follow()

    def _rescore(self, scores: Mapping[int, float]) -> None:
        stored = {str(n): s for n in scores if (s := self._known[n].score) is not None}
        for key in moved(stored, {str(n): score for n, score in scores.items()}, BATCH):
            number = int(key)
            self._pace.check()
            with _one_task(number):
                if rescore(self._place.client, self._place.number, number, self._version, scores[number]):
                    self._keep(replace(self._known[number], score=scores[number]))
                    self.report.rescored += 1

    def _follow(self) -> None:
        if not self.report.follows and any(map(self._rows.is_stored, self._known.values())):
            place = self._place
            self.report.follows = follow_version(
                place.client, place.number, self._version, place.base_name, self._credentials
            )

    def _keep(self, row: Priority) -> None:
        self._known[row.task_number] = row
        self._priorities.put(self._place.id, [row])


@contextmanager
def _one_task(number: int) -> Iterator[None]:
    """What Label Studio refuses of one task costs that task only; a server that is not there ends the pass."""
    try:
        yield
    except NotFound:
        log.info("task %d was deleted before its place in the queue was known", number)
    except ApiError as error:
        log.error("the prediction of task %d is not as it should be: %s", number, error)
