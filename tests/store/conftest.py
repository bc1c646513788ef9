"""A corrections store on either database: every test of it runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import pytest

from maskwright.store.corrections import CorrectionsStore, TaskState
from maskwright.store.database import Database
from maskwright.store.schema import metadata

PLATFORM, SERVER = "label-studio", "http://127.0.0.1:8080"


@pytest.fixture(scope="session")
def shared_postgres(postgres_server):
    import psycopg

    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    opened = Database(postgres_server.format("shared"))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty database of either kind."""
    if request.param == "postgresql":
        opened = request.getfixturevalue("shared_postgres")
        names = ", ".join(metadata.tables)
        opened.write(lambda connection: connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        opened.identities.clear()
        yield opened
        return
    opened = Database(path=tmp_path / "home" / "corrections.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def store(database):
    return CorrectionsStore(database)


@pytest.fixture
def project(store):
    return store.project(PLATFORM, SERVER, 7, title="Pears").id


@pytest.fixture
def state():
    """``state(task, *annotations)``: a task whose image is called after its number."""

    def make(number, *annotations, **more):
        return TaskState(number, b'{"image": "/data/upload/7/%d.png"}' % number, "2026-01-01", annotations, **more)

    return make


@pytest.fixture
def drawn():
    """``drawn(number, ...)``: a state of an annotation."""
    from maskwright.store.corrections import Stored

    def make(number, at="2026-02-01T10:00:00Z", text="first", kind="submitted", person="1", **more):
        document = b'{"id": %d, "result": [{"text": "%s"}]}' % (number, text.encode())
        return Stored(number, kind, person, "2026-02-01T09:00:00Z", at, document, **more)

    return make
