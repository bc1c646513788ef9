"""Rounds on the embedded model: promoted, refused or undecided with the reason; stopped, resumed, taken over."""

from __future__ import annotations

import io
import json
import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from maskwright.errors import Busy, InvalidInput
from maskwright.images import Window, decode_image
from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.gate.verdict import Verdict
from maskwright.learn.rounds.experience import read_calibration, read_cost
from maskwright.learn.rounds.run import run_pending, run_round
from maskwright.learn.rounds.workshop import HELD_OUT, TRAINED
from maskwright.store.faults import StoreUnavailable
from maskwright.store.rounds import LeaseLost, RoundState
from maskwright.store.snapshots import SnapshotStore


@pytest.fixture
def small(make_project):
    """A project that a round is quickly done with: two pictures to learn from, one held out."""
    return make_project(pictures=3, held_out=1, objects=2)


def files(project):
    return {path.name for path in project.settings.home.glob("rounds/*/[0-9]*/*")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_round_learns_proves_itself_is_promoted_and_told_of_in_full(make_project):
    project = make_project()
    project.learn(steps=8)
    seen = []
    ended = project.run(progress=seen.append)
    assert ended.state is RoundState.PROMOTED, ended.reason
    assert ended.reason.startswith("Promoted: ")
    served = project.workshop.served.current(project.row.id, "embedded")
    assert (served.adapter, served.round_number, served.uri) == (ended.adapter, 1, f"embedded+adapter:{ended.adapter}")
    card = project.workshop.registry.adapters.summary(ended.adapter).card
    assert card.parent is None
    assert card.snapshot == SnapshotStore(project.store.database).get(ended.snapshot).digest

    report = ended.metrics
    assert report["images"] == {"training": 3, "held_out": 5, "new": 8, "broken": 0}
    assert report["objects"] == {"training": 18, "held_out": 30}
    assert report["training"]["steps"] == 8
    assert report["training"]["curve"]
    assert report["candidate"]["primary"] > report["served"]["primary"]
    assert report["gain"]["low"] > 0
    assert [row["name"] for row in report["by_prompt"]] == ["box", "1", "3", "5"]
    (thing,) = report["by_class"]
    assert (thing["name"], thing["objects"]) == ("thing", 30)
    assert thing["error_low"] <= 1 - thing["candidate"] <= thing["error_high"]
    assert report["by_group"]["field"] == "scanner"
    assert {row["name"] for row in report["by_group"]["groups"]} == {"a", "b"}
    assert report["confusion"]["classes"] == ["thing", "(missed)"]
    assert sum(report["confusion"]["rows"][0]) == 30
    assert set(report["seconds"]) == {"data", "train", "classes", "evaluate"}
    assert Verdict.from_json(ended.verdict).outcome == "promote"
    assert {progress["stage"] for progress in seen} == {"data", "training", "classes", "evaluating", "gallery"}

    pictures = {row["file"] for row in report["gallery"]}
    assert pictures
    assert files(project) == pictures
    for row in report["gallery"]:
        path = project.workshop.folder(project.row.id, 1) / row["file"]
        height, width = decode_image(path.read_bytes()).size
        assert max(height, width) <= 480
        assert 0 <= row["iou"] <= 1
    assert read_cost(project.workshop.notes, project.row.id).seconds([Effort(5)])[0] > 0
    assert np.all(np.diff(read_calibration(project.workshop.notes, project.row.id)([0.0, 0.5, 1.0])) >= 0)

    # The next round goes on from what is served, keeps the held-out part, and asks the served model nothing again.
    parts = project.workshop.notes.get(project.row.id, HELD_OUT)
    project.learn(steps=1)
    again = project.run()
    assert again.state in (RoundState.REFUSED, RoundState.PROMOTED)
    assert again.served_before == served.id
    assert again.metrics["images"]["new"] == 0
    assert again.metrics["served"] == report["candidate"]
    assert project.workshop.registry.adapters.summary(again.adapter).card.parent == ended.adapter
    assert project.workshop.notes.get(project.row.id, HELD_OUT) == parts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_learnt_from_shuffled_masks_is_refused_and_the_reason_told(make_project):
    project = make_project(shuffled=True)
    project.learn(steps=4)
    ended = project.run()
    assert ended.state is RoundState.REFUSED
    assert "lost" in ended.reason
    assert project.workshop.served.current(project.row.id, "embedded") is None
    assert ended.adapter is not None
    assert ended.metrics["candidate"]["primary"] < ended.metrics["served"]["primary"]


def test_a_round_on_few_images_decides_nothing_and_says_what_a_verdict_needs(small, caplog):
    caplog.set_level("INFO", "maskwright")
    began = time.monotonic()
    ended = small.run()
    took = time.monotonic() - began
    assert ended.state is RoundState.UNDECIDED
    assert "1 held-out image with 2 objects, but a verdict needs 5 images and 30 objects" in ended.reason
    assert ended.adapter is not None
    assert small.workshop.served.current(small.row.id, "embedded") is None
    assert ended.metrics["gain"]["low"] is None
    assert json.loads(json.dumps(ended.metrics, allow_nan=False)) == ended.metrics
    seconds = ended.metrics["seconds"]
    assert set(seconds) == {"data", "train", "classes", "evaluate"}
    assert took - 1 < sum(seconds.values()) <= took
    told = [record.getMessage() for record in caplog.records]
    assert "round 1 of project 7 begins (tests, attempt 1)" in told
    assert "round 1 of project 7: 2 images with 4 objects to learn from, 1 images held out, 3 new" in told
    assert re.fullmatch(r"round 1 of project 7: not enough data after \d+ s\. Not enough data: 1 held-out .*", told[-1])


def test_a_round_that_was_given_back_tells_the_time_of_both_of_its_runs(small):
    trained = threading.Event()
    given_back = small.run(progress=lambda at: trained.set() if at.get("step") == 1 else None, stopping=trained.is_set)
    first = given_back.metrics["seconds"]
    claimed = small.workshop.rounds.claim("another", 60.0)
    second = run_round(claimed, small.workshop, "another").metrics["seconds"]
    assert second["data"] > first["data"] > 0
    assert second["train"] > first["train"] > 0


def test_without_anything_held_out_a_candidate_is_there_and_nothing_decided(make_project):
    ended = make_project(pictures=1, held_out=0, objects=1).run()
    assert ended.state is RoundState.UNDECIDED
    assert "0 held-out images" in ended.reason
    assert ended.adapter is not None


def test_a_project_without_annotations_has_nothing_to_learn_from(make_project):
    ended = make_project(pictures=0, held_out=0).run()
    assert (ended.state, ended.adapter) == (RoundState.UNDECIDED, None)
    assert "nobody has submitted an annotation" in ended.reason


def test_images_that_are_broken_or_gone_are_named_and_the_others_learnt_from(small):
    small.files["/data/upload/7/1.png"] = b"no image"
    ended = small.run()
    assert ended.state is RoundState.UNDECIDED
    assert ended.metrics["images"]["broken"] == 1
    assert ended.metrics["images"]["training"] == 1
    (problem,) = ended.metrics["problems"]
    assert "task 1" in problem


def test_if_no_image_can_be_had_the_round_says_so(small):
    small.files.clear()
    ended = small.run()
    assert ended.state is RoundState.UNDECIDED
    assert "no image could be used" in ended.reason
    assert "there is no image '/data/upload/7/1.png'" in ended.reason


def test_a_held_out_image_that_was_trained_on_ends_the_round_before_it_is_measured(small):
    small.workshop.notes.put(small.row.id, TRAINED, [small.keys[2]])
    ended = small.run()
    assert ended.state is RoundState.FAILED
    assert "task 3" in ended.reason
    assert "trained on" in ended.reason
    assert ended.adapter is None


def test_a_held_out_image_whose_twin_was_trained_on_while_it_could_not_be_had_is_set_aside(small):
    here = small.files.pop("/data/upload/7/3.png")
    twin = io.BytesIO()
    Image.open(io.BytesIO(here)).save(twin, "png", compress_level=1)
    small.files["/data/upload/7/2.png"] = twin.getvalue()
    assert small.run().metrics["images"]["training"] == 2
    small.files["/data/upload/7/3.png"] = here
    ended = small.run()
    assert ended.state is RoundState.UNDECIDED, ended.reason
    assert (ended.metrics["images"]["training"], ended.metrics["images"]["held_out"]) == (2, 0)
    assert small.workshop.notes.get(small.row.id, HELD_OUT)["set_aside"] == [small.keys[2]]


def test_what_was_measured_in_another_value_range_is_measured_again(small):
    def count():
        return len(list(small.settings.home.glob("rounds/*/measured/*.jsonl")))

    small.run()
    before = count()
    small.run()
    assert count() == before + 1, "the candidate alone"
    object.__setattr__(small.workshop, "window", lambda project: Window(1000.0, 500.0))
    small.run()
    assert count() == before + 3, "the candidate and the model in service"


def test_one_who_cancels_is_obeyed_and_nothing_is_left_behind(small):
    ended = small.run(cancelled=lambda: True)
    assert (ended.state, ended.reason) == (RoundState.CANCELLED, "cancelled")
    assert files(small) == set()


def test_a_round_is_cancelled_from_elsewhere_while_it_runs(small):
    small.learn(steps=10_000)
    began = threading.Event()

    def cancel():
        began.wait(120)
        small.workshop.rounds.cancel(small.row.id, 1)

    other = threading.Thread(target=cancel)
    other.start()
    ended = small.run(lease_s=3.0, progress=lambda at: began.set() if at["stage"] == "training" else None)
    other.join()
    assert ended.state is RoundState.CANCELLED
    assert ended.metrics["images"]["training"] == 2


def test_a_process_that_is_to_end_gives_the_round_back_and_the_next_goes_on(small):
    trained = threading.Event()
    given_back = small.run(
        progress=lambda at: trained.set() if at["stage"] == "evaluating" else None, stopping=trained.is_set
    )
    assert (given_back.state, given_back.attempts) == (RoundState.QUEUED, 0)
    assert given_back.adapter is not None
    stages = []
    claimed = small.workshop.rounds.claim("another", 60.0)
    ended = run_round(claimed, small.workshop, "another", progress=lambda at: stages.append(at["stage"]))
    assert ended.state is RoundState.UNDECIDED
    assert ended.adapter == given_back.adapter
    assert "training" not in stages


def test_one_who_lost_the_lease_stops_and_writes_nothing(small):
    small.learn(steps=10_000)
    taken = []

    def take_over(progress):
        if progress["stage"] == "training" and not taken:
            small.store.database.write(
                lambda connection: connection.exec_driver_sql("UPDATE rounds SET lease_until = 1")
            )  # fmt: skip
            # Between the two its owner may have renewed the lease; then the next step tries again.
            taken.extend(filter(None, [small.workshop.rounds.claim("another", 600.0)]))

    with pytest.raises(LeaseLost):
        small.run(lease_s=3.0, progress=take_over)
    there = small.workshop.rounds.get(small.row.id, 1)
    assert there.owner == "another"
    assert there.state is RoundState.TRAINING
    assert there.adapter is None


@pytest.mark.parametrize("fault", [Busy("locked by another writer"), StoreUnavailable("the disk is full")])
def test_a_database_that_does_not_answer_for_a_while_costs_an_attempt_and_not_the_round(small, fault):
    def fails(progress):
        if progress["stage"] == "evaluating":
            raise fault

    with pytest.raises(type(fault)):
        small.run(progress=fails)
    small.store.database.write(lambda connection: connection.exec_driver_sql("UPDATE rounds SET lease_until = 1"))
    stages = []
    claimed = small.workshop.rounds.claim("another", 60.0)
    ended = run_round(claimed, small.workshop, "another", progress=lambda at: stages.append(at["stage"]))
    assert (ended.state, ended.attempts) == (RoundState.UNDECIDED, 2), ended.reason
    assert "training" not in stages


def test_a_fault_nobody_foresaw_ends_the_round_as_failed(small):
    def fault(progress):
        raise ZeroDivisionError

    ended = small.run(progress=fault)
    assert ended.state is RoundState.FAILED
    assert "ZeroDivisionError" in ended.reason
    assert run_pending(small.workshop, "another") == []


def test_a_project_that_cannot_be_worked_on_ends_its_round_with_the_reason(small):
    def labels(project):
        raise InvalidInput("the labelling configuration is no XML")

    object.__setattr__(small.workshop, "labels", labels)
    ended = small.run()
    assert (ended.state, ended.reason) == (RoundState.FAILED, "the labelling configuration is no XML")


def test_a_served_adapter_that_was_cut_short_is_refused_by_name(small):
    first = small.run()
    small.workshop.served.put(small.row.id, "embedded", first.adapter, None, round_number=1, reason="tests")
    path = small.settings.home / "adapters" / f"{first.adapter}.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    ended = small.run()
    assert ended.state is RoundState.FAILED
    assert first.adapter in ended.reason
    assert "cut short" in ended.reason
