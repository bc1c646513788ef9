"""A thread that works behind the requests of a server, from ``start`` to ``stop``."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class BehindRequests(ABC):
    """What has one such thread. ``_run`` watches ``_stopping`` and waits on ``_changed``, which guards both.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._name = name

    def start(self) -> None:
        """Begin; harmless when it runs."""
        with self._changed:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the step in hand, however often this is called; wait for that no longer than told."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    @abstractmethod
    def _run(self) -> None:
        """What the thread does."""
