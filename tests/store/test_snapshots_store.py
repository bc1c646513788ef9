from __future__ import annotations

import hashlib
import json

import pytest

from maskwright.errors import InvalidInput, NotFound
from maskwright.store.corrections import CorrectionsStore, Proposal
from maskwright.store.database import Database
from maskwright.store.snapshots import SnapshotItem, SnapshotStore


@pytest.fixture
def snapshots(database):
    return SnapshotStore(database)


@pytest.fixture
def filled(store, project, drawn, state):
    proposals = (Proposal(50, "m-1", b'{"id":50}'),)
    store.put_tasks(
        project,
        [
            state(1, drawn(1), drawn(2, person="2"), proposals=proposals),
            state(2, drawn(3, kind="skipped"), drawn(9, kind="draft")),
            state(3),
            state(4, drawn(4)),
        ],
    )
    return project


def test_a_snapshot_holds_what_was_in_force_whatever_happens_after(store, snapshots, filled, drawn, state):
    made = snapshots.create("first", filled, label_set=["pear", "äpfel"], selection={"consensus": "latest"})
    assert (made.tasks, made.corrections, made.label_set) == (3, 4, ("pear", "äpfel"))
    frozen = list(snapshots.task_documents("first"))
    assert [json.loads(text)["id"] for text in frozen] == [1, 2, 4]
    assert json.loads(frozen[0])["predictions"] == [{"id": 50}]
    assert json.loads(frozen[1])["drafts"] == []
    store.put_annotation(filled, 1, drawn(1, "2026-05-01", "later"))
    store.put_annotation(filled, 1, drawn(7))
    store.put_task(filled, 2, b'{"image": "elsewhere"}', "2026-05-01")
    store.put_proposal(filled, 1, 50, "m-2", b'{"id":50,"v":2}', "2026-05-01")
    store.bury_task(filled, 4, "2026-05-01")
    store.bury_annotation(filled, 2, "2026-05-01")
    assert list(snapshots.task_documents("first")) == frozen
    assert snapshots.get("first") == made
    assert list(store.task_documents(filled)) != frozen


def test_the_frozen_documents_are_those_of_the_project_at_that_moment(store, snapshots, filled):
    snapshots.create("all", filled, kinds=("submitted", "skipped", "draft"))
    assert list(snapshots.task_documents("all")) == [
        text for text in store.task_documents(filled) if json.loads(text)["id"] != 3
    ]


def test_making_the_same_again_changes_nothing_and_other_content_is_refused(store, snapshots, filled, drawn):
    first = snapshots.create("a", filled, label_set=["x"])
    assert snapshots.create("a", filled, label_set=["x"]) == first
    for change in ({"label_set": ["y"]}, {"label_set": ["x"], "selection": {"n": 1}}, {"splits": {1: "train"}}):
        with pytest.raises(InvalidInput, match="never change"):
            snapshots.create("a", filled, **{"label_set": ["x"], **change})
    store.put_annotation(filled, 1, drawn(8))
    with pytest.raises(InvalidInput, match="never change"):
        snapshots.create("a", filled, label_set=["x"])
    assert snapshots.list() == [first]


def test_the_digest_is_of_the_content_and_not_of_the_database(snapshots, filled, tmp_path, store, drawn, state):
    digest = snapshots.create("a", filled).digest
    assert snapshots.create("b", filled).digest == digest
    other = CorrectionsStore(Database(path=tmp_path / "other.sqlite3"))
    other.project("label-studio", "http://elsewhere", 1)
    project = other.project("label-studio", "http://127.0.0.1:8080", 7).id
    for one in store.heads(filled):  # another order of arrival, other ids
        other.put_annotation(project, one.task_number, one.stored)
    proposals = (Proposal(50, "m-1", b'{"id":50}'),)
    other.put_tasks(project, [state(4), state(3), state(2), state(1, proposals=proposals)])
    assert SnapshotStore(other.database).create("mine", project).digest == digest


def test_the_digest_can_be_computed_from_the_manifest(snapshots, filled):
    made = snapshots.create("a", filled, label_set=["x"], selection={"b": [1, None], "a": "ü"}, splits={1: "val"})
    header = {
        "format": 1, "platform": "label-studio", "server": "http://127.0.0.1:8080", "project": 7,
        "label_set": ["x"], "selection": {"b": [1, None], "a": "ü"},
    }  # fmt: skip
    lines = [header, *(line for _, line in snapshots.items("a"))]
    text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    assert hashlib.sha256(text.encode()).hexdigest() == made.digest


