"""The database of the corrections store: opened, brought to the present schema, one transaction at a time.

SQLite writes wait for one another (``BEGIN IMMEDIATE``) and are on the disk when they return (``synchronous=FULL`` in
WAL mode); erased content is overwritten (``secure_delete``). PostgreSQL runs at READ COMMITTED; writers lock the row
of the annotation, task or project that they change.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite

from maskwright.errors import Busy, InvalidInput
from maskwright.store.engines import postgres_engine, sqlite_engine
from maskwright.store.faults import RESTORE, StoreDamaged, StoreUnavailable, TryAgain, named_errors
from maskwright.store.presence import FilePresence, Presence, ServerPresence
from maskwright.store.schema import REVISION
from maskwright.store.upgrade import revision_of, upgrade

_log = logging.getLogger(__name__)
T = TypeVar("T")

__all__ = ["Database", "StoreDamaged", "StoreUnavailable"]

_BUSY_TIMEOUT_S = 30.0
_ATTEMPTS, _ATTEMPT_PAUSE_S = 10, 0.1
_QUICK_CHECK_BYTES = 32 * 1024**2


class Database:
    """An open database with the present schema. Safe for threads; every process opens its own.

    Args:
        url: ``postgresql://...``, ``sqlite:///path``, or empty for SQLite at ``path``.
        path: The SQLite file; its folder is created.
        presence: A share in it that the caller has already and gives back itself.

    Raises:
        InvalidInput: If the URL is of no database that the store can use.
        StoreDamaged: If the file is not a sound database of this store; never replaced by a new one.
        StoreUnavailable: If it cannot be reached or written, or was made by a newer Maskwright.
    """

    def __init__(self, url: str = "", path: Path | None = None, *, presence: Presence | None = None) -> None:
        self.path: Path | None = None
        # Which project a number of the store's own meant when this process met it first (``require_project``).
        self.identities: dict[int, tuple[str, str, int]] = {}
        # SQLite makes writers poll for their turn, and some wait for seconds; threads of one process can queue.
        self._turn = threading.Lock()
        if url and not url.startswith("sqlite:"):
            self._engine = postgres_engine(url, _BUSY_TIMEOUT_S)
        else:
            if url:
                path = Path(url.removeprefix("sqlite:").removeprefix("//").removeprefix("/") or "")
            if path is None or not path.name:
                raise InvalidInput("no database: give a URL or a path of an SQLite file")
            self.path = path
            self._engine = sqlite_engine(path, _BUSY_TIMEOUT_S)
        self._presence, self._own_presence = presence, presence is None
        try:
            if self.path is not None:
                self._open_sqlite(self.path)
            else:
                self._patiently(lambda: self._enter(lambda: ServerPresence(self._engine)))
                self._patiently(self._upgrade)
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite rather than PostgreSQL."""
        return self._engine.dialect.name == "sqlite"

    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT in the database's own dialect."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def write(self, work: Callable[[Connection], T], *, steady: bool = False) -> T:
        """Run ``work`` in one transaction that is on the disk when this returns; nothing of it if it raises.

        ``work`` may run again when PostgreSQL breaks a deadlock, so it must change nothing outside the database.
        ``steady``: everything it reads is of one moment (always so on SQLite).

        Raises:
            Busy: If other writers did not let go in time.
            StoreDamaged, StoreUnavailable: As for opening.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with self._in_turn(), _writing(self._engine, steady) as connection:
                    return work(connection)
            except Busy as error:
                if not isinstance(error, TryAgain) or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_ATTEMPT_PAUSE_S * attempt)
        raise AssertionError("unreachable")

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=_BUSY_TIMEOUT_S):
            raise Busy("the corrections database is locked by another writer")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def read(self, *, steady: bool = False) -> Iterator[Connection]:
        """A transaction for reading. ``steady``: everything read in it is of one moment (always so on SQLite)."""
        with named_errors(), self._engine.connect() as connection:
            if steady and not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def outside_transactions(self) -> Iterator[Connection]:
        """A connection for commands that refuse to run in a transaction, such as VACUUM."""
        with named_errors(), self._engine.connect() as connection:
            options = {"maskwright_bare": True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
            yield connection.execution_options(**options)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the whole store is replaced: nobody else has it open.

        Raises:
            InvalidInput: If others have it open.
        """
        if self._presence is None:
            raise StoreUnavailable("the corrections database is closed")
        with self._presence.alone():
            yield

    def close(self) -> None:
        """Close every connection."""
        if self._presence is not None and self._own_presence:
            self._presence.leave()
            self._presence = None
        self._engine.dispose()

    def _enter(self, make: Callable[[], Presence]) -> None:
        if self._presence is None:
            self._presence = make()

    def _upgrade(self) -> None:
        # Asked first: a database of the present schema opens whoever is writing to it.
        with self.read() as connection:
            if revision_of(connection) == REVISION:
                return
        self.write(upgrade)

    def _open_sqlite(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            present = path.exists()
            size = path.stat().st_size if present else 0
        except OSError as error:
            raise StoreUnavailable(f"the corrections database cannot be opened: {error.strerror}") from None
        self._patiently(lambda: self._enter(lambda: FilePresence(path)))
        if not present:
            if any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal")):
                raise StoreDamaged(
                    f"{path.name} is gone but its journal is still there, with corrections in it; put the file back "
                    f"beside it, or {RESTORE}"
                )
            self._create(path)
        elif size == 0:
            raise StoreDamaged(f"{path.name} is empty: it was cut off; remove it to begin anew, or {RESTORE}")
        self._patiently(self._upgrade)
        if present and size <= _QUICK_CHECK_BYTES:
            self.check()

    def check(self) -> None:
        """Let SQLite read every page of the file and judge it (PostgreSQL: nothing to do).

        Raises:
            StoreDamaged: If it finds a fault.
        """
        if self.is_sqlite:
            with self.read() as connection:
                verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if verdict != "ok":
                _log.error("the corrections database is damaged: %s", verdict)
                raise StoreDamaged(f"the corrections database is damaged; {RESTORE}")

    def _create(self, path: Path) -> None:
        """Make the file beside and link it in whole, so that an empty one at its place always means a loss."""
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.new-")
            os.close(handle)
        except OSError as error:
            raise StoreUnavailable(f"the corrections database cannot be created: {error.strerror}") from None
        temporary = Path(name)
        engine = sqlite_engine(temporary, _BUSY_TIMEOUT_S)
        try:
            with _writing(engine) as connection:
                upgrade(connection)
            engine.dispose()
            try:
                os.link(temporary, path)
            except FileExistsError:
                return  # another process was first
            except OSError:  # a file system without links
                if not path.exists():
                    temporary.rename(path)
            _sync_folder(path.parent)
        finally:
            engine.dispose()
            for suffix in ("", "-wal", "-shm", "-journal"):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)

    def _patiently(self, work: Callable[[], None]) -> None:
        deadline = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                return work()
            except Busy:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_ATTEMPT_PAUSE_S)


@contextmanager
def _writing(engine: Engine, steady: bool = False) -> Iterator[Connection]:
    with named_errors(), engine.connect() as connection:
        connection = connection.execution_options(maskwright_write=True)
        if steady and engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
