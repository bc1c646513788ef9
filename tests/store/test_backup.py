from __future__ import annotations

import json
import os
import stat
import zipfile

import pytest
import typer
from typer.testing import CliRunner

from maskwright import cli_store
from maskwright.errors import InvalidInput, TooLarge
from maskwright.models.language.answers_cache import kept_answers
from maskwright.settings import Settings
from maskwright.store.backup import write_backup
from maskwright.store.corrections import CorrectionsStore, Event, ImageFacts, Proposal, open_store
from maskwright.store.database import Database, StoreDamaged
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.purge import purge_annotator
from maskwright.store.restore import restore_backup
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright.store.snapshots import SnapshotStore
from maskwright.store.suggestions import Suggestions
from maskwright.store.workers import WorkerRegister


@pytest.fixture
def filled(store, project, drawn, state):
    """A store with something in every table, tombstones included."""
    proposals = (Proposal(50, "m-1", b'{"id":50}'),)
    states = [state(n, drawn(n), drawn(1000 + n, person="9", lead_time=1.25)) for n in range(1, 40)]
    store.put_tasks(project, [*states, state(99, drawn(99, kind="draft"), proposals=proposals)])
    store.add_events([Event("label-studio", "http://x", "A", 7, (1, 2), (3,), "2026-01-01T00:00:00Z", True)])
    store.category_ids(project, ["pear", "äpfel"])
    store.put_image(project, "/data/upload/7/1.png", ImageFacts("ab" * 32, 4, 5))
    SnapshotStore(store.database).create("one", project, label_set=["pear"])
    store.bury_task(project, 5, "2026-05-01")
    store.bury_annotation(project, 6, "2026-05-01")
    purge_annotator(store.database, "9")
    learn(store.database, project)
    return project


def learn(database, project):
    """Something in every table of the learning loop."""
    rounds = RoundStore(database)
    made, _ = rounds.queue(project, trigger="t", base="embedded", config={"seed": 1})
    rounds.claim("w", 60, project_id=project)
    rounds.advance(made.id, "w", RoundState.EVALUATING, adapter="a" * 32)
    rounds.promote(made.id, "w", reason="better", verdict={"decision": "promote"}, metrics={"gain": {"mean": 0.1}})
    rounds.queue(project, trigger="t", base="embedded", config={})
    ServedRegister(database).rollback(project, "embedded")
    ProjectNotes(database).put(project, "held-out", {"held_out": ["ab" * 32]})
    PriorityStore(database).put(project, [Priority(1, None), Priority(2, 0.5, {"x": 1.0}, [1.0, 2.0], {"regions": 1})])
    Suggestions(database).put(project, 1, "m", [{"label": "pear"}], ["too slow"])
    WorkerRegister(database).seen("w")


def content(store):
    snapshots = SnapshotStore(store.database)
    kept = []
    for project in store.projects():
        number = project.id
        kept.append((project, list(store.task_documents(number)), list(store.heads(number)), store.counts(number)))
        kept.append((store.history(number, 5), store.category_ids(number), list(store.images(number))))
        learnt = ServedRegister(store.database).history(number), ProjectNotes(store.database).get(number, "held-out")
        kept.append((RoundStore(store.database).list(number), PriorityStore(store.database).list(number), learnt))
    frozen = [(one, list(snapshots.task_documents(one.name))) for one in snapshots.list()]
    return kept, frozen, store.pending_events(100)


@pytest.fixture
def archive(store, filled, tmp_path):
    path = tmp_path / "store.zip"
    report = write_backup(store.database, path)
    assert report.nbytes == path.stat().st_size
    assert report.rows["corrections"] == 79
    return path


@pytest.fixture
def empty(tmp_path):
    opened = CorrectionsStore(Database(path=tmp_path / "new" / "corrections.sqlite3"))
    yield opened
    opened.close()


def test_a_backup_of_either_database_fills_an_empty_sqlite(store, archive, empty):
    restore_backup(empty.database, archive)
    assert content(empty) == content(store)


