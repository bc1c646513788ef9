"""From what happens in projects to messages that wake a worker, beside the requests that told of it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from maskwright.errors import MaskwrightError
from maskwright.server.work_queue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskwright.assist.services import Notice
    from maskwright.store.corrections import CorrectionsStore

log = logging.getLogger(__name__)

_Project = tuple[str, str, int]


class NoticeBoard:
    """Wakes a worker once a project has been quiet for as long as its settings say, at once if a person asks.

    Called by requests: it takes no time and raises nothing. The queue is spoken to by a thread that lives as long as
    there is something to say.

    Args:
        queue: Of the workers.
    """

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._open_store: Callable[[], CorrectionsStore] | None = None
        self._lock = threading.Lock()
        self._waiting: dict[_Project, bool] = {}  # whether a person asks
        self._promised: dict[_Project, float] = {}  # when a worker will look anyway
        self._thread: threading.Thread | None = None

    def attach(self, open_store: Callable[[], CorrectionsStore]) -> None:
        """Read the settings of projects from this store from now on; until then the defaults hold."""
        self._open_store = open_store

    def __call__(self, notice: Notice) -> None:
        """Something happened."""
        if notice.action == "refresh":
            return
        project, asked = (notice.platform, notice.server, notice.number), notice.action == "start-training"
        with self._lock:
            if not asked and self._promised.get(project, 0.0) > time.monotonic():
                return
            self._waiting[project] = asked or self._waiting.get(project, False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._speak, name="notices", daemon=True)
                self._thread.start()

    def _speak(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                project, asked = self._waiting.popitem()
            try:
                self._wake(project, asked)
            except MaskwrightError as error:
                log.warning("%s; a worker looks within a minute all the same", error)
            except Exception:
                log.exception("a worker could not be woken; it looks within a minute all the same")

    def _wake(self, project: _Project, asked: bool) -> None:
        delay = 0.0 if asked else self._debounce(project)
        with self._lock:
            moment = time.monotonic()
            self._promised = {one: until for one, until in self._promised.items() if until > moment}
            self._promised[project] = moment + delay
            # What came while the delay was looked up is promised this very look.
            if delay > 0 and not self._waiting.get(project, True):
                del self._waiting[project]
        self._queue.say_look(delay)

    def _debounce(self, project: _Project) -> float:
        from maskwright.learn.settings import LearningSettings, read_learning
        from maskwright.store.project_notes import ProjectNotes

        try:
            store = None if self._open_store is None else self._open_store()
            row = None if store is None else store.find_project(*project)
            if store is not None and row is not None:
                return read_learning(ProjectNotes(store.database), row.id).debounce_s
        except MaskwrightError as error:
            log.warning("the learning settings of a project cannot be read: %s", error)
        return LearningSettings().debounce_s
