"""What Label Studio does without a new time, and what it does with numbers: it moves, renames, deletes, gives again."""

from __future__ import annotations

import itertools
import json

import pytest

from maskwright.errors import InvalidInput
from maskwright.store.corrections import Proposal, Stored, TaskState
from maskwright.store.purge import purge_annotator, purge_image
from maskwright.store.snapshots import SnapshotStore
from maskwright.store.times import now, to_text

T = "2026-05-01T12:00:{:02d}Z"
FIRST = T.format(1)
LATER = "2099-01-01T00:00:{:02d}Z"  # after any erasure


def one(number, at=FIRST, person="1", text="", kind="submitted", **more):
    document = json.dumps({"id": number, "text": text}).encode()
    return Stored(number, kind, person, at, at, document, **more)


def task(number, image, *annotations, at=FIRST, **more):
    return TaskState(number, json.dumps({"image": image}).encode(), at, annotations, created_at=at, **more)


def whole(number, image, *annotations, **more):
    return task(number, image, *annotations, complete=True, **more)


def texts(store, project):
    return [json.loads(head.stored.document)["text"] for head in store.heads(project)]


def left(store):
    """Documents that are still there: of corrections, proposals and tasks."""
    tables = ("corrections", "proposals", "task_versions")
    with store.database.read() as connection:
        return [
            connection.exec_driver_sql(f"SELECT count(*) FROM {name} WHERE document IS NOT NULL").scalar()
            for name in tables
        ]


@pytest.mark.parametrize("seed", range(6))
def test_a_renamed_label_is_in_force_though_the_platform_told_no_new_time(store, project, seed):
    for second, text in ((2, f"old {seed}"), (4, f"new {seed}"), (6, f"old {seed}"), (8, f"new {seed}")):
        store.put_tasks(project, [whole(5, "X", one(7, text=text))], seen_at=T.format(second))
        assert texts(store, project) == [text]
    store.put_tasks(project, [whole(5, "X", one(7, text=f"old {seed}"))], seen_at=T.format(5))  # a reading that is late
    store.put_annotation(project, 5, one(7, text=f"an event {seed}"))
    assert texts(store, project) == [f"new {seed}"]
    assert store.history(project, 7)[-1].document == next(store.heads(project)).stored.document
    assert len(store.history(project, 7)) == 3


@pytest.mark.parametrize("order", list(itertools.permutations([2, 4, 6])))
def test_of_readings_that_are_stored_in_any_order_the_last_wins(store, project, order):
    for second in order:
        told = {2: "a", 4: "b", 6: "a"}[second]
        data = json.dumps({"image": told}).encode()
        state = TaskState(5, data, T.format(1), (one(7, text=told),))
        store.put_tasks(project, [state], seen_at=T.format(second))
    assert texts(store, project) == ["a"]
    [document] = store.task_documents(project)
    assert json.loads(document)["data"] == {"image": "a"}


@pytest.mark.parametrize("text", ["the same", ""])
def test_an_annotation_that_was_moved_to_another_task_is_found_there(store, project, text):
    store.put_tasks(project, [whole(5, "X"), whole(6, "X", one(7, text=text))], seen_at=T.format(2))
    store.put_tasks(project, [whole(5, "X", one(7, text=text))], seen_at=T.format(6))
    store.bury_task(project, 6, T.format(6))
    assert [(head.task_number, head.stored.number) for head in store.heads(project)] == [(5, 7)]
    store.put_tasks(project, [whole(6, "X", one(7, text=text))], seen_at=T.format(8))  # and back
    assert [(head.task_number, head.stored.number) for head in store.heads(project)] == [(6, 7)]