def test_a_backup_of_either_database_fills_an_empty_postgresql_that_goes_on_counting(
    store, archive, postgres_url, drawn, state
):
    other = CorrectionsStore(Database(postgres_url))
    try:
        restore_backup(other.database, archive)
        assert content(other) == content(store)
        project = other.project("label-studio", "http://new", 1).id
        other.put_tasks(project, [state(1, drawn(1))])
        other.add_events([Event("label-studio", "http://x", "B", 7)])
        SnapshotStore(other.database).create("two", project)
        learn(other.database, project)
    finally:
        other.close()


def test_what_is_restored_gives_the_same_backup_again(store, archive, empty, tmp_path):
    restore_backup(empty.database, archive)
    write_backup(empty.database, tmp_path / "again.zip")
    with zipfile.ZipFile(archive) as first, zipfile.ZipFile(tmp_path / "again.zip") as second:
        tables = [name for name in first.namelist() if name.startswith("tables/")]
        assert len(tables) == 19
        assert all(first.read(name) == second.read(name) for name in tables)


def test_a_store_that_holds_something_is_replaced_only_on_demand(store, archive, drawn, filled):
    before = content(store)
    store.put_annotation(filled, 1, drawn(500))
    with pytest.raises(InvalidInput, match="--replace"):
        restore_backup(store.database, archive)
    assert content(store) != before
    restore_backup(store.database, archive, replace=True)
    assert content(store) == before


def test_a_backup_is_for_its_owner_only_and_does_not_overwrite(store, archive):
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="exists"):
        write_backup(store.database, archive)
    write_backup(store.database, archive, replace=True)
    with pytest.raises(InvalidInput, match="cannot write"):
        write_backup(store.database, archive.parent / "nowhere" / "x.zip")
    assert sorted(entry.name for entry in archive.parent.iterdir() if entry.name.startswith(".")) == []


