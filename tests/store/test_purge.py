from __future__ import annotations

import json

import pytest

from maskwright.errors import InvalidInput
from maskwright.store.corrections import CorrectionsStore, ImageFacts, Proposal, Stored
from maskwright.store.database import Database
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import LABELLED_FEATURES, ProjectNotes
from maskwright.store.purge import purge_annotator, purge_image
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.snapshots import SnapshotStore


@pytest.fixture
def filled(store, project, drawn, state):
    proposals = (Proposal(50, "m-1", b'{"id":50,"secret":"PROPOSED-ONE"}'),)
    store.put_tasks(
        project,
        [
            state(1, drawn(1, text="SECRET-ONE"), drawn(2, text="SECRET-TWO", person="9"), proposals=proposals),
            state(2, drawn(3, person="9", lead_time=3.5), drawn(4)),
            state(3, drawn(5)),
        ],
    )
    store.put_annotation(project, 1, drawn(1, "2026-05-01", text="SECRET-NEWER"))
    SnapshotStore(store.database).create("before", project)
    return project


def numbers(store, project):
    return [head.stored.number for head in store.heads(project)]


def test_an_image_is_erased_with_its_history_proposals_and_frozen_copies(store, filled, drawn, state):
    report = purge_image(store.database, "/data/upload/7/1.png", reason="request 17")
    assert (report.tasks, report.annotations, report.corrections, report.proposals) == (1, 2, 3, 1)
    assert report.snapshots == ("before",)
    assert report.rewritten
    assert numbers(store, filled) == [3, 4, 5]
    assert store.history(filled, 1) == []
    assert [json.loads(text)["id"] for text in store.task_documents(filled)] == [2, 3]
    snapshots = SnapshotStore(store.database)
    assert [json.loads(text)["id"] for text in snapshots.task_documents("before")] == [2, 3]
    [erasure] = snapshots.get("before").erasures
    assert (erasure.reason, erasure.tasks, erasure.corrections) == ("request 17", 1, 2)
    assert "request 17" in snapshots.get("before").notice
    # The platform still shows it: it stays out.
    assert store.put_tasks(filled, [state(1, drawn(1), drawn(77))], seen_at="2027-01-01") == 0
    assert numbers(store, filled) == [3, 4, 5]


def test_an_annotator_is_erased_by_name_and_the_others_stay(store, filled, drawn):
    report = purge_annotator(store.database, "9")
    assert (report.tasks, report.annotations, report.corrections) == (0, 2, 2)
    assert numbers(store, filled) == [1, 4, 5]
    [first, second, _] = (json.loads(text) for text in SnapshotStore(store.database).task_documents("before"))
    assert [one["id"] for one in first["annotations"]] == [1]
    assert first["predictions"]
    assert [one["id"] for one in second["annotations"]] == [4]
    [erasure] = SnapshotStore(store.database).get("before").erasures
    assert (erasure.tasks, erasure.corrections) == (2, 2)
    assert not store.put_annotation(filled, 2, drawn(3, "2027-01-01", person="9"), seen_at="2027-01-01")
    with store.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT person, lead_time FROM corrections WHERE document IS NULL").all()
    assert [tuple(row) for row in rows] == [(None, None)] * 2


def test_a_second_request_finds_nothing_more_and_marks_nothing_twice(store, filled):
    purge_annotator(store.database, "9")
    again = purge_annotator(store.database, "9")
    assert (again.annotations, again.corrections, again.snapshots) == (0, 0, ())
    report = purge_image(store.database, "/data/upload/7/1.png")
    assert (report.annotations, report.corrections) == (1, 2)
    assert [one.corrections for one in SnapshotStore(store.database).get("before").erasures] == [2, 1]


def test_a_rehearsal_counts_and_erases_nothing(store, filled):
    before = list(store.task_documents(filled))
    report = purge_image(store.database, "/data/upload/7/1.png", rehearse=True)
    assert (report.corrections, report.snapshots, report.rewritten) == (3, ("before",), False)
    assert list(store.task_documents(filled)) == before
    assert SnapshotStore(store.database).get("before").erasures == ()


def test_an_image_is_found_by_the_content_that_was_recorded_of_it(store, filled):
    same = ImageFacts("ab" * 32, 10, 10)
    store.put_images(filled, {f"/data/upload/7/{n}.png": same for n in (1, 3)})
    one = purge_image(store.database, "/data/upload/7/1.png", rehearse=True)
    assert (one.tasks, one.copies) == (1, ("/data/upload/7/3.png",))
    report = purge_image(store.database, "AB" * 32)
    assert (report.tasks, report.images) == (2, 2)
    assert numbers(store, filled) == [3, 4]
    assert dict(store.images(filled)) == {}


def test_a_task_that_once_showed_the_image_is_erased_too_also_inside_lists(store, filled):
    store.put_task(filled, 3, b'{"image": "other.png"}', "2026-06-01")
    store.put_task(filled, 9, b'{"pages": [{"url": "\\/data\\/upload\\/7\\/3.png"}]}', "2026-06-01")
    assert purge_image(store.database, "/data/upload/7/3.png").tasks == 2
    assert list(store.task_numbers(filled)) == [1, 2]


