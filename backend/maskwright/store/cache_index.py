"""Which files a folder holds, how large they are and when each was last used: SQLite, shared by processes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

_log = logging.getLogger(__name__)

_metadata = MetaData()
_files = Table(
    "files",
    _metadata,
    Column("digest", String(64), primary_key=True),
    Column("nbytes", Integer, nullable=False),
    Column("last_used_ns", BigInteger, nullable=False),
    Index("files_by_age", "last_used_ns"),
)
_ROWS_PER_STATEMENT = 500
_ATTEMPTS, _ATTEMPT_PAUSE_S = 10, 0.1


def _configure(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # The index can be rebuilt from the folder, so it need not survive a power cut to the last row.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


class CacheIndex:
    """Rows of (digest, bytes, last use). A fault of the database is logged and answered as if nothing were known.

    Args:
        path: The database file; its folder must exist when ``open`` is called.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._last_warning = float("-inf")

    def open(self, files: Mapping[str, tuple[int, float]]) -> None:
        """Make the index agree with the files that are there: digest -> (bytes, last change in seconds)."""
        try:
            self._engine = self._connect_patiently(files)
        except OperationalError as error:
            self._warn(error)
        except DatabaseError as error:
            # "file is not a database", "disk image is malformed": everything in it can be derived again.
            _log.warning("rebuilding the index of the embedding cache: %s", error.orig)
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            try:
                self._engine = self._connect_patiently(files)
            except SQLAlchemyError as again:
                self._warn(again)

    def _connect_patiently(self, files: Mapping[str, tuple[int, float]]) -> Engine:
        """Another process may be creating the same database: SQLite does not wait for the switch to WAL."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._connect(files)
            except OperationalError:
                time.sleep(_ATTEMPT_PAUSE_S)
        return self._connect(files)

    def _connect(self, files: Mapping[str, tuple[int, float]]) -> Engine:
        engine = create_engine(f"sqlite:///{self._path}", connect_args={"timeout": 30.0})
        event.listen(engine, "connect", _configure)
        try:
            with engine.begin() as connection:
                # Not create_all: it looks first and creates then, and another process may come in between.
                connection.execute(CreateTable(_files, if_not_exists=True))
                for index in _files.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))
                known = set(connection.execute(select(_files.c.digest)).scalars())
                rows = [
                    {"digest": digest, "nbytes": size, "last_used_ns": int(changed * 1e9)}
                    for digest, (size, changed) in files.items()
                    if digest not in known
                ]
                if rows:
                    connection.execute(insert(_files).on_conflict_do_nothing(), rows)
                gone = sorted(known - files.keys())
                for start in range(0, len(gone), _ROWS_PER_STATEMENT):
                    batch = gone[start : start + _ROWS_PER_STATEMENT]
                    connection.execute(delete(_files).where(_files.c.digest.in_(batch)))
        except BaseException:
            engine.dispose()
            raise
        return engine

    def touch(self, digest: str, nbytes: int) -> bool:
        """Record a use of a file, known or new; False if the database refused."""
        now = time.time_ns()
        statement = insert(_files).values(digest=digest, nbytes=nbytes, last_used_ns=now)
        statement = statement.on_conflict_do_update(
            index_elements=[_files.c.digest], set_={"nbytes": nbytes, "last_used_ns": now}
        )
        return self._execute(statement)

    def remove(self, digests: Sequence[str]) -> None:
        """Forget files."""
        for start in range(0, len(digests), _ROWS_PER_STATEMENT):
            batch = digests[start : start + _ROWS_PER_STATEMENT]
            self._execute(delete(_files).where(_files.c.digest.in_(batch)))

    def oldest_beyond(self, max_bytes: int) -> list[str]:
        """The least recently used files that must go so that the rest fit into ``max_bytes``."""
        engine = self._engine
        if engine is None:
            return []
        excess = self.totals()[1] - max_bytes
        chosen: list[str] = []
        if excess <= 0:
            return chosen
        try:
            with engine.connect() as connection:
                by_age = select(_files.c.digest, _files.c.nbytes).order_by(_files.c.last_used_ns)
                for digest, nbytes in connection.execute(by_age):
                    if excess <= 0:
                        break
                    chosen.append(digest)
                    excess -= nbytes
        except SQLAlchemyError as error:
            self._warn(error)
        return chosen

    def totals(self) -> tuple[int, int]:
        """How many files there are, and their bytes."""
        engine = self._engine
        if engine is None:
            return 0, 0
        try:
            with engine.connect() as connection:
                count, total = connection.execute(
                    select(func.count(), func.coalesce(func.sum(_files.c.nbytes), 0)).select_from(_files)
                ).one()
        except SQLAlchemyError as error:
            self._warn(error)
            return 0, 0
        return int(count), int(total)

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _execute(self, statement: Any) -> bool:
        engine = self._engine
        if engine is None:
            return False
        try:
            with engine.begin() as connection:
                connection.execute(statement)
        except SQLAlchemyError as error:
            self._warn(error)
            return False
        return True

    def _warn(self, error: SQLAlchemyError) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._last_warning < 60.0:
                return
            self._last_warning = now
        _log.warning("the index of the embedding cache failed: %s; going on without it", getattr(error, "orig", error))
