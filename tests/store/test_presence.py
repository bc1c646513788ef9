"""Restoring beside others, databases that are locked or damaged, and backups that somebody made up."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
import zipfile

import pytest

from maskwright.errors import Busy, InvalidInput, TooLarge
from maskwright.store import backup as backups
from maskwright.store import database as databases
from maskwright.store.backup import write_backup
from maskwright.store.corrections import CorrectionsStore, Event, TaskState, open_store
from maskwright.store.database import Database, StoreUnavailable
from maskwright.store.presence import FilePresence
from maskwright.store.purge import purge_image
from maskwright.store.restore import restore_backup, restore_beside_damaged


def again(database, postgres_url=None):
    """The database opened once more, as another process would."""
    if database.is_sqlite:
        return Database(path=database.path)
    return Database(database._engine.url.render_as_string(hide_password=False))


def test_a_store_that_others_have_open_is_not_replaced(store, project, drawn, tmp_path):
    store.put_annotation(project, 1, drawn(1))
    write_backup(store.database, tmp_path / "b.zip")
    other = again(store.database)
    with pytest.raises(InvalidInput, match="stop the server"):
        restore_backup(store.database, tmp_path / "b.zip", replace=True)
    with pytest.raises(InvalidInput, match="stop the server"):  # the refusal did not cost the share in it
        restore_backup(other, tmp_path / "b.zip", replace=True)
    other.close()
    restore_backup(store.database, tmp_path / "b.zip", replace=True)


def test_nobody_opens_a_store_while_it_is_replaced(database, monkeypatch):
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.3)
    with database.alone(), pytest.raises(Busy, match="being restored"):
        again(database)
    again(database).close()


def test_a_damaged_file_that_a_server_has_open_is_not_put_aside(tmp_path):
    store = open_store(tmp_path)
    write_backup(store.database, tmp_path / "b.zip")
    with pytest.raises(InvalidInput, match="stop the server"):
        restore_beside_damaged(tmp_path / "corrections.sqlite3", tmp_path / "b.zip")
    store.close()
    assert restore_beside_damaged(tmp_path / "corrections.sqlite3", tmp_path / "b.zip").exists()
    open_store(tmp_path).close()


def test_a_folder_that_cannot_be_written_or_locked_is_no_fault_of_the_lock(tmp_path, monkeypatch):
    FilePresence(tmp_path / "no folder" / "corrections.sqlite3").leave()
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    presence = FilePresence(tmp_path / "corrections.sqlite3")
    with presence.alone():
        pass
    presence.leave()


def test_a_project_number_that_means_another_project_by_now_is_refused(store, tmp_path):
    elsewhere = CorrectionsStore(Database(path=tmp_path / "elsewhere.sqlite3"))
    elsewhere.project("label-studio", "http://x", 10)
    write_backup(elsewhere.database, tmp_path / "b.zip")
    elsewhere.close()
    row = store.project("label-studio", "http://x", 20)  # a comparison of project 20 begins
    restore_backup(store.database, tmp_path / "b.zip", replace=True)
    with pytest.raises(StoreUnavailable, match="replaced"):
        store.put_tasks(row.id, [TaskState(1, b'{"image": "of 20"}')])
    with pytest.raises(StoreUnavailable, match="replaced"):
        store.bury_tasks(row.id, [1], "2026-01-01")


def test_a_database_that_somebody_writes_to_opens_at_once(tmp_path):
    open_store(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "corrections.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        store = open_store(tmp_path)
        assert store.projects() == []
        assert time.monotonic() - began < 5
        store.close()


def test_opening_gives_up_at_one_deadline(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.5)
    with contextlib.closing(sqlite3.connect(tmp_path / "corrections.sqlite3", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE something (id INTEGER)")  # without our tables: they must be made
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(Busy):
            open_store(tmp_path)
        assert time.monotonic() - began < 2


def test_postgresql_waits_for_no_lock_longer_than_that(postgres_url, monkeypatch):
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.5)
    store = CorrectionsStore(Database(postgres_url))
    held, done = threading.Event(), threading.Event()

    def hold(connection):
        connection.exec_driver_sql("LOCK TABLE projects IN EXCLUSIVE MODE")
        held.set()
        done.wait(20)

    other = threading.Thread(target=store.database.write, args=(hold,))
    other.start()
    try:
        held.wait(20)
        with pytest.raises(Busy, match="locked"):
            store.project("label-studio", "http://x", 1)
    finally:
        done.set()
        other.join()
        store.close()


def test_what_comes_in_while_an_image_is_erased_is_erased_or_kept_out(postgres_url, monkeypatch, drawn, state):
    store = CorrectionsStore(Database(postgres_url))
    project = store.project("label-studio", "http://x", 7).id
    store.put_tasks(project, [state(5, drawn(7))])
    reached, stored = threading.Event(), []

    def late():
        reached.wait(20)
        stored.append(store.put_tasks(project, [state(5, drawn(8, text="SECRET"))]))

    from maskwright.store.erasure import Erasure

    report = Erasure.report
    monkeypatch.setattr(Erasure, "report", lambda *a, **k: (reached.set(), time.sleep(0.5), report(*a, **k))[-1])
    other = threading.Thread(target=late)
    other.start()
    try:
        purge_image(store.database, "/data/upload/7/5.png")
        other.join()
        assert stored == [0]
        with store.database.read() as connection:
            left = connection.exec_driver_sql("SELECT count(*) FROM corrections WHERE document IS NOT NULL").scalar()
        assert left == 0
    finally:
        store.close()


def test_a_backup_needs_no_hard_links(store, project, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(backups.os, "link", refuse)
    write_backup(store.database, tmp_path / "b.zip")
    whole = (tmp_path / "b.zip").read_bytes()
    with pytest.raises(InvalidInput, match="exists"):
        write_backup(store.database, tmp_path / "b.zip")
    real = backups.Path.exists
    monkeypatch.setattr(backups.Path, "exists", lambda path: path.name != "b.zip" and real(path))
    with pytest.raises(InvalidInput, match="exists"):  # somebody was first
        write_backup(store.database, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == whole
    assert os.listdir(tmp_path).count("b.zip") == 1


@pytest.fixture
def archive(tmp_path, drawn, state):
    from maskwright.store.snapshots import SnapshotStore

    store = open_store(tmp_path / "forged")
    project = store.project("label-studio", "http://x", 7).id
    store.put_tasks(project, [state(1, drawn(1))])
    store.add_events([Event("label-studio", "http://x", "A", 7, (1,), (1,))])
    SnapshotStore(store.database).create("one", project)
    write_backup(store.database, tmp_path / "b.zip")
    store.close()
    return tmp_path / "b.zip"


def forge(archive, target, table, change):
    """The backup with one table changed and a manifest that agrees."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as sink:
        manifest = json.loads(source.read("manifest.json"))
        for name in source.namelist()[:-1]:
            data = source.read(name)
            if name == f"tables/{table}.jsonl":
                rows = [json.loads(line) for line in data.splitlines()]
                change(rows)
                data = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
                digest = hashlib.sha256(data).hexdigest()
                manifest["tables"][table] = {"rows": len(rows), "nbytes": len(data), "sha256": digest}
            sink.writestr(name, data)
        sink.writestr("manifest.json", json.dumps(manifest))
    return target