def rewritten(archive, target, change=lambda name, data: data, extra=(), drop=()):
    """The archive with members changed, and a manifest that agrees with them unless it is changed too."""
    import hashlib

    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as sink:
        manifest = json.loads(source.read("manifest.json"))
        for name in source.namelist():
            if name == "manifest.json" or name in drop:
                continue
            data = change(name, source.read(name))
            sink.writestr(name, data)
            table = name.removeprefix("tables/").removesuffix(".jsonl")
            told = {"rows": data.count(b"\n"), "nbytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest["tables"][table] = told
        for name, data in extra:
            sink.writestr(name, data)
        sink.writestr("manifest.json", change("manifest.json", json.dumps(manifest).encode()))
    return target


def edit(member, old, new):
    def change(name, data):
        if name != member:
            return data
        assert old in data
        return data.replace(old, new, 1)

    return change


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra": [("../../evil", b"x")]}, "other members"),
        ({"extra": [("tables/users.jsonl", b"{}\n")]}, "other members"),
        ({"drop": ["tables/corrections.jsonl"]}, "other members"),
        ({"change": edit("manifest.json", b'"schema": "0003"', b'"schema": "0004"')}, "upgrade"),
        ({"change": edit("manifest.json", b'"format"', b'"shape"')}, "manifest.json is not"),
        ({"change": edit("manifest.json", b'"rows": 79', b'"rows": 78')}, "checksum"),
        ({"change": edit("tables/corrections.jsonl", b'"kind":"submitted"', b'"kind":7')}, "line 1: kind"),
        ({"change": edit("tables/corrections.jsonl", b'"nbytes":', b'"nbytes":1')}, "damaged"),
        ({"change": edit("tables/corrections.jsonl", b'"document":"', b'"document":"!')}, "base64"),
        ({"change": edit("tables/corrections.jsonl", b'"person"', b'"name"')}, "columns"),
        ({"change": edit("tables/corrections.jsonl", b"{", b"")}, "not JSON"),
        ({"change": edit("tables/projects.jsonl", b'"Pears"', b'"Pe\\u0000ars"')}, "no database keeps"),
        ({"change": edit("tables/projects.jsonl", b'"number":7', b'"number":99999999999999999999')}, "number"),
        ({"change": edit("tables/projects.jsonl", b'"number":7', b'"number":null')}, "missing"),
        ({"change": edit("tables/projects.jsonl", b'"created_at":1', b'"created_at":1000')}, "created_at"),
        ({"change": edit("tables/tasks.jsonl", b'"head_id":1,', b'"head_id":2,')}, "not there"),
        ({"change": edit("tables/rounds.jsonl", b'"promoted"', b'"training"')}, "state"),
        ({"change": edit("tables/rounds.jsonl", b'"promoted"', b'"excellent"')}, "state"),
        ({"change": edit("tables/rounds.jsonl", b'"queued"', b'"refused"')}, "state"),
        ({"change": edit("tables/rounds.jsonl", b'"progress":"{}"', b'"progress":"[]"')}, "progress"),
        ({"change": edit("tables/served_versions.jsonl", b'"adapter":"aa', b'"adapter":"/a')}, "adapter"),
        ({"change": edit("tables/served_versions.jsonl", b'"parent_id":null', b'"parent_id":77')}, "not there"),
        ({"change": edit("tables/project_notes.jsonl", b'"value":"{', b'"value":"')}, "value: not JSON"),
        ({"change": edit("tables/priorities.jsonl", b'"feature":"', b'"feature":"AAAA')}, "float32"),
        ({"change": edit("tables/suggestions.jsonl", b'\\"problems\\"', b'\\"problem\\"')}, "suggested"),
    ],
)  # fmt: skip
def test_a_tampered_backup_is_refused_and_nothing_changes(store, archive, tmp_path, options, message):
    before = content(store)
    with pytest.raises(InvalidInput, match=message):
        restore_backup(store.database, rewritten(archive, tmp_path / "bad.zip", **options), replace=True)
    assert content(store) == before


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bombs_are_refused_before_they_unpack(store, archive, tmp_path, empty):
    bomb = rewritten(archive, tmp_path / "bomb.zip", edit("tables/events.jsonl", b"{", b" " * (64 * 1024**2) + b"{"))
    with pytest.raises(TooLarge, match="100 times"):
        restore_backup(empty.database, bomb)
    with pytest.raises(TooLarge, match="at most 1000"):
        restore_backup(empty.database, archive, max_bytes=1000)
    huge = rewritten(archive, tmp_path / "huge.zip", edit("manifest.json", b"{", b"{" + b" " * 2_000_000))
    with pytest.raises(TooLarge, match=r"manifest\.json"):
        restore_backup(empty.database, huge)
    assert empty.projects() == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_cut_or_scribbled_file_is_refused_and_nothing_changes(store, archive, tmp_path, empty):
    whole = archive.read_bytes()
    bad = tmp_path / "bad.zip"
    for data in (b"", b"no archive", whole[: len(whole) // 2], whole[:-30]):
        bad.write_bytes(data)
        with pytest.raises(InvalidInput, match=r"no backup|damaged"):
            restore_backup(empty.database, bad)
    for place in range(50, len(whole), len(whole) // 40):
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            restore_backup(empty.database, bad)
        except InvalidInput:
            assert empty.projects() == []
        else:  # a byte that carries nothing, such as a time stamp of the archive
            assert content(empty) == content(store)
            restore_backup(empty.database, archive, replace=True)
            empty.database.write(lambda connection: wipe(connection))
    with pytest.raises(InvalidInput, match="cannot read"):
        restore_backup(empty.database, tmp_path / "none.zip")


def wipe(connection):
    from maskwright.store.schema import metadata

    for table in reversed(metadata.sorted_tables):
        connection.execute(table.delete())


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    app = typer.Typer()
    cli_store.register(app)

    def call(*arguments, answer=None):
        return CliRunner().invoke(app, [str(one) for one in arguments], input=answer)

    return call


@pytest.fixture
def home(tmp_path, drawn, state):
    store = open_store(tmp_path / "home")
    project = store.project("label-studio", "http://x", 7).id
    store.put_tasks(project, [state(1, drawn(1), drawn(2, person="9")), state(2, drawn(3, person="9"))])
    store.close()
    return tmp_path / "home"


def documents(home):
    store = open_store(home)
    try:
        return [json.loads(text) for text in store.task_documents(1)]
    finally:
        store.close()


def test_the_commands_back_up_and_restore(command, home, tmp_path):
    before = documents(home)
    assert command("backup", tmp_path / "b.zip").exit_code == 0
    assert command("purge", "--annotator", "9", "--yes").exit_code == 0
    assert documents(home) != before
    refused = command("restore", tmp_path / "b.zip")
    assert isinstance(refused.exception, InvalidInput)
    done = command("restore", tmp_path / "b.zip", "--replace")
    assert (done.exit_code, documents(home)) == (0, before)


def test_a_damaged_database_is_put_aside_and_made_anew_from_the_backup(command, home, tmp_path):
    before = documents(home)
    command("backup", tmp_path / "b.zip")
    (home / "corrections.sqlite3").write_bytes(b"x" * 5000)
    with pytest.raises(StoreDamaged):
        open_store(home)
    assert "--replace" in str(command("restore", tmp_path / "b.zip").exception)
    (tmp_path / "bad.zip").write_bytes(b"no")
    assert isinstance(command("restore", tmp_path / "bad.zip", "--replace").exception, InvalidInput)
    assert (home / "corrections.sqlite3").read_bytes() == b"x" * 5000
    done = command("restore", tmp_path / "b.zip", "--replace")
    assert done.exit_code == 0
    assert "damaged-" in done.output
    assert documents(home) == before
    assert sum("damaged" in name for name in os.listdir(home)) == 1


def test_a_damaged_database_too_large_to_look_through_at_opening_is_put_aside_too(
    command, home, tmp_path, monkeypatch, drawn, state
):
    from maskwright.store import database

    before = documents(home)
    command("backup", tmp_path / "b.zip")
    store = open_store(home)
    store.put_tasks(1, [state(n, drawn(n, text=os.urandom(8000).hex())) for n in range(10, 60)])
    store.close()
    file = home / "corrections.sqlite3"
    with open(file, "r+b") as handle:
        for page in range(45, file.stat().st_size // 4096, 2):
            handle.seek(page * 4096)
            handle.write(os.urandom(600))
    monkeypatch.setattr(database, "_QUICK_CHECK_BYTES", 0)
    open_store(home).close()  # it opens
    done = command("restore", tmp_path / "b.zip", "--replace")
    assert (done.exit_code, documents(home)) == (0, before)
    assert "damaged-" in done.output


def test_what_was_not_shown_is_not_erased_without_asking(command, home, monkeypatch):
    from maskwright.store import purge

    rehearsed = []
    real = purge.purge_annotator
    monkeypatch.setattr(purge, "purge_annotator", lambda *a, **k: rehearsed.append(k["rehearse"]) or real(*a, **k))
    done = command("purge", "--annotator", "nobody")
    assert (done.exit_code, rehearsed) == (0, [True])
    assert "nothing matches" in done.output
    assert "erased: 0 whole tasks" in command("purge", "--annotator", "nobody", "--yes").output


def test_purge_asks_before_it_erases(command, home):
    asked = command("purge", "--image", "/data/upload/7/1.png", answer="n\n")
    assert asked.exit_code == 1
    assert "1 whole tasks, 2 annotations" in asked.output
    assert len(documents(home)) == 2
    measured = home / "rounds" / "1" / "measured" / "m.jsonl"
    measured.parent.mkdir(parents=True)
    measured.write_text("checksums")
    kept_answers(Settings(home=home, _env_file=None)).put("0" * 32, {"caption": "what the image showed"})
    done = command("purge", "--image", "/data/upload/7/1.png", "--project", "7", answer="y\n")
    assert done.exit_code == 0
    assert not measured.exists()
    assert not list((home / "language").iterdir())
    assert [one["id"] for one in documents(home)] == [2]
    assert "nothing matches" in command("purge", "--annotator", "nobody").output
    for wrong in (
        ["purge"],
        ["purge", "--image", "a", "--annotator", "b"],
        ["purge", "--image", "a", "--project", "8"],
    ):
        assert isinstance(command(*wrong).exception, InvalidInput)
