"""Which workers are there: each says so every now and then, wherever it runs."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select

from maskwright.store.database import Database
from maskwright.store.documents import checked_text
from maskwright.store.schema_learning import workers
from maskwright.store.times import now

_FORGOTTEN_US = 24 * 3600 * 10**6


class WorkerRegister:
    """Signs of life of the workers on a store.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, name: str) -> None:
        """This worker is alive. Those that were not for a day are forgotten."""
        row = {"seen_at": now()}
        statement = self._database.insert(workers).values(name=checked_text(name, "name of a worker", 255), **row)
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=row)

        def work(connection: Connection) -> None:
            connection.execute(delete(workers).where(workers.c.seen_at < row["seen_at"] - _FORGOTTEN_US))
            connection.execute(statement)

        self._database.write(work)

    def gone(self, name: str) -> None:
        """This worker has ended."""
        self._database.write(lambda connection: connection.execute(delete(workers).where(workers.c.name == name)))

    def silent_for(self) -> float | None:
        """Seconds since any worker said that it is alive, or None if none is known."""
        with self._database.read() as connection:
            last = connection.execute(select(func.max(workers.c.seen_at))).scalar()
        return None if last is None else max(0.0, (now() - last) / 1e6)