FORGED = {
    "base64": ("corrections", {"document": "é"}), "kind": ("corrections", {"kind": "bogus"}),
    "owner": ("corrections", {"annotation_id": 77}), "digest": ("corrections", {"digest": "no"}),
    "number": ("tasks", {"number": -4}), "time": ("tasks", {"deleted_at": -2}),
    "late": ("tasks", {"seen_at": 253_402_300_800_000_000}), "until": ("tasks", {"erased_until": 2**62}),
    "events": ("events", {"annotations": "nope"}), "event numbers": ("events", {"tasks": "[-1]"}),
    "header": ("snapshots", {"header": "{}"}), "ids": ("snapshot_items", {"proposal_ids": "{}"}),
    "manifest": ("snapshot_items", {"manifest": "["}),
}  # fmt: skip


@pytest.mark.parametrize("what", [*FORGED, "twice"])
def test_rows_that_the_store_would_not_write_are_refused_by_table_and_line(database, archive, tmp_path, what):
    def change(rows):
        if what == "twice":
            rows.append(dict(rows[0]))
        else:
            rows[0].update(FORGED[what][1])

    table = FORGED.get(what, ("corrections",))[0]
    began = time.monotonic()
    with pytest.raises((InvalidInput, TooLarge), match=f"backup: table {table}, line"):
        restore_backup(database, forge(archive, tmp_path / "forged.zip", table, change))
    assert time.monotonic() - began < 3
    assert CorrectionsStore(database).projects() == []
