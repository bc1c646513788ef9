from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.store.corrections import CorrectionsStore, Event, open_store
from maskwright.store.database import Database, StoreDamaged, StoreUnavailable
from maskwright.store.schema import REVISION, metadata
from maskwright.store.upgrade import SchemaUnknown


@pytest.fixture
def path(tmp_path):
    return tmp_path / "corrections.sqlite3"


@pytest.fixture
def filled(path, drawn, state):
    store = CorrectionsStore(Database(path=path))
    project = store.project("label-studio", "http://x", 7).id
    store.put_tasks(project, [state(n, drawn(n, text="t" * 3000)) for n in range(1, 60)])
    store.close()
    return path


def test_the_migrations_make_exactly_the_tables_of_the_schema(database):
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_write_is_on_the_disk_when_it_returns_and_erased_bytes_are_overwritten(path):
    database = Database(path=path)
    with database.read() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1, 1]


def test_opening_again_keeps_everything(filled, tmp_path):
    store = open_store(tmp_path)
    assert len(list(store.task_documents(1))) == 59
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")) == []


def test_a_folder_with_spaces_and_signs_is_no_trouble(tmp_path):
    place = tmp_path / "a b%20?c#d" / "corrections.sqlite3"
    Database(path=place).close()
    assert place.exists()


def _open_and_write(path, number, barrier):
    barrier.wait()
    store = CorrectionsStore(Database(path=path))
    project = store.project("label-studio", "http://x", 7).id
    for n in range(10):
        store.add_events([Event("label-studio", "http://x", "A", 7, (number * 100 + n,))])
        store.category_ids(project, [f"{n}", f"{number}-{n}"])
    store.close()


def test_several_processes_may_begin_at_once(path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    workers = [context.Process(target=_open_and_write, args=(path, number, barrier)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = CorrectionsStore(Database(path=path))
    assert len(store.pending_events(100)) == 40
    assert sorted(store.category_ids(1).values()) == list(range(1, 51))


def test_several_threads_may_begin_at_once(tmp_path):
    failures = []
    barrier = threading.Barrier(6)

    def begin(number):
        barrier.wait()
        try:
            CorrectionsStore(Database(path=tmp_path / f"{number % 2}.sqlite3")).project("p", "s", number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(CorrectionsStore(Database(path=tmp_path / "0.sqlite3")).projects()) == 3


def test_an_sqlite_url_names_the_file(tmp_path):
    Database(f"sqlite:///{tmp_path}/named.sqlite3").close()
    assert (tmp_path / "named.sqlite3").stat().st_mode & 0o077 == 0  # it names people: its owner's business only
    with pytest.raises(InvalidInput, match="no database"):
        Database("sqlite://")


def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(path):
    program = (
        "import sys; from pathlib import Path\n"
        "from maskwright.store.corrections import *; from maskwright.store.database import Database\n"
        f"s = CorrectionsStore(Database(path=Path({str(path)!r})))\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1; s.add_events([Event('p', 's', 'A', 7, (n,), authenticated=True)]); print(n, flush=True)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    said = [worker.stdout.readline() for _ in range(20)]
    time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    said += worker.stdout.readlines()
    worker.wait()
    told = [int(line) for line in said if line.endswith("\n")]
    kept = {one.event.annotations[0] for one in CorrectionsStore(Database(path=path)).pending_events(100_000)}
    assert set(told) <= kept
    assert len(kept) <= len(told) + 1


def test_a_file_that_is_no_database_is_named_and_left_alone(path):
    path.write_bytes(b"these are my notes, not a database\n" * 500)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="restore"):
        Database(path=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_file_that_was_cut_off_is_never_replaced_by_a_new_one(filled, size):
    os.truncate(filled, size)
    with pytest.raises(StoreDamaged, match="restore"):
        Database(path=filled)
    assert filled.stat().st_size == size


def test_scribbled_pages_are_noticed_when_it_opens(filled):
    with open(filled, "r+b") as file:
        for page in range(2, filled.stat().st_size // 4096, 3):
            file.seek(page * 4096)
            file.write(os.urandom(600))
    with pytest.raises(StoreDamaged, match="restore"):
        Database(path=filled)


def test_a_document_that_changed_on_the_disk_is_not_handed_out(filled):
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE corrections SET document = substr(document, 1, length(document) - 20) WHERE id = 3")
    connection.close()
    with pytest.raises(InvalidInput, match="restore"):
        list(CorrectionsStore(Database(path=filled)).task_documents(1))


def test_a_journal_without_its_database_is_not_swept_away(filled):
    store = CorrectionsStore(Database(path=filled))
    store.project("label-studio", "http://x", 8)
    journal = filled.with_name(filled.name + "-wal")
    kept = journal.with_suffix(".kept")
    shutil.copy(journal, kept)
    store.close()
    filled.unlink()
    kept.rename(journal)
    with pytest.raises(StoreDamaged, match="journal"):
        Database(path=filled)
    assert journal.stat().st_size > 0
    assert not filled.exists()


def test_a_database_that_vanishes_while_it_is_open_is_not_made_anew(path):
    database = Database(path=path)
    database.close()
    path.unlink()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        CorrectionsStore(database).projects()
    assert not path.exists()


def test_a_database_of_a_newer_maskwright_is_not_touched(database):
    database.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    try:
        if database.is_sqlite:
            with pytest.raises(SchemaUnknown, match="newer"):
                Database(path=database.path)
    finally:
        back = text("UPDATE alembic_version SET version_num = :revision").bindparams(revision=REVISION)
        database.write(lambda connection: connection.execute(back))


def test_a_database_of_another_program_is_not_touched(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tasks (id INTEGER)")
    with pytest.raises(SchemaUnknown, match="another program"):
        Database(path=path)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        Database(path=tmp_path / "file" / "corrections.sqlite3")


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "postgresql+asyncpg://x/y", "://"])
def test_other_databases_are_refused(url):
    with pytest.raises(InvalidInput, match="MASKWRIGHT_DATABASE_URL"):
        Database(url)


def test_a_postgresql_that_does_not_answer_is_a_clear_error_without_the_password(caplog):
    with pytest.raises(MaskwrightError) as caught:
        Database("postgresql://somebody:s3cret@127.0.0.1:9/none?connect_timeout=2")
    assert "s3cret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(("given", "expected"), [("", "10000"), ("&tcp_user_timeout=2000", "2000")])
def test_a_postgresql_whose_machine_is_gone_is_not_waited_for_long(postgres_url, given, expected):
    database = Database(postgres_url + given)
    with database.read() as connection:
        parameters = connection.connection.driver_connection.info.get_parameters()
    assert parameters["tcp_user_timeout"] == expected
    database.close()


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a small tmpfs here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_named_and_what_was_kept_stays(small_disk, drawn, state):
    store = CorrectionsStore(Database(path=small_disk / "corrections.sqlite3"))
    project = store.project("label-studio", "http://x", 7).id
    acknowledged = []

    def fill():
        for n in range(1, 2000):
            store.put_tasks(project, [state(n, drawn(n, text=os.urandom(8000).hex()))])
            acknowledged.append(n)

    with pytest.raises(StoreUnavailable, match="full"):
        fill()
    kept = len(acknowledged)
    assert kept > 5
    assert len(list(store.task_documents(project))) == kept
    store.close()
    assert len(list(CorrectionsStore(Database(path=small_disk / "corrections.sqlite3")).heads(project))) == kept
