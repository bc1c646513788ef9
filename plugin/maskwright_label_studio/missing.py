"""When projects were first found missing: one answer must not bury a project, so a second one is waited for."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import orjson

from maskwright.errors import InvalidInput
from maskwright.store.artifacts import write_atomically
from maskwright.store.times import now

MISSING_FILE = Path("label-studio") / "missing-projects.json"
"""Below ``settings.home``."""

_MOST = 1000

log = logging.getLogger(__name__)


class MissingProjects:
    """Remembers over restarts which projects were not there. Threads may share it; of processes the last one wins.

    Args:
        file: Where to keep it, or None.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()

    def missing_for(self, server: str, number: int) -> float | None:
        """Seconds since a project was first found missing, or None if it was there when last asked."""
        with self._lock:
            since = self._read().get(_key(server, number))
        return None if since is None else max(0.0, (now() - since) / 1_000_000)

    def note(self, server: str, number: int) -> None:
        """Remember that it was missing, from the first time on."""
        with self._lock:
            known = self._read()
            if _key(server, number) not in known and len(known) < _MOST:
                self._write(known | {_key(server, number): now()})

    def forget(self, server: str, number: int) -> None:
        """It is there, or its absence was dealt with."""
        with self._lock:
            known = self._read()
            if known.pop(_key(server, number), None) is not None:
                self._write(known)

    def _read(self) -> dict[str, int]:
        if self._file is None or not self._file.is_file():
            return {}
        try:
            found = orjson.loads(self._file.read_bytes())
            return {str(key): int(since) for key, since in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("the list of missing projects cannot be read (%s) and begins anew", type(error).__name__)
            return {}

    def _write(self, known: dict[str, int]) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, orjson.dumps(known))
        except (OSError, InvalidInput) as error:
            log.warning("the list of missing projects cannot be written (%s)", type(error).__name__)


def _key(server: str, number: int) -> str:
    return f"{number} {server}"
