"""Who has the store open: everybody shares a lock, and who replaces the whole store must have it alone.

SQLite: ``flock`` on ``corrections.lock`` beside the database, which the system gives back when a process ends.
PostgreSQL: an advisory lock of a connection that is kept for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from maskwright.errors import Busy, InvalidInput
from maskwright.store.faults import named_errors

_KEY = 0x6D61736C  # any number, the same in every process
_RESTORED = "the corrections database is being restored; try again when that is done"
_IN_USE = "the corrections store is open elsewhere: stop the server (and other maskwright commands) first"


class Presence(Protocol):
    """A share in the store, from its making until ``leave``."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep everybody else out for a while.

        Raises:
            InvalidInput: If others have the store open.
        """
        ...

    def leave(self) -> None:
        """Give the share back."""
        ...


class FilePresence:
    """A share in an SQLite database.

    Args:
        database: The file; the lock is a file beside it.

    Raises:
        Busy: If it is being replaced.
    """

    def __init__(self, database: Path) -> None:
        self._handle, self._is_alone = -1, False
        # Where no file can be made there is nothing to replace either; opening the database says what is wrong.
        with contextlib.suppress(OSError):
            self._handle = os.open(database.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        if not self._lock(fcntl.LOCK_SH):
            self.leave()
            raise Busy(_RESTORED)

    def _lock(self, kind: int) -> bool:
        if self._handle >= 0:
            try:
                fcntl.flock(self._handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # a file system without locks
        return True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else out; may be entered again by who is in it already."""
        if self._is_alone:
            yield
            return
        try:
            if not self._lock(fcntl.LOCK_EX):
                raise InvalidInput(_IN_USE)
            self._is_alone = True
            yield
        finally:
            self._is_alone = False
            self._lock(fcntl.LOCK_SH)  # also after a refusal: asking for more has given up the share

    def leave(self) -> None:
        """Give the share back."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        self.leave()


class ServerPresence:
    """A share in a PostgreSQL database.

    Args:
        engine: Of the database; one of its connections is kept.

    Raises:
        Busy: If it is being replaced.
    """

    def __init__(self, engine: Engine) -> None:
        with named_errors():
            self._connection: Connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not self._ask("pg_try_advisory_lock_shared"):
            self.leave()
            raise Busy(_RESTORED)

    def _ask(self, function: str) -> bool:
        with named_errors():
            return bool(self._connection.execute(text(f"SELECT {function}(:key)"), {"key": _KEY}).scalar())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else out."""
        if not self._ask("pg_try_advisory_lock"):  # a connection does not stand in its own way
            raise InvalidInput(_IN_USE)
        try:
            yield
        finally:
            self._ask("pg_advisory_unlock")

    def leave(self) -> None:
        """Give the share back."""
        with contextlib.suppress(SQLAlchemyError):
            if not self._connection.closed:
                # Said, for the server sees only after a while that a connection was closed.
                self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
                self._connection.detach()  # closed below rather than pooled: the lock is the connection's
                self._connection.close()
