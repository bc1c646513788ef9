"""SQLAlchemy engines of the two databases, set up as the store needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from maskwright.errors import InvalidInput

_PATIENCE = {"connect_timeout": 10, "tcp_user_timeout": 10_000}
"""Seconds for a connection, and milliseconds for the server's sign that it got something: clicks ask this database, and
must not hang for a quarter of an hour when its machine is gone."""


def postgres_engine(url: str, patience_s: float) -> Engine:
    """Engine of a PostgreSQL database that waits no longer than ``patience_s`` for a lock or a free connection.

    Raises:
        InvalidInput: If the URL is of no PostgreSQL database, or the driver is not installed.
    """
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            url = "postgresql+psycopg://" + url.removeprefix(prefix)
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInput("MASKWRIGHT_DATABASE_URL is no database URL such as postgresql://user@host/name") from None
    if parsed.drivername != "postgresql+psycopg":
        raise InvalidInput("MASKWRIGHT_DATABASE_URL must begin with postgresql:// (or be empty for SQLite)")
    connecting = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
    try:
        engine = create_engine(
            parsed, pool_pre_ping=True, pool_size=8, max_overflow=24, pool_timeout=patience_s,
            connect_args=connecting,
        )  # fmt: skip
    except ImportError:
        raise InvalidInput("PostgreSQL needs the extra: pip install 'maskwright[postgres]'") from None

    def configure(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # a setting made in a transaction would be taken back with it
        connection.execute(f"SET lock_timeout = {round(patience_s * 1000)}")
        connection.autocommit = False

    event.listen(engine, "connect", configure)
    return engine


def sqlite_engine(path: Path, patience_s: float) -> Engine:
    """Engine of an SQLite database whose file is there; waits no longer than ``patience_s`` for other writers."""
    # mode=rw: SQLite itself must never make a new, empty file in place of one that is gone.
    location = f"sqlite:///file:{quote(str(path.absolute()))}?mode=rw&uri=true"
    engine = create_engine(
        location, connect_args={"timeout": patience_s}, pool_size=8, max_overflow=24, pool_timeout=patience_s
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("maskwright_bare"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("maskwright_write") else "BEGIN")
