"""What each project serves: an append-only history of base models with adapter and class head; the newest counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from maskwright.errors import InvalidInput, NotFound
from maskwright.store.database import Database
from maskwright.store.documents import checked_text
from maskwright.store.schema import projects
from maskwright.store.schema_learning import served_versions
from maskwright.store.times import now, to_text

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Served:
    """One version that a project serves or served.

    Attributes:
        id: Grows with time over all projects.
        project_id: From ``CorrectionsStore.project``.
        base: Canonical URI of the base model, without adapter and class head.
        adapter: 32 hex digits, or None for the base's own weights.
        classes: The class head's 32 hex digits, or None for none.
        round_number: The round that it came from, or None.
        reason: Why it is served.
        parent_id: The version that a rollback goes back to; None: the base alone.
        created_at: ISO 8601.
    """

    id: int
    project_id: int
    base: str
    adapter: str | None
    classes: str | None
    round_number: int | None
    reason: str
    parent_id: int | None
    created_at: str

    @property
    def uri(self) -> str:
        """One string that says everything that is served."""
        adapter = f"+adapter:{self.adapter}" if self.adapter else ""
        classes = f"+classes:{self.classes}" if self.classes else ""
        return f"{self.base}{adapter}{classes}"


class ServedRegister:
    """Served versions of a store's projects.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self, project_id: int, base: str) -> Served | None:
        """The version in force, or None while the base alone is served and always was."""
        with self._database.read() as connection:
            return in_force(connection, project_id, base)

    def lookup(self, platform: str, server: str, number: int, base: str) -> Served | None:
        """``current`` of the project that a platform's server knows by that number, in one query."""
        query = select(served_versions).join(projects, projects.c.id == served_versions.c.project_id)
        query = query.where(
            projects.c.platform == platform, projects.c.server == server, projects.c.number == number,
            served_versions.c.base == base,
        )  # fmt: skip
        with self._database.read() as connection:
            row = connection.execute(query.order_by(served_versions.c.id.desc()).limit(1)).first()
        return None if row is None else _served(row)

    def put(
        self,
        project_id: int,
        base: str,
        adapter: str | None,
        classes: str | None,
        *,
        round_number: int | None,
        reason: str,
    ) -> Served:
        """Serve this from now on; where that round's very version is in force already, nothing is appended.

        Raises:
            NotFound: If there is no such project.
            InvalidInput: If ``adapter`` or ``classes`` is not 32 hex digits, or a text does not fit.
        """

        def work(connection: Connection) -> Served:
            lock_project(connection, project_id)
            present = in_force(connection, project_id, base)
            wanted = adapter, classes, round_number
            # Of a form sent twice, the second would be a version from which going back changes nothing.
            if present is not None and (present.adapter, present.classes, present.round_number) == wanted:
                return present
            return append(connection, project_id, base, adapter, classes, round_number=round_number, reason=reason)

        return self._database.write(work)

    def rollback(
        self, project_id: int, base: str, reason: str = "rolled back", *, expected: int | None = None
    ) -> Served:
        """Serve the version before the present one again; doing so repeatedly goes back to the base alone.

        Args:
            project_id: From ``CorrectionsStore.project``.
            base: Canonical URI of the base model.
            reason: Why.
            expected: Id of the version that was in service when this was decided; None for whichever is.

        Raises:
            NotFound: If there is no such project.
            InvalidInput: If nothing was served before, or another version than the expected one is in service.
        """

        def work(connection: Connection) -> Served:
            lock_project(connection, project_id)
            present = in_force(connection, project_id, base)
            if expected is not None and (present is None or present.id != expected):
                raise InvalidInput(
                    "another version is in service by now; look at the versions again before you go back"
                )
            if present is None or (present.uri == base and present.parent_id is None):
                raise InvalidInput(f"the project serves {base} as it is: there is no version to go back to")
            row: dict[str, Any] = {"adapter": None, "classes": None, "round_number": None, "parent_id": None}
            if present.parent_id is not None:
                query = select(*(served_versions.c[name] for name in row))
                row = dict(connection.execute(query.where(served_versions.c.id == present.parent_id)).one()._mapping)
            return _insert(connection, project_id=project_id, base=base, reason=reason, **row)

        return self._database.write(work)

    def history(self, project_id: int) -> list[Served]:
        """Everything that a project ever served, oldest first."""
        query = select(served_versions).where(served_versions.c.project_id == project_id)
        with self._database.read() as connection:
            return [_served(row) for row in connection.execute(query.order_by(served_versions.c.id))]

    def newest_id(self) -> int:
        """``id`` of the newest version of any project, 0 for none: a cheap way to notice changes."""
        with self._database.read() as connection:
            return connection.execute(select(func.max(served_versions.c.id))).scalar() or 0


def lock_project(connection: Connection, project_id: int) -> None:
    """Let one writer at a time decide over a project.

    Raises:
        NotFound: If there is no such project.
    """
    lock = select(projects.c.id).where(projects.c.id == project_id).with_for_update()
    if connection.execute(lock).first() is None:
        raise NotFound(f"the store has no project whose own number is {project_id}")


def in_force(connection: Connection, project_id: int, base: str) -> Served | None:
    """``ServedRegister.current`` inside a transaction."""
    query = select(served_versions).where(served_versions.c.project_id == project_id, served_versions.c.base == base)
    row = connection.execute(query.order_by(served_versions.c.id.desc()).limit(1)).first()
    return None if row is None else _served(row)


def append(
    connection: Connection,
    project_id: int,
    base: str,
    adapter: str | None,
    classes: str | None,
    *,
    round_number: int | None,
    reason: str,
) -> Served:
    """``ServedRegister.put`` inside a transaction that holds the project's lock."""
    for name, value in (("adapter", adapter), ("class head", classes)):
        if value is not None and not _ID.fullmatch(value):
            raise InvalidInput(f"{name} {value[:80]!r}: an id of 32 hex digits is needed")
    before = in_force(connection, project_id, base)
    return _insert(
        connection,
        project_id=project_id,
        base=checked_text(base, "base model", 1024),
        adapter=adapter,
        classes=classes,
        round_number=round_number,
        reason=checked_text(reason, "reason"),
        parent_id=before.id if before else None,
    )


def _insert(connection: Connection, **row: Any) -> Served:
    statement = insert(served_versions).values(**row, created_at=now()).returning(*served_versions.c)
    return _served(connection.execute(statement).one())


def _served(row: Any) -> Served:
    return Served(
        row.id, row.project_id, row.base, row.adapter, row.classes, row.round_number, row.reason, row.parent_id,
        to_text(row.created_at),
    )  # fmt: skip