def test_chosen_corrections_and_splits_are_kept(store, snapshots, filled, drawn):
    ids = {h.stored.number: h.correction_id for h in store.heads(filled)}
    store.put_annotation(filled, 1, drawn(1, "2026-05-01", "later"))
    snapshots.create("old", filled, items=[SnapshotItem(1, (ids[1],), "train"), SnapshotItem(3, (), "test")])
    one, empty = (json.loads(text) for text in snapshots.task_documents("old"))
    assert [a["result"][0]["text"] for a in one["annotations"]] == ["first"]
    assert empty["annotations"] == []
    assert snapshots.splits("old") == {1: "train", 3: "test"}
    assert [item for item, _ in snapshots.items("old")] == [
        SnapshotItem(1, (ids[1],), "train"), SnapshotItem(3, (), "test")
    ]  # fmt: skip


def test_items_that_make_no_sense_are_refused_and_leave_nothing(store, snapshots, filled, drawn):
    ids = {h.stored.number: h.correction_id for h in store.heads(filled)}
    store.put_annotation(filled, 1, drawn(1, "2026-05-01", "later"))
    newer = next(h.correction_id for h in store.heads(filled) if h.stored.number == 1)
    for items in (
        [SnapshotItem(4, ()), SnapshotItem(1, ())], [SnapshotItem(1, ()), SnapshotItem(1, ())],
        [SnapshotItem(99, ())], [SnapshotItem(2, (ids[1],))], [SnapshotItem(1, (12345,))],
        [SnapshotItem(1, (ids[1], newer))],
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="snapshot: "):
            snapshots.create("x", filled, items=items)
    with pytest.raises(InvalidInput, match="name"):
        snapshots.create("../x", filled)
    with pytest.raises(InvalidInput, match="selection"):
        snapshots.create("x", filled, selection={"a": {1, 2}})
    with pytest.raises(NotFound):
        snapshots.create("x", 999)
    with pytest.raises(NotFound, match="snapshot list"):
        snapshots.get("x")
    assert snapshots.list() == []


def test_a_difference_names_tasks_and_corrections(store, snapshots, filled, drawn, state):
    snapshots.create("one", filled)
    assert snapshots.diff("one", "one").is_empty
    store.put_annotation(filled, 1, drawn(1, "2026-05-01", "later"))
    store.put_annotation(filled, 1, drawn(8))
    store.bury_annotation(filled, 2, "2026-05-01")
    store.bury_task(filled, 4, "2026-05-01")
    store.put_tasks(filled, [state(5, drawn(50))])
    snapshots.create("two", filled, label_set=["new"])
    found = snapshots.diff("one", "two")
    assert (found.added, found.removed, found.changed) == ((5,), (4,), (1,))
    assert found.corrections_added == ((1, 8, False), (5, 50, False))
    assert found.corrections_removed == ((1, 2, False), (4, 4, False))
    assert found.corrections_changed == ((1, 1, False),)
    assert (found.label_set_changed, found.selection_changed) == (True, False)
    back = snapshots.diff("two", "one")
    assert (back.added, back.removed, back.corrections_added) == ((4,), (5,), found.corrections_removed)


def test_snapshots_larger_than_a_page_come_whole_and_in_order(store, snapshots, project, drawn, state):
    store.put_tasks(project, [state(n, drawn(n), drawn(1000 + n)) for n in range(1, 600)])
    made = snapshots.create("large", project, splits=dict.fromkeys(range(1, 600, 5), "val"))
    assert (made.tasks, made.corrections) == (599, 1198)
    assert [json.loads(text)["id"] for text in snapshots.task_documents("large")] == list(range(1, 600))
    assert len(snapshots.splits("large")) == 120


def test_snapshots_are_listed_by_project(store, snapshots, filled):
    other = store.project("label-studio", "http://127.0.0.1:8080", 8).id
    snapshots.create("a", filled)
    snapshots.create("b", other)
    assert [one.name for one in snapshots.list()] == ["a", "b"]
    assert [one.name for one in snapshots.list(other)] == ["b"]
    with pytest.raises(InvalidInput, match="different projects"):
        snapshots.diff("a", "b")