def test_a_number_given_again_after_an_erasure_is_something_new(store, project):
    store.put_tasks(project, [whole(5, "X", one(7, text="old"))], seen_at=T.format(2))
    purge_image(store.database, "X")
    new = whole(5, "Y", one(7, LATER.format(1), "2", "new"), at=LATER.format(1))
    assert store.put_tasks(project, [new], seen_at=LATER.format(2)) == 2
    assert texts(store, project) == ["new"]
    assert store.put_annotation(project, 5, one(8, LATER.format(3), "2", "by event"))
    # Late words of what was erased stay out.
    assert store.put_tasks(project, [task(5, "X", one(7, text="old"), one(9, text="old"))]) == 0
    assert store.put_tasks(project, [TaskState(5, b'{"image": "X"}', T.format(1))]) == 0
    assert texts(store, project) == ["new", "by event"]
    [document] = store.task_documents(project)
    assert json.loads(document)["data"] == {"image": "Y"}
    assert [json.loads(kept.document)["text"] for kept in store.history(project, 7)] == ["new"]


def test_what_is_still_shown_of_an_erased_task_stays_out_however_often_it_changes(store, project):
    store.put_tasks(project, [whole(5, "X", one(7))], seen_at=T.format(2))
    purge_image(store.database, "X")
    drawn_since = TaskState(
        5, b'{"image": "X"}', LATER.format(1), (one(8, LATER.format(1)),), created_at=T.format(1), complete=True
    )
    assert store.put_tasks(project, [drawn_since], seen_at=LATER.format(2)) == 0
    assert left(store) == [0, 0, 0]


def test_a_platform_whose_clock_is_ahead_does_not_bring_back_what_was_erased(store, project):
    ahead = to_text(now() + 3_600_000_000)
    shown = [whole(5, "X", one(7, ahead), at=ahead), whole(6, "Z", one(9, ahead, "alice"), at=ahead)]
    store.put_tasks(project, shown, seen_at=T.format(2))
    purge_image(store.database, "X")
    purge_annotator(store.database, "alice")
    assert store.put_tasks(project, shown, seen_at=LATER.format(1)) == 0
    assert left(store) == [0, 0, 1]


def test_one_persons_erasure_spares_who_got_the_number_next(store, project):
    store.put_tasks(project, [whole(5, "X", one(7, person="alice", text="hers"))], seen_at=T.format(2))
    store.put_tasks(project, [whole(6, "Z", one(7, T.format(5), "bob", "his"))], seen_at=T.format(6))
    report = purge_annotator(store.database, "alice")
    assert (report.annotations, report.corrections) == (0, 1)
    assert texts(store, project) == ["his"]
    assert not store.put_annotation(project, 5, one(7, person="alice", text="late"))
    assert store.put_annotation(project, 6, Stored(7, "submitted", "bob", T.format(5), T.format(9), b'{"text": "on"}'))
    assert texts(store, project) == ["on"]


def test_who_gets_the_number_after_the_erasure_is_kept(store, project):
    store.put_tasks(project, [whole(5, "X", one(7, person="alice", text="hers"))], seen_at=T.format(2))
    purge_annotator(store.database, "alice")
    state = whole(6, "Z", one(7, LATER.format(1), "bob", "his"), at=LATER.format(1))
    assert store.put_tasks(project, [state], seen_at=LATER.format(2)) == 2
    assert texts(store, project) == ["his"]
    assert store.put_annotation(project, 5, one(7, person="alice", text="late")) is False


def test_earlier_states_on_an_erased_image_go_though_their_annotation_is_elsewhere_now(store, project):
    store.put_tasks(project, [whole(5, "X", one(7, text="SECRET"))], seen_at=T.format(2))
    SnapshotStore(store.database).create("before", project)
    store.put_tasks(project, [whole(6, "Z", one(7, T.format(5), text="of Z"))], seen_at=T.format(6))
    report = purge_image(store.database, "X")
    assert (report.tasks, report.annotations, report.corrections, report.snapshots) == (1, 0, 1, ("before",))
    assert [json.loads(kept.document)["text"] for kept in store.history(project, 7)] == ["of Z"]
    assert texts(store, project) == ["of Z"]


