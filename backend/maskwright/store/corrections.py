"""The corrections store: what people left on the tasks of a platform, kept for ever.

Events are hints (``events``), states are kept whatever the order they arrive in (``writing``), and everything is read
back as the platform's own documents (``reading``). Snapshots, erasure and backups are modules of their own on the same
``Database``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from maskwright.store.database import Database
from maskwright.store.documents import checked_number, checked_text
from maskwright.store.events import EventHints
from maskwright.store.reading import CorrectionsReading, project_row
from maskwright.store.records import (
    Event,
    Head,
    ImageFacts,
    PendingEvent,
    ProjectRow,
    Proposal,
    StoreCounts,
    Stored,
    TaskState,
)
from maskwright.store.registers import Registers
from maskwright.store.schema import projects
from maskwright.store.times import now
from maskwright.store.writing import CorrectionsWriting

__all__ = [
    "CorrectionsStore",
    "Event",
    "Head",
    "ImageFacts",
    "PendingEvent",
    "ProjectRow",
    "Proposal",
    "StoreCounts",
    "Stored",
    "TaskState",
    "open_store",
]


def open_store(home: Path, url: str = "") -> CorrectionsStore:
    """Open the store of a server or command: ``url``, or ``corrections.sqlite3`` in ``home`` if that is empty."""
    return CorrectionsStore(Database(url, home / "corrections.sqlite3"))


class CorrectionsStore(CorrectionsReading, CorrectionsWriting, EventHints, Registers):
    """Projects with their hints, tasks, annotations, proposals and registers. Safe for threads and processes.

    Args:
        database: An open database; ``close`` closes it.
        max_unproven: How many events of unproven senders may wait (see ``EventHints``).
    """

    def __init__(self, database: Database, *, max_unproven: int = 10_000) -> None:
        EventHints.__init__(self, database, max_unproven=max_unproven)

    def project(
        self, platform: str, server: str, number: int, *, title: str | None = None, label_config: str | None = None
    ) -> ProjectRow:
        """The project of that number at that server, made if new.

        Args:
            platform: Name of the platform, e.g. ``label-studio``.
            server: Address of its server, always written the same way.
            number: The platform's number of the project.
            title: Its present title; None leaves what is known.
            label_config: Its present labelling configuration; None leaves what is known.

        Raises:
            InvalidInput: If a text is too long or the number out of range.
        """
        told: dict[str, Any] = {
            name: checked_text(value, name, 10_000_000)
            for name, value in (("title", title), ("label_config", label_config)) if value is not None
        }  # fmt: skip
        key: dict[str, Any] = {
            "platform": checked_text(platform, "platform", 64),
            "server": checked_text(server, "server", 512),
            "number": checked_number(number, "project"),
        }

        def work(connection: Connection) -> ProjectRow:
            row: dict[str, Any] = {"title": "", "label_config": "", **told}
            row.update(created_at=now(), full_sync_needed_at=0)
            statement = self.database.insert(projects).values(**key, **row)
            statement = statement.on_conflict_do_update(index_elements=list(key), set_=told or {"number": number})
            made: ProjectRow = project_row(connection.execute(statement.returning(*projects.c)).one())
            return made

        known = self.find_project(platform, server, number)
        if known is not None and all(getattr(known, name) == value for name, value in told.items()):
            return known
        return self._met(self.database.write(work))

    def find_project(self, platform: str, server: str, number: int) -> ProjectRow | None:
        """The project of that number at that server, or None if the store does not know it."""
        query = select(projects).where(
            projects.c.platform == platform, projects.c.server == server, projects.c.number == number
        )
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._met(project_row(row))

    def _met(self, row: ProjectRow) -> ProjectRow:
        self.database.identities.setdefault(row.id, (row.platform, row.server, row.number))
        return row

    def projects(self, *, platform: str | None = None, server: str | None = None) -> list[ProjectRow]:
        """All known projects, oldest first; of one platform or server if named."""
        query = select(projects).order_by(projects.c.id)
        for column, wanted in ((projects.c.platform, platform), (projects.c.server, server)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self.database.read() as connection:
            return [project_row(row) for row in connection.execute(query)]

    def close(self) -> None:
        """Close the database."""
        self.database.close()
