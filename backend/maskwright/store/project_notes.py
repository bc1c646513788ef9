"""Small JSON documents that a project keeps under a name: settings, the held-out part, what was fitted to its work."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import select

from maskwright.store.database import Database
from maskwright.store.documents import checked_text
from maskwright.store.schema_learning import project_notes
from maskwright.store.times import now

LABELLED_FEATURES = "labelled-features"
"""Note with vectors of labelled images by the numbers of their tasks; erased with these."""


class ProjectNotes:
    """Notes of a store's projects.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, project_id: int, name: str) -> Any | None:
        """The JSON value of that name, or None if none was put."""
        query = select(project_notes.c.value).where(
            project_notes.c.project_id == project_id, project_notes.c.name == name
        )
        with self._database.read() as connection:
            text = connection.execute(query).scalar()
        return None if text is None else orjson.loads(text)

    def put(self, project_id: int, name: str, value: Any) -> None:
        """Keep a JSON value under a name, in place of what was there.

        Raises:
            InvalidInput: If the name is longer than 64 characters.
            TypeError: If the value is not JSON.
        """
        row = {"value": orjson.dumps(value).decode(), "updated_at": now()}
        statement = self._database.insert(project_notes).values(
            project_id=project_id, name=checked_text(name, "name of a note", 64), **row
        )
        statement = statement.on_conflict_do_update(index_elements=["project_id", "name"], set_=row)
        self._database.write(lambda connection: connection.execute(statement))
