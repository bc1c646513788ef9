"""A store of an earlier version is brought to the present one in place, with everything in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select

import maskwright.store
from maskwright.store.backup import write_backup
from maskwright.store.corrections import CorrectionsStore, TaskState
from maskwright.store.database import Database
from maskwright.store.restore import restore_backup
from maskwright.store.rounds import RoundStore
from maskwright.store.schema import REVISION, projects
from maskwright.store.upgrade import revision_of, tables_at


def migrated(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(maskwright.store.__file__).parent / "migrations"))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        row = {"platform": "label-studio", "server": "http://x", "number": 7, "title": "Pears", "label_config": "",
               "created_at": 1}  # fmt: skip
        connection.execute(projects.insert().values(row))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def earlier(request, tmp_path):
    """Opens a database that was made by the first version of the store."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        migrated(url.replace("postgresql://", "postgresql+psycopg://"), "0001")
        return lambda: Database(url)
    path = tmp_path / "corrections.sqlite3"
    migrated(f"sqlite:///{path}", "0001")
    return lambda: Database(path=path)


def test_a_store_of_the_first_version_is_opened_with_what_it_holds_and_can_learn(earlier):
    for attempt in range(2):
        database = earlier()
        with database.read() as connection:
            assert revision_of(connection) == REVISION
            assert connection.execute(select(projects.c.title)).scalars().all() == ["Pears"]
        made, is_new = RoundStore(database).queue(1, trigger="t", base="embedded", config={})
        assert (made.number, is_new) == (1, attempt == 0)
        database.close()


def test_a_backup_of_the_first_version_fills_a_present_store(tmp_path):
    import json
    import zipfile

    store = CorrectionsStore(Database(path=tmp_path / "old.sqlite3"))
    project = store.project("label-studio", "http://x", 7, title="Pears").id
    store.put_tasks(project, [TaskState(1, b'{"image": "a"}', "2026-01-01")])
    write_backup(store.database, tmp_path / "now.zip")
    before = list(store.task_documents(project))
    store.close()
    earlier = {table.name for table in tables_at("0001")}
    with zipfile.ZipFile(tmp_path / "now.zip") as source, zipfile.ZipFile(tmp_path / "0001.zip", "w") as sink:
        manifest = json.loads(source.read("manifest.json"))
        manifest["schema"] = "0001"
        manifest["tables"] = {name: told for name, told in manifest["tables"].items() if name in earlier}
        for name in earlier:
            sink.writestr(f"tables/{name}.jsonl", source.read(f"tables/{name}.jsonl"))
        sink.writestr("manifest.json", json.dumps(manifest))
    fresh = CorrectionsStore(Database(path=tmp_path / "new.sqlite3"))
    RoundStore(fresh.database)
    restore_backup(fresh.database, tmp_path / "0001.zip")
    assert list(fresh.task_documents(project)) == before
    assert RoundStore(fresh.database).list() == []
    fresh.close()
    assert len(earlier) == 13
