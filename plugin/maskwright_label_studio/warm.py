"""While a person looks at one task, the images of the next ones are encoded."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from itertools import islice

from maskwright.assist.jobs import JobProgress
from maskwright.assist.services import Services
from maskwright.errors import Busy, Cancelled, InvalidInput, MaskwrightError
from maskwright_label_studio.access import Access
from maskwright_label_studio.config import LabelingConfig
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import Project
from maskwright_label_studio.tasks import Task

NEXT_TASKS = 4
_REMEMBERED = 1000

log = logging.getLogger(__name__)


class Warmer:
    """Notices which task is open. Threads may share it.

    Args:
        services: Background jobs.
        predictor: Encodes.
        access: For asking which tasks come next.
    """

    def __init__(self, services: Services, predictor: Predictor, access: Access) -> None:
        self._jobs = services.jobs
        self._predictor = predictor
        self._access = access
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()

    def opened(self, document: object, config: LabelingConfig, project: Project) -> None:
        """Say that a person has opened a task; every further click in it does nothing. Returns at once."""
        try:
            task = Task.of(document)
        except InvalidInput:
            return
        if task.id is None or project.id is None or not self._is_new((project.key, task.id)):
            return
        after, number = task.id, project.id

        def run(progress: JobProgress) -> None:
            self._warm(after, number, config, project)

        try:
            self._jobs.submit(f"label-studio/warm/{project.key}/{after}", run)
        except (Busy, Cancelled):
            log.debug("nothing is warmed for project %s: there is other work to do", project.key)

    def _is_new(self, place: tuple[str, int]) -> bool:
        with self._lock:
            if place in self._seen:
                return False
            self._seen[place] = None
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return True

    def _warm(self, after: int, project_id: int, config: LabelingConfig, project: Project) -> None:
        client = self._access.client(project)
        if client is None:
            return
        try:
            for document in islice(client.tasks(project_id, after=after, page_size=NEXT_TASKS), NEXT_TASKS):
                if not self._predictor.warm(project, config, Task.of(document)):
                    return
        except MaskwrightError as error:
            log.info("the next tasks of project %s are not warmed: %s", project.key, error)
