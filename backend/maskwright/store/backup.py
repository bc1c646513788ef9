"""Backups: the whole store in one file that either database can take in again.

A ZIP file with one member per table, ``tables/<name>.jsonl``: one JSON object per row in the order of the primary key,
column -> value, byte strings as base64. The last member, ``manifest.json``, names the format, the schema, the time and
per table the number of rows, the length and the SHA-256 of the member; a file that was cut off therefore has none.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, LargeBinary, Table, select

from maskwright.errors import InvalidInput
from maskwright.store.database import Database
from maskwright.store.schema import REVISION, metadata
from maskwright.store.times import now, to_text

FORMAT = "maskwright-backup/1"
MANIFEST = "manifest.json"
_ROWS_AT_ONCE = 64  # rows may hold masks of megabytes
_LEVEL = 1  # the documents are compressed already


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds: rows per table, and the length of the file."""

    rows: Mapping[str, int]
    nbytes: int


def member_of(table: Table) -> str:
    """Name of a table's member."""
    return f"tables/{table.name}.jsonl"


def write_backup(database: Database, path: Path, *, replace: bool = False) -> BackupReport:
    """Write everything in the store, as of one moment, into a file that is whole or not there.

    Others may go on writing meanwhile. The file can be read by its owner only, for it names people.

    Args:
        database: The store's database.
        path: The file to write; its folder must exist.
        replace: Whether it may take the place of a file.

    Raises:
        InvalidInput: If the file exists, or cannot be written.
        StoreDamaged: If the database cannot be read to the end; no file is left then.
    """
    if path.exists() and not replace:
        raise InvalidInput(f"{path} exists; take another name or give --replace")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
                with database.read(steady=True) as connection:
                    tables = {table.name: _write_table(archive, connection, table) for table in metadata.sorted_tables}
                manifest = {"format": FORMAT, "schema": REVISION, "created_at": to_text(now()), "tables": tables}
                archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            sink.flush()
            os.fsync(sink.fileno())
            nbytes = sink.tell()
        if replace:
            temporary.replace(path)
        else:
            _put(temporary, path)
        _sync_folder(path.parent)
    except FileExistsError:
        raise InvalidInput(f"{path} exists; take another name or give --replace") from None
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return BackupReport({name: entry["rows"] for name, entry in tables.items()}, nbytes)


def _put(temporary: Path, path: Path) -> None:
    """Rename, but fail if somebody was first."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the place with an empty file
        path.open("xb").close()
        temporary.replace(path)


def _write_table(archive: zipfile.ZipFile, connection: Connection, table: Table) -> dict[str, Any]:
    digest, rows, nbytes = hashlib.sha256(), 0, 0
    with archive.open(member_of(table), "w", force_zip64=True) as member:
        for line in _lines(connection, table):
            digest.update(line)
            member.write(line)
            rows += 1
            nbytes += len(line)
    return {"rows": rows, "nbytes": nbytes, "sha256": digest.hexdigest()}


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    names = [str(column.name) for column in table.c]  # SQLAlchemy's are a subclass, which orjson takes for no key
    binary = [str(column.name) for column in table.c if isinstance(column.type, LargeBinary)]
    query = select(table).order_by(*table.primary_key.columns)
    result = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    with contextlib.closing(result):
        for row in result:
            values: dict[str, Any] = dict(zip(names, row, strict=True))
            for name in binary:
                if values[name] is not None:
                    values[name] = base64.b64encode(values[name]).decode()
            yield orjson.dumps(values) + b"\n"


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
