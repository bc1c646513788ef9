"""Batch requests: many tasks in one request, with a deadline for all of them.

Label Studio sends every selected task at once and throws everything away when the answer comes late, so the answer goes
out in time with what is ready. A task without an answer gets an empty list, for which nothing is stored: null would
fail the whole request, and an empty prediction would count as done. The rest is computed in the background and posted
through the API, unless a person or another answer came first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson

from maskwright.assist.assistant import Priority
from maskwright.assist.jobs import JobProgress
from maskwright.assist.services import Services
from maskwright.assist.suggestion.in_flight import WORKERS, in_flight
from maskwright.errors import Busy, Cancelled, MaskwrightError, ModelUnavailable, NotFound
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.coalesce import Coalescer
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import Project
from maskwright_label_studio.tasks import PredictRequest, Task

_BATCH_THREADS = 4
_LONGEST_PAUSE_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pending:
    """A task to be predicted, where its answer goes, and what identical requests have in common."""

    position: int
    task: Task
    key: Hashable


class BatchPredictor:
    """Answers batch requests. Threads may share it.

    Args:
        services: Settings, background jobs.
        predictor: Answers single tasks.
        access: For posting what was late.
    """

    def __init__(self, services: Services, predictor: Predictor, access: Access) -> None:
        self._deadline_s = services.settings.batch_deadline_s
        self._jobs = services.jobs
        self._predictor = predictor
        self._access = access
        self._coalescer = Coalescer()
        # A person who opens a task must not wait behind somebody's selection of thousands.
        self._many = ThreadPoolExecutor(_BATCH_THREADS, thread_name_prefix="label-studio-batch")
        # What is pre-annotated in stages mostly waits for answers, and takes turns at the device.
        self._staged = ThreadPoolExecutor(WORKERS, thread_name_prefix="label-studio-staged")
        self._single = ThreadPoolExecutor(services.settings.threads, thread_name_prefix="label-studio-task")

    def answer(self, request: PredictRequest, project: Project) -> list[Any]:
        """One element per task in the same order: a prediction, or an empty list where none is due, possible or ready.

        Raises:
            InvalidInput: If the configuration has no place for answers.
            ModelUnavailable: If the model cannot be loaded, which no task would survive.
        """
        deadline = time.monotonic() + self._deadline_s
        request.config.require_outputs()
        answers: list[Any] = [[] for _ in request.tasks]
        pending = self._due(request, project)
        single = len(request.tasks) == 1
        pool = self._single if single else self._staged if self._predictor.is_staged(project.options) else self._many
        priority = Priority.INTERACTIVE if single else Priority.BACKGROUND
        futures = {pool.submit(self._predicted, request, project, item, priority): item for item in pending}
        wait(futures, timeout=max(0.0, deadline - time.monotonic()))
        late: list[_Pending] = []
        for future, item in futures.items():
            if future.cancel() or not future.done():
                late.append(item)
                continue
            try:
                value = _settled(future.result, item.task)
            except Busy:
                late.append(item)
                continue
            if value is not None:
                answers[item.position] = orjson.Fragment(value)
        if late:
            self._continue(request, project, sorted(late, key=lambda item: item.position))
        return answers

    def close(self) -> None:
        """Stop taking work; what runs is finished."""
        for pool in (self._many, self._staged, self._single):
            pool.shutdown(wait=False, cancel_futures=True)

    def _due(self, request: PredictRequest, project: Project) -> list[_Pending]:
        if not project.options.preannotate:
            return []
        version = self._predictor.version(request.config, project.options)
        due = []
        for position, document in enumerate(request.tasks):
            try:
                task = Task.of(document)
            except MaskwrightError as error:
                log.warning("task at position %d of a batch is left out: %s", position, error)
                continue
            # What a person has touched stays as it is; what this very version has answered stays stored.
            if not task.is_annotated and version not in task.prediction_versions:
                data = orjson.dumps(task.data, option=orjson.OPT_SORT_KEYS)
                options = project.options.model_dump_json()
                key = (project.key, task.id, data, version, request.config_text, options)
                due.append(_Pending(position, task, key))
        return due

    def _predicted(
        self,
        request: PredictRequest,
        project: Project,
        item: _Pending,
        priority: Priority = Priority.BACKGROUND,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bytes:
        def compute() -> bytes:
            found = self._predictor.preannotation(
                item.task, request.config, project, priority=priority, cancelled=cancelled
            )
            return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)

        return self._coalescer.result(item.key, compute)

    def _continue(self, request: PredictRequest, project: Project, late: Sequence[_Pending]) -> None:
        log.warning(
            "project %s: %d of %d tasks were not ready within %g s; they follow through the API",
            project.key, len(late), len(request.tasks), self._deadline_s,
        )  # fmt: skip

        def run(progress: JobProgress) -> None:
            self._finish(request, project, late, progress)

        try:
            self._jobs.submit(f"label-studio/{project.key}/{hash(tuple(item.key for item in late)):x}", run)
        except (Busy, Cancelled) as error:
            log.error("project %s: %d tasks stay without prediction: %s", project.key, len(late), error)

    def _finish(
        self, request: PredictRequest, project: Project, late: Sequence[_Pending], progress: JobProgress
    ) -> None:
        client = self._access.client(project)
        if client is None:
            log.error(
                "predictions of project %s cannot be posted: set MASKWRIGHT_LABEL_STUDIO_URL and "
                "MASKWRIGHT_LABEL_STUDIO_API_KEY; until then, retrieve predictions again",
                project.key,
            )
        at_once = WORKERS if self._predictor.is_staged(project.options) else 1
        answers = in_flight(
            late,
            lambda item, turn: self._patiently(request, project, item, progress),
            workers=at_once,
            cancelled=progress.cancelled,
        )
        with closing(answers):
            for done, answer in enumerate(answers):
                progress.update(done, len(late), f"predictions of project {project.key}")
                if answer.error is not None:
                    raise answer.error
                if answer.result is not None and client is not None:
                    _post(client, answer.item.task, answer.result)

    def _patiently(
        self, request: PredictRequest, project: Project, item: _Pending, progress: JobProgress
    ) -> bytes | None:
        while True:
            progress.check()
            try:
                return _settled(
                    lambda: self._predicted(request, project, item, cancelled=progress.cancelled), item.task
                )
            except Busy as error:
                progress.wait(min(error.retry_after, _LONGEST_PAUSE_S))


def _settled(get: Callable[[], bytes], task: Task) -> bytes | None:
    """The prediction, or None where the task cannot have one; Busy, ModelUnavailable and Cancelled pass through."""
    try:
        return get()
    except (Busy, ModelUnavailable, Cancelled):
        raise
    except MaskwrightError as error:
        log.warning("task %s gets no prediction: %s", task.id, error)
    except Exception:
        # One image must not cost the others their predictions, whatever is wrong with it.
        log.exception("task %s gets no prediction", task.id)
    return None


def _post(client: LabelStudioClient, task: Task, value: bytes) -> None:
    """Store a late prediction, unless the task was annotated, predicted by this version, or deleted meanwhile.

    The task itself is not asked for: that would make Label Studio ask us for a prediction first.
    """
    if task.id is None:
        return
    prediction = orjson.loads(value)
    try:
        if client.annotations(task.id):
            return
        if any(p.get("model_version") == prediction["model_version"] for p in client.predictions(task=task.id)):
            return
        client.create_prediction(task.id, **prediction)
    except NotFound:
        log.info("task %s was deleted before its prediction was ready", task.id)
    except MaskwrightError as error:
        log.error("the prediction of task %s could not be posted: %s", task.id, error)
