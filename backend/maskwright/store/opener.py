"""The corrections store of a process, opened when it is first needed."""

from __future__ import annotations

import threading

from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, open_store


class StoreOpener:
    """The corrections store of a process, opened when it is first needed. Threads may share it.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._store: CorrectionsStore | None = None

    def __call__(self) -> CorrectionsStore:
        """The open store.

        Raises:
            MaskwrightError: If it cannot be opened; the next call tries again.
        """
        with self._lock:
            if self._store is None:
                self._store = open_store(self._settings.home, self._settings.database_url.get_secret_value())
            return self._store

    def close(self) -> None:
        """Close it, if it was opened; one that is being opened, maybe for minutes, is left to the process's end."""
        if not self._lock.acquire(timeout=1.0):
            return
        try:
            if self._store is not None:
                self._store.close()
                self._store = None
        finally:
            self._lock.release()
