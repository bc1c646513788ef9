"""Bringing a database to the present schema, inside the caller's transaction: whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, inspect, text

from maskwright.errors import MaskwrightError
from maskwright.store.schema import REVISION, metadata
from maskwright.store.schema_learning import TABLES_SINCE

_KNOWN = ("0001", "0002", "0003")  # oldest first; the last is REVISION
_LOCK = 0x6D61736B  # any number, the same in every process
_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the migration that runs in module variables of its own


class SchemaUnknown(MaskwrightError):
    """The database is of a newer Maskwright, or of another program altogether."""

    status = 503


def upgrade(connection: Connection) -> None:
    """Create or change the tables so that they are those of ``schema``. Processes that start together wait in turn.

    Args:
        connection: In a writing transaction; nothing is committed here.

    Raises:
        SchemaUnknown: If the tables are not of this or an older version of the store.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    revision = revision_of(connection)
    if revision == REVISION:
        return
    if revision is not None and revision not in _KNOWN:
        raise SchemaUnknown(
            f"the corrections database has schema {revision}, which this Maskwright ({REVISION}) does not know: "
            "it was made by a newer one; upgrade Maskwright"
        )
    if revision is None:
        foreign = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
        if foreign:
            raise SchemaUnknown(f"the database holds tables of another program ({', '.join(foreign)}); choose another")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    with _ONE_AT_A_TIME:
        command.upgrade(config, "head")


def tables_at(revision: str) -> list[Table]:
    """The tables that a database of that revision has, in the order in which they can be filled.

    Raises:
        KeyError: If this version of the store does not know it.
    """
    if revision not in _KNOWN:
        raise KeyError(revision)
    later = {name for one in _KNOWN[_KNOWN.index(revision) + 1 :] for name in TABLES_SINCE[one]}
    return [table for table in metadata.sorted_tables if table.name not in later]


def revision_of(connection: Connection) -> str | None:
    """The migration that the database stands at, or None for one without our tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
