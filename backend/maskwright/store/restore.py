"""Taking a backup in again: every byte is checked, and either all of it is in the store afterwards or none.

Nothing is unpacked into files; members are looked up by the names that a backup has, and read no further than the
manifest says. A file may hold more than 100 times its own length only in small members.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    delete,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from maskwright.errors import InvalidInput, TooLarge
from maskwright.store.backup import FORMAT, MANIFEST, BackupReport, member_of
from maskwright.store.database import Database
from maskwright.store.documents import MAX_DOCUMENT_BYTES, checked_text, unpack
from maskwright.store.presence import FilePresence
from maskwright.store.restore_rows import check_row
from maskwright.store.schema import NEVER, REVISION, annotation_rows, corrections, metadata, task_versions, tasks
from maskwright.store.times import LAST
from maskwright.store.upgrade import tables_at

_log = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 1024**4
_MAX_MANIFEST_BYTES = 1024**2
_MAX_LINE_BYTES = MAX_DOCUMENT_BYTES * 3 // 2
_MAX_RATIO, _SMALL_MEMBER_BYTES = 100, 16 * 1024**2
_SUFFIXES = ("", "-wal", "-shm")
_BATCH_ROWS, _BATCH_BYTES = 500, 16 * 1024**2


def restore_backup(
    database: Database, path: Path, *, replace: bool = False, max_bytes: int = DEFAULT_MAX_BYTES
) -> BackupReport:
    """Fill the store from a backup, in one transaction.

    Args:
        database: The store's database; SQLite or PostgreSQL, whichever the backup came from.
        path: A file of ``write_backup``.
        replace: Whether what the store holds may be thrown away for it.
        max_bytes: How long all rows together may be when unpacked.

    Returns:
        What was taken in.

    Raises:
        InvalidInput: If the file is no backup, is damaged, was tampered with, is of a newer Maskwright, or the store
            is not empty and ``replace`` is not set, or others have the store open. Nothing is changed then.
        TooLarge: If it would unpack to more than ``max_bytes``, or to suspiciously more than it is long.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            listed = _checked_manifest(archive, max_bytes)

            def work(connection: Connection) -> None:
                if not database.is_sqlite:
                    names = ", ".join(table.name for table in metadata.sorted_tables)
                    connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
                _make_room(connection, replace)
                for table in (one for one in metadata.sorted_tables if one.name in listed):
                    with archive.open(member_of(table)) as member:
                        _fill(connection, table, member, listed[table.name])
                    _continue_numbering(connection, table)
                _check_heads(connection)

            with database.alone():
                database.write(work)
            nbytes = path.stat().st_size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InvalidInput(f"{path.name} is no backup, or a damaged one: {error}") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    return BackupReport({name: entry["rows"] for name, entry in listed.items()}, nbytes)