def test_remnants_on_what_was_erased_before_go_with_the_next_erasure(store, project):
    store.put_tasks(project, [whole(5, "X", one(7))], seen_at=T.format(2))
    store.put_tasks(project, [whole(6, "Y", one(8), proposals=(Proposal(1, "m", b"{}"),))], seen_at=T.format(2))
    mark = "UPDATE tasks SET erased_at = 1, erased_until = 1 WHERE number = 6"
    store.database.write(lambda connection: connection.exec_driver_sql(mark))
    assert purge_annotator(store.database, "nobody").corrections == 1
    assert left(store) == [1, 0, 1]


def test_a_snapshot_forgets_by_whose_name_it_was_chosen(store, project):
    store.put_tasks(project, [whole(5, "X", one(7, person="alice@example.org"))], seen_at=T.format(2))
    selection = {"consensus": "annotator:alice@example.org", "who": ["alice@example.org", "bob"]}
    snapshots = SnapshotStore(store.database)
    snapshots.create("hers", project, selection=selection, items=[])
    snapshots.create("others", project, selection={"consensus": "latest"}, items=[])
    assert purge_annotator(store.database, "alice@example.org").snapshots == ("hers",)
    assert snapshots.get("hers").selection == {"consensus": "annotator:erased", "who": ["erased", "bob"]}
    assert len(snapshots.get("hers").erasures) == 1
    assert snapshots.get("others").erasures == ()


def test_proposals_are_shown_while_the_platform_has_them(store, project):
    proposal = Proposal(1, "v1", b'{"id":1,"of":"X"}', T.format(1))
    store.put_tasks(project, [whole(5, "X", proposals=(proposal,))], seen_at=T.format(2))
    frozen = SnapshotStore(store.database)
    frozen.create("then", project, items=None, kinds=("draft",))
    store.put_tasks(project, [whole(5, "Y", at=T.format(5))], seen_at=T.format(6))

    def shown():
        return [json.loads(text)["predictions"] for text in store.task_documents(project)]

    assert shown() == [[]]
    assert store.counts(project).proposals == 1
    store.put_tasks(project, [task(5, "Y", proposals=(proposal,))])  # a late word
    assert shown() == [[]]
    changed = Proposal(1, "v1", b'{"id":1,"of":"Y"}', T.format(1))
    store.put_tasks(project, [whole(5, "Y", proposals=(changed,), at=T.format(5))], seen_at=T.format(8))
    assert shown() == [[{"id": 1, "of": "Y"}]]
    store.put_tasks(project, [whole(5, "Y", proposals=(proposal,), at=T.format(5))], seen_at=T.format(9))
    assert shown() == [[{"id": 1, "of": "X"}]]


def test_a_platform_whose_clock_is_ahead_does_not_hide_deletions(store, project):
    ahead = to_text(now() + 3_600_000_000)
    store.put_tasks(project, [whole(5, "X")], seen_at=T.format(2))
    store.put_annotation(project, 5, one(7, ahead))
    store.put_annotation(project, 5, one(7, ahead))
    assert texts(store, project) == [""]
    store.put_tasks(project, [whole(5, "X")], seen_at=to_text(now() + 1))
    assert texts(store, project) == []


def test_numbers_that_anybody_may_have_made_up_leave_no_trace(store, project):
    store.put_tasks(project, [whole(5, "X", one(7)), whole(6, "Y")], seen_at=T.format(2))
    assert store.bury_tasks(project, [5, 6, 2**62, *range(1000, 2500)], T.format(6), known_only=True) == 2
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar() == 2
    assert store.bury_tasks(project, [5, 9], T.format(7)) == 0
    store.put_tasks(project, [task(9, "Z")])  # a late word of what is known to be gone
    assert list(store.task_numbers(project)) == []
    with pytest.raises(InvalidInput, match="task"):
        store.bury_tasks(project, [-1], T.format(6))


def test_a_prediction_number_out_of_range_is_named(store, project):
    with pytest.raises(InvalidInput, match="annotation 7: prediction"):
        store.put_annotation(project, 5, one(7, proposal_number=2**63))
