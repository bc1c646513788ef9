"""The corrections store of a process, opened when it is first needed."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from maskwright.errors import Busy
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, open_store

PATIENCE_S = 2.0
"""Seconds that one for whom a person waits gives the store to open: another process may hold it, or bring a large one
to the present schema."""


class StoreOpener:
    """The corrections store of a process, opened when it is first needed. Threads may share it.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._store: CorrectionsStore | None = None
        self._joining = threading.Lock()
        self._opening: Future[CorrectionsStore] | None = None

    def __call__(self) -> CorrectionsStore:
        """The open store.

        Raises:
            MaskwrightError: If it cannot be opened; the next call tries again.
        """
        with self._lock:
            if self._store is None:
                self._store = open_store(self._settings.home, self._settings.database_url.get_secret_value())
            return self._store

    def soon(self) -> CorrectionsStore:
        """The open store, for one for whom a person waits.

        Raises:
            Busy: If it is still being opened after ``PATIENCE_S``; that goes on.
            MaskwrightError: If it cannot be opened.
        """
        if (store := self._store) is not None:
            return store
        with self._joining:  # one thread opens it for all who wait, however many that are in minutes
            if self._opening is None or self._opening.done():
                self._opening = Future()
                threading.Thread(target=self._open, args=(self._opening,), name="store-opener", daemon=True).start()
            opened = self._opening
        try:
            return opened.result(PATIENCE_S)
        except FutureTimeout:
            raise Busy("the corrections database is still being opened") from None

    def _open(self, opened: Future[CorrectionsStore]) -> None:
        try:
            opened.set_result(self())
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            opened.set_exception(error)

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
