"""What the models in service see in the images of a task, measured for the order of the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.assistant import Priority
from maskwright.assist.services import Services
from maskwright.errors import Busy, InvalidInput
from maskwright.learn.acquisition.candidates import Look
from maskwright.learn.acquisition.coreset import pooled
from maskwright.learn.queue import Queue, QueueImage, joined, look_at
from maskwright.models.protocols import ImageEmbedding
from maskwright_label_studio.config import LabelingConfig
from maskwright_label_studio.modes import Mode
from maskwright_label_studio.pace import Pace
from maskwright_label_studio.pages import Page
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import Project
from maskwright_label_studio.tasks import Task

CONFIDENCE = "confidence"
"""Kept with the signals of a task: the least score of its regions. It orders nothing; the mode needs it."""
_LONGEST_PAUSE_S = 5.0
_T = TypeVar("_T")


class TaskLooker:
    """Looks at tasks of a project behind everything else that the models do.

    Args:
        services: The assistant.
        predictor: Pre-annotates.
        config: The project's labelling configuration.
        project: The project as it is served.
        mode: What people see of it.
        pace: Asked between steps.
    """

    def __init__(
        self, services: Services, predictor: Predictor, config: LabelingConfig, project: Project, mode: Mode,
        pace: Pace,
    ) -> None:  # fmt: skip
        self._assistant = services.assistant
        self._predictor, self._config, self._project = predictor, config, project
        self._mode, self._pace = mode, pace

    def pages(self, task: Task) -> list[Page]:
        """The task's images with what is proposed for each.

        Raises:
            MaskwrightError: If an image cannot be had or the model cannot answer.
            Cancelled: If the work is to end.
        """
        made = self._predictor.pages
        pages = self._patiently(lambda: list(made(task, self._config, self._project, cancelled=self._pace.cancelled)))
        if not pages:
            raise InvalidInput("it has no image with labels")
        return pages

    def prediction(self, pages: Sequence[Page]) -> dict[str, Any]:
        """What is stored of a task."""
        return self._predictor.prediction(pages, self._config, self._project, self._mode.shows)

    def measured(self, queue: Queue, key: str, pages: Sequence[Page], known: QueueImage | None = None) -> QueueImage:
        """What the order of the queue needs of a task.

        Args:
            queue: What is to be measured.
            key: Of the task.
            pages: Of the task, one or more.
            known: What was measured before under the same version; of tasks with one image that is not done again.
        """
        images = []
        for page in pages:
            before = known if known is not None and len(pages) == 1 else QueueImage(key)
            images.append(
                queue.measured(
                    QueueImage(key, lambda page=page: self._look(page), before.signals, before.feature, before.effort)  # type: ignore[misc]
                )
            )
        whole = joined(key, images)
        scores = [region.score for page in pages for region in page.found.regions]
        return QueueImage(
            key,
            signals={**whole.signals, **({CONFIDENCE: min(scores)} if scores else {})},
            feature=whole.feature,
            effort=whole.effort,
        )

    def feature(self, task: Task) -> NDArray[np.floating]:
        """The vector of a task that needs no measuring otherwise; errors as ``pages``."""
        vectors = [
            pooled(self._embedding(self._predictor.image(self._project, task, source)))
            for tag in self._config.images
            for source in tag.sources(task.data)
        ]
        return np.mean(vectors, axis=0)  # type: ignore[no-any-return]

    def _look(self, page: Page) -> Look:
        segmenter = self._assistant.segmenter(self._project.options.model)
        return look_at(segmenter, self._embedding(page.image), page.found.regions)

    def _embedding(self, image: Any) -> ImageEmbedding:
        service = self._assistant.embeddings
        segmenter = self._assistant.segmenter(self._project.options.model)
        service.flush()  # what pre-annotation has just encoded is then on the disk, and is not encoded again
        return self._patiently(
            lambda: service.get(
                segmenter, image, priority=Priority.BACKGROUND, cancelled=self._pace.cancelled, remember=False
            )
        )

    def _patiently(self, compute: Callable[[], _T]) -> _T:
        while True:
            self._pace.check()
            try:
                return compute()
            except Busy as error:
                self._pace.wait(min(error.retry_after, _LONGEST_PAUSE_S))
