"""What ``/health`` and ``/metrics`` say of the learning loop, without ever waiting for the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from maskwright.errors import MaskwrightError
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.rounds import RoundStore
from maskwright.store.workers import WorkerRegister

log = logging.getLogger(__name__)

FRESH_S = 5.0
SILENT_S = 60.0
"""A worker that has not been heard of for so long counts as gone."""


class LearningState:
    """The state of rounds and workers as it was a moment ago; a thread beside the request reads it anew.

    Args:
        open_store: Gives the corrections store.
    """

    def __init__(self, open_store: Callable[[], CorrectionsStore]) -> None:
        self._open_store = open_store
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self._read_at = float("-inf")
        self._is_reading = False

    def __call__(self) -> dict[str, Any]:
        """``queued`` and ``running`` rounds, and whether a ``worker`` is there; empty as long as that is not known."""
        with self._lock:
            if not self._is_reading and time.monotonic() - self._read_at >= FRESH_S:
                self._is_reading = True
                threading.Thread(target=self._read, name="learning-state", daemon=True).start()
            return self._known

    def _read(self) -> None:
        known: dict[str, Any] = {}
        try:
            database = self._open_store().database
            queued, running = RoundStore(database).counts()
            silent = WorkerRegister(database).silent_for()
            known = {"queued": queued, "running": running, "worker": silent is not None and silent < SILENT_S}
        except MaskwrightError as error:
            log.debug("the state of rounds cannot be read: %s", error)
        finally:
            with self._lock:
                self._known, self._read_at, self._is_reading = known, time.monotonic(), False