def test_only_the_named_project_is_touched(store, filled, drawn, state):
    other = store.project("label-studio", "http://elsewhere", 1).id
    store.put_tasks(other, [state(1, drawn(1, person="9"))])
    assert purge_annotator(store.database, "9", project_id=filled).annotations == 2
    assert purge_image(store.database, "/data/upload/7/1.png", project_id=filled).tasks == 1
    assert numbers(store, other) == [1]


def test_an_empty_name_erases_nothing(store, filled):
    with pytest.raises(InvalidInput):
        purge_image(store.database, "")
    with pytest.raises(InvalidInput):
        purge_annotator(store.database, "")


@pytest.mark.parametrize("size", [40, 4000, 90_000], ids=["small", "page", "large"])
def test_no_byte_of_what_was_erased_is_left_in_the_files(tmp_path, size):
    store = CorrectionsStore(Database(path=tmp_path / "corrections.sqlite3"))
    project = store.project("label-studio", "http://x", 7).id
    person = "somebody@example.org"
    # Digits compress to their own literal bytes only if they do not repeat; so the streams themselves are looked for.
    import hashlib

    def document(number):
        noise = "".join(hashlib.sha256(f"{number}/{n}".encode()).hexdigest() for n in range(size // 64 + 1))
        return b'{"id": %d, "noise": "%s"}' % (number, noise.encode())

    for number in range(1, 40):
        who = person if number % 3 == 0 else "1"
        stored = Stored(number, "submitted", who, "", "2026-01-01", document(number))
        store.put_annotation(project, number, stored)
    with store.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT person, document FROM corrections").all()
    erased = [bytes(row[1]) for row in rows if row[0] == person]
    kept = [bytes(row[1]) for row in rows if row[0] != person]

    def on_disk():
        return b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()) if path.is_file())

    def traces(streams):
        held = on_disk()
        return sum(
            stream[start : start + 24] in held for stream in streams for start in range(8, len(stream) - 24, 997)
        )

    assert person.encode() in on_disk()
    assert traces(erased) >= len(erased)
    assert purge_annotator(store.database, person).rewritten
    assert person.encode() not in on_disk()
    assert traces(erased) == 0
    assert traces(kept) >= len(kept)
    store.close()
    assert traces(erased) == 0


@pytest.fixture
def learnt(database, store, filled):
    """A round with pictures of tasks 1 and 2, and what is known of both tasks."""
    store.put_image(filled, "/data/upload/7/1.png", ImageFacts("ab" * 32, 4, 5))
    rounds = RoundStore(database)
    made, _ = rounds.queue(filled, trigger="t", base="embedded", config={})
    rounds.claim("w", 60)
    gallery = [{"file": f"worst-{task}.png", "task": str(task), "note": "SECRET"} for task in (1, 2)]
    problems = ["task 1: image '/data/upload/7/1.png': 404", "task 11: image '/data/upload/7/11.png': 404"]
    metrics = {"gallery": gallery, "images": {"new": 2}, "problems": problems}
    reason = f"no image could be used. The first problem: {problems[0]}"
    rounds.finish(made.id, "w", RoundState.REFUSED, reason=reason, metrics=metrics)
    PriorityStore(database).put(filled, [Priority(1, 0.1, feature=[1.0]), Priority(2, 0.2)])
    ProjectNotes(database).put(filled, LABELLED_FEATURES, {"embedding_version": "e", "tasks": {"1": "AAAA", "2": "AA"}})
    parts = {"training": ["ab" * 32, "cd" * 32], "held_out": ["ef" * 32]}
    ProjectNotes(database).put(filled, "held-out", parts)
    return filled


def gallery_of(database, project):
    return [one["file"] for one in RoundStore(database).get(project, 1).metrics["gallery"]]


@pytest.mark.parametrize("image", ["/data/upload/7/1.png", "ab" * 32])
def test_what_the_learning_loop_keeps_of_an_image_goes_with_it(database, learnt, image):
    rehearsed = purge_image(database, image, rehearse=True)
    assert rehearsed.pictures == (f"rounds/{learnt}/1/worst-1.png",)
    assert gallery_of(database, learnt) == ["worst-1.png", "worst-2.png"]
    assert purge_image(database, image).pictures == rehearsed.pictures
    assert gallery_of(database, learnt) == ["worst-2.png"]
    told = RoundStore(database).get(learnt, 1)
    assert told.metrics["images"] == {"new": 2}
    assert [problem[:8] for problem in told.metrics["problems"]] == ["task 11:"]
    assert "upload" not in told.reason
    assert [one.task_number for one in PriorityStore(database).list(learnt)] == [2]
    assert ProjectNotes(database).get(learnt, LABELLED_FEATURES)["tasks"] == {"2": "AA"}
    assert ProjectNotes(database).get(learnt, "held-out") == {"training": ["cd" * 32], "held_out": ["ef" * 32]}


def test_pictures_of_what_a_person_drew_go_with_the_person(database, learnt):
    assert len(purge_annotator(database, "9").pictures) == 2
    assert gallery_of(database, learnt) == []
    assert len(PriorityStore(database).list(learnt)) == 2
