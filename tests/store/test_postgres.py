"""What only PostgreSQL can show; the other tests of the store run on both databases."""

from __future__ import annotations

import multiprocessing
import random

import psycopg
import pytest

from maskwright.errors import MaskwrightError
from maskwright.store.corrections import CorrectionsStore, Event, Stored, TaskState
from maskwright.store.database import Database, StoreUnavailable
from maskwright.store.purge import purge_annotator
from maskwright.store.snapshots import SnapshotStore
from maskwright.store.upgrade import SchemaUnknown

SERVER = "http://x"


def storm():
    return [
        (
            n % 7 + 1,
            Stored(n, "submitted", "1", "", f"2026-02-01T10:00:{v:02d}Z", b'{"id": %d, "version": %d}' % (n, v)),
        )
        for n in range(1, 31)
        for v in range(5)
    ]


def work(url, seed, barrier):
    barrier.wait()
    store = CorrectionsStore(Database(url))  # all of them find it empty
    project = store.project("label-studio", SERVER, 7).id
    mine = storm()
    random.Random(seed).shuffle(mine)
    for start in range(0, len(mine), 10):
        part = mine[start : start + 10]
        store.put_tasks(project, [TaskState(task, b'{"image": "a"}', "", (one,)) for task, one in part])
        store.add_events([Event("label-studio", SERVER, "A", 7, (one.number,)) for _, one in part])
        store.category_ids(project, [f"class {one.number}" for _, one in part])
    SnapshotStore(store.database).create("end-of-one", project, items=[])
    store.close()


def test_processes_that_start_at_once_and_store_the_same_storm_agree(postgres_url):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    workers = [context.Process(target=work, args=(postgres_url, seed, barrier)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = CorrectionsStore(Database(postgres_url))
    try:
        assert [b'"version": 4' in head.stored.document for head in store.heads(1)] == [True] * 30
        assert store.counts(1).corrections == 150
        assert sorted(store.category_ids(1).values()) == list(range(1, 31))
        assert len(store.pending_events(1000)) == 30
        assert [one.name for one in SnapshotStore(store.database).list()] == ["end-of-one"]
    finally:
        store.close()


def test_both_databases_read_back_the_same_bytes_and_digests(postgres_url, tmp_path):
    stores = [CorrectionsStore(Database(postgres_url)), CorrectionsStore(Database(path=tmp_path / "c.sqlite3"))]
    seen = []
    for store in stores:
        project = store.project("label-studio", SERVER, 7).id
        store.put_tasks(project, [TaskState(task, b'{"image": "a"}', "", (one,)) for task, one in storm()])
        store.bury_annotation(project, 3, "2026-03-01")
        digest = SnapshotStore(store.database).create("s", project).digest
        seen.append((list(store.task_documents(project)), digest))
        store.close()
    assert seen[0] == seen[1]


def test_a_connection_that_was_cut_is_made_anew(postgres_url):
    store = CorrectionsStore(Database(postgres_url))
    try:
        store.project("label-studio", SERVER, 7)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            connection.execute(f"{others} AND pid <> pg_backend_pid()")
        assert store.add_events([Event("label-studio", SERVER, "A", 7)]) == 1
    finally:
        store.close()


def test_a_connection_cut_in_the_middle_leaves_nothing_half_done(postgres_url):
    store = CorrectionsStore(Database(postgres_url))

    def half(connection):
        connection.exec_driver_sql("INSERT INTO projects VALUES (1, 'p', 's', 1, '', '', 0, NULL, NULL)")
        with psycopg.connect(postgres_url, autocommit=True) as other:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            other.execute(f"SELECT pg_terminate_backend({pid})")
        connection.exec_driver_sql("SELECT 1")

    try:
        with pytest.raises(StoreUnavailable):
            store.database.write(half)
        assert store.projects() == []
    finally:
        store.close()


def test_erased_rows_leave_the_files_of_the_table(postgres_url):
    store = CorrectionsStore(Database(postgres_url))
    try:
        project = store.project("label-studio", SERVER, 7).id
        for task, one in storm():
            store.put_annotation(project, task, one)
        place = "SELECT pg_relation_filenode('corrections')"
        with store.database.read() as connection:
            before = connection.exec_driver_sql(place).scalar()
        assert purge_annotator(store.database, "1").rewritten
        with store.database.read() as connection:
            assert connection.exec_driver_sql(place).scalar() != before
    finally:
        store.close()


def test_a_database_of_a_newer_maskwright_or_another_program_is_not_touched(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE events (id integer)")
        with pytest.raises(SchemaUnknown, match="another program"):
            Database(postgres_url)
        connection.execute("DROP TABLE events")
        Database(postgres_url).close()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(SchemaUnknown, match="newer"):
            Database(postgres_url)


def test_a_database_that_is_not_there_is_a_clear_error(postgres_server):
    with pytest.raises(MaskwrightError, match="corrections database"):
        Database(postgres_server.format("nowhere"))