def restore_beside_damaged(path: Path, backup: Path) -> Path:
    """Put a damaged SQLite database aside and make a sound one from a backup; if that fails it is put back.

    Args:
        path: The damaged file.
        backup: A file of ``write_backup``.

    Returns:
        Where the damaged file is now, with its journal beside it.

    Raises:
        InvalidInput, TooLarge: As ``restore_backup``.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if aside.exists():
        raise InvalidInput(f"{aside.name} exists already; move it away")
    presence = FilePresence(path)
    try:
        with presence.alone():
            _move(path, aside)
            try:
                database = Database(path=path, presence=presence)
                try:
                    restore_backup(database, backup)
                finally:
                    database.close()
            except BaseException:
                for suffix in _SUFFIXES:
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                _move(aside, path)
                raise
    finally:
        presence.leave()
    return aside


def _move(source: Path, target: Path) -> None:
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            source.with_name(source.name + suffix).rename(target.with_name(target.name + suffix))


def _checked_manifest(archive: zipfile.ZipFile, max_bytes: int) -> Mapping[str, dict[str, Any]]:
    members = archive.infolist()
    names = [member.filename for member in members]
    if MANIFEST not in names:
        raise InvalidInput("no backup of Maskwright: it has no manifest.json (or the file was cut off)")
    entry = archive.getinfo(MANIFEST)
    if entry.file_size > _MAX_MANIFEST_BYTES:
        raise TooLarge(f"backup: manifest.json of {entry.file_size} bytes; at most {_MAX_MANIFEST_BYTES}")
    try:
        manifest = orjson.loads(archive.read(MANIFEST))
        kind, schema, listed = manifest["format"], manifest["schema"], manifest["tables"]
        entries = {str(name): {key: one[key] for key in ("rows", "nbytes", "sha256")} for name, one in listed.items()}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise InvalidInput("backup: manifest.json is not what Maskwright writes") from None
    try:
        if kind != FORMAT:
            raise KeyError(kind)
        wanted = {member_of(table): table.name for table in tables_at(schema)}
    except KeyError:
        raise InvalidInput(
            f"backup: made as {str(kind)[:40]!r} with schema {str(schema)[:40]!r}, this Maskwright reads {FORMAT!r} "
            f"up to {REVISION!r}; restore it with the version that made it, or upgrade"
        ) from None
    if sorted(names) != sorted([*wanted, MANIFEST]) or set(entries) != set(wanted.values()):
        strange = sorted(set(names) ^ {*wanted, MANIFEST})[:3]
        raise InvalidInput(f"backup: holds other members than a backup does: {', '.join(map(repr, strange))}")
    for member in members:
        told = entry.file_size if member.filename == MANIFEST else entries[wanted[member.filename]]["nbytes"]
        if member.flag_bits & 1 or member.file_size != told:
            raise InvalidInput(f"backup: {member.filename} is not as long as the manifest says, or is encrypted")
        if member.file_size > max(_SMALL_MEMBER_BYTES, member.compress_size * _MAX_RATIO):
            raise TooLarge(f"backup: {member.filename} unpacks to more than {_MAX_RATIO} times its length")
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise TooLarge(f"backup: unpacks to {total} bytes; at most {max_bytes} are taken")
    return entries


def _make_room(connection: Connection, replace: bool) -> None:
    for table in reversed(metadata.sorted_tables):
        if replace:
            connection.execute(delete(table))
        elif connection.execute(select(table).limit(1)).first() is not None:
            raise InvalidInput("the store is not empty; give --replace to throw away what it holds")


def _fill(connection: Connection, table: Table, member: IO[bytes], told: Mapping[str, Any]) -> None:
    digest, count = hashlib.sha256(), 0
    batch: list[dict[str, Any]] = []
    waiting = 0
    for line in _lines(member, table.name):
        digest.update(line)
        count += 1
        batch.append(_row(table, line, count))
        waiting += len(line)
        if len(batch) == _BATCH_ROWS or waiting > _BATCH_BYTES:
            _insert(connection, table, batch, count)
            batch, waiting = [], 0
    _insert(connection, table, batch, count)
    if count != told["rows"] or digest.hexdigest() != told["sha256"]:
        raise InvalidInput(f"backup: table {table.name} does not have the checksum that the manifest says")


def _insert(connection: Connection, table: Table, batch: list[dict[str, Any]], count: int) -> None:
    if not batch:
        return
    try:
        connection.execute(insert(table), batch)
    except IntegrityError as error:
        _log.error("a backup was refused: %s", error.orig)
        raise InvalidInput(
            f"backup: table {table.name}, lines {count - len(batch) + 1} to {count}: a row is there twice, or "
            "belongs to one that is not there"
        ) from None


def _lines(member: IO[bytes], name: str) -> Iterator[bytes]:
    while line := member.readline(_MAX_LINE_BYTES):
        if not line.endswith(b"\n"):
            raise InvalidInput(f"backup: table {name} has a line that is cut off or too long")
        yield line


def _row(table: Table, line: bytes, number: int) -> dict[str, Any]:
    where = f"backup: table {table.name}, line {number}"
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict) or row.keys() != set(table.c.keys()):
        raise InvalidInput(f"{where}: not the columns of this table")
    values = {column.name: _value(column, row[column.name], f"{where}: {column.name}") for column in table.c}
    check_row(table, values, where)
    if values.get("document") is not None:
        nbytes = values["nbytes"]
        if not 0 <= nbytes <= MAX_DOCUMENT_BYTES:
            raise TooLarge(f"{where}: a document of {nbytes} bytes")
        try:
            orjson.loads(unpack(values["document"], nbytes, values["digest"]))
        except (InvalidInput, orjson.JSONDecodeError):
            raise InvalidInput(f"{where}: the document is damaged") from None
    return values


def _value(column: Column[Any], value: Any, where: str) -> Any:
    if value is None:
        if column.nullable:
            return None
        raise InvalidInput(f"{where}: is missing")
    kind = column.type
    if isinstance(kind, LargeBinary) and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:  # also of text that is not ASCII
            raise InvalidInput(f"{where}: not base64") from None
    if isinstance(kind, Boolean) and isinstance(value, bool):
        return value
    if isinstance(kind, Float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, Integer) and isinstance(value, int) and not isinstance(value, bool):
        bound = 2**63 if isinstance(kind, BigInteger) else 2**31
        if column.name.endswith(("_at", "_until")):
            bound = LAST
        if (NEVER if column.name.endswith("_at") else 0) <= value < bound:
            return value
    if kind.python_type is str and isinstance(value, str):
        return checked_text(value, where, getattr(kind, "length", None) or _MAX_LINE_BYTES)
    raise InvalidInput(f"{where}: {str(value)[:40]!r} does not fit")


def _continue_numbering(connection: Connection, table: Table) -> None:
    """PostgreSQL counts apart from the rows: the next id must come after those that were taken in."""
    if connection.dialect.name == "postgresql" and "id" in table.c:
        highest = connection.execute(select(func.max(table.c.id))).scalar() or 0
        command = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :next, false)")
        connection.execute(command, {"name": table.name, "next": highest + 1})


def _check_heads(connection: Connection) -> None:
    for owners, versions, owner in ((tasks, task_versions, "task_id"), (annotation_rows, corrections, "annotation_id")):
        own = select(versions.c.id).where(versions.c.id == owners.c.head_id, versions.c[owner] == owners.c.id).exists()
        stray = select(owners.c.id).where(owners.c.head_id.is_not(None), ~own).limit(1)
        if connection.execute(stray).first() is not None:
            raise InvalidInput(f"backup: table {owners.name} points to states that are not there")
