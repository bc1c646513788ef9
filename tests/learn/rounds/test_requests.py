"""When a round is queued: asked for, after new corrections, on a timer; debounced, one at a time, never for nothing."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from maskwright.errors import InvalidInput
from maskwright.learn.rounds.requests import (
    WANTED,
    due,
    queue_due_rounds,
    queue_round,
    seconds_until_due,
    waiting,
    want_training,
)
from maskwright.learn.rounds.workshop import MACHINE
from maskwright.learn.settings import LearningSettings, changed_settings, learning_settings, read_learning
from maskwright.store.corrections import Stored
from maskwright.store.rounds import RoundState
from maskwright.store.snapshots import SnapshotStore
from maskwright.store.times import now, to_text

SECOND = 1_000_000


@pytest.fixture
def project(make_project):
    return make_project(pictures=3, held_out=1)


def finish(project, state=RoundState.REFUSED, *, frozen=True):
    """Let the active round end, with a snapshot of what is there."""
    shop = project.workshop
    claimed = shop.rounds.claim("tests", 60.0)
    if frozen:
        name = f"round-{project.row.id}-{claimed.number}"
        SnapshotStore(project.store.database).create(name, project.row.id)
        shop.rounds.advance(claimed.id, "tests", RoundState.TRAINING, snapshot=name)
    shop.rounds.finish(claimed.id, "tests", state, reason="tests")


def annotate(project, number, at="2026-02-01T00:00:00Z", lead_time=5.0):
    document = json.dumps({"id": 900 + number, "was_cancelled": False, "result": [], "updated_at": at}).encode()
    stored = Stored(900 + number, "submitted", "1", at, at, document, lead_time)
    assert project.store.put_annotation(project.row.id, number, stored)


def test_enough_new_corrections_start_one_round_however_often_one_looks(project):
    project.learn(corrections_per_round=3)
    (made,) = queue_due_rounds(project.workshop)
    assert (made.state, made.trigger, made.base) == (RoundState.QUEUED, "3 new corrections", "embedded")
    assert made.config["corrections_per_round"] == 3
    assert queue_due_rounds(project.workshop) == []
    finish(project)
    assert queue_due_rounds(project.workshop) == []


def test_too_few_corrections_start_none(project):
    project.learn(corrections_per_round=4)
    assert queue_due_rounds(project.workshop) == []


def test_a_thousand_events_within_a_minute_start_one_round(project):
    project.learn(corrections_per_round=1, debounce_s=0.0)
    made = []
    for event in range(1000):
        annotate(project, 1 + event % 3, at=f"2026-02-01T00:00:{event % 60:02d}.{event:06d}Z")
        if event % 10 == 0:
            want_training(project.store, project.row.id)
            made += queue_due_rounds(project.workshop)
    assert len(made) == 1
    assert len(project.workshop.rounds.list(project.row.id)) == 1


def test_a_round_waits_for_a_pause_but_not_for_ever(project):
    project.learn(corrections_per_round=3, debounce_s=60.0)
    stored = waiting(project.store, project.row.id, None)
    assert due(project.workshop, project.row, stored.newest + 59 * SECOND) == ""
    assert due(project.workshop, project.row, stored.newest + 60 * SECOND)
    assert due(project.workshop, project.row, stored.oldest + 600 * SECOND)


def test_who_asks_waits_for_a_pause_of_five_seconds_and_no_longer_than_others(project):
    project.learn(corrections_per_round=3, debounce_s=60.0)
    stored = waiting(project.store, project.row.id, None)
    want_training(project.store, project.row.id)
    assert due(project.workshop, project.row, stored.newest + 4 * SECOND) == ""
    assert due(project.workshop, project.row, stored.newest + 5 * SECOND) == "asked for"
    project.learn(debounce_s=2.0)
    assert due(project.workshop, project.row, stored.newest + 2 * SECOND) == "asked for"


def test_one_who_looks_too_early_is_told_when_to_look_again(project):
    project.learn(corrections_per_round=3, debounce_s=60.0, interval_s=200.0)
    stored = waiting(project.store, project.row.id, None)
    assert seconds_until_due(project.workshop, stored.newest + 45 * SECOND) == 15
    annotate(project, 1)  # puts it off
    later = waiting(project.store, project.row.id, None)
    put_off = (later.newest - stored.newest) / SECOND
    assert seconds_until_due(project.workshop, stored.newest + 45 * SECOND) == pytest.approx(put_off + 15)
    # What is due already has been seen to, or cannot be: the next is the timer's.
    assert seconds_until_due(project.workshop, later.oldest + 150 * SECOND) == 50
    project.learn(corrections_per_round=0)
    assert seconds_until_due(project.workshop) == math.inf
    queue_round(project.workshop, project.row, trigger="tests")
    project.learn(interval_s=1.0)
    assert seconds_until_due(project.workshop) == math.inf


def test_a_wish_starts_a_round_with_fewer_corrections_however_late_a_worker_comes(project):
    project.learn(corrections_per_round=0)
    assert queue_due_rounds(project.workshop) == []
    want_training(project.store, project.row.id)
    assert due(project.workshop, project.row) == "asked for"
    assert due(project.workshop, project.row, now() + 7 * 3600 * SECOND) == "asked for"


def test_a_wish_that_met_nothing_new_for_an_hour_is_forgotten(project):
    project.learn(corrections_per_round=0)
    first = waiting(project.store, project.row.id, None).oldest
    for before, why in ((3590, "asked for"), (3610, "")):
        project.workshop.notes.put(project.row.id, WANTED, {"at": to_text(first - before * SECOND)})
        assert due(project.workshop, project.row) == why


def test_a_wish_is_fulfilled_once_and_without_anything_new_not_at_all(project):
    project.learn(corrections_per_round=0)
    want_training(project.store, project.row.id)
    assert len(queue_due_rounds(project.workshop)) == 1
    finish(project)
    assert queue_due_rounds(project.workshop) == []
    want_training(project.store, project.row.id)
    assert queue_due_rounds(project.workshop) == []
    annotate(project, 1)
    assert len(queue_due_rounds(project.workshop)) == 1


def test_the_timer_starts_a_round_only_if_something_is_new(project):
    project.learn(corrections_per_round=0, interval_s=100.0)
    stored = waiting(project.store, project.row.id, None)
    assert due(project.workshop, project.row, stored.oldest + 99 * SECOND) == ""
    assert due(project.workshop, project.row, stored.oldest + 101 * SECOND) == "timer"
    queue_round(project.workshop, project.row, trigger="tests")
    finish(project)
    assert due(project.workshop, project.row, now() + 1000 * SECOND) == ""
    annotate(project, 2)
    assert due(project.workshop, project.row, now() + 1000 * SECOND) == "timer"


@pytest.mark.parametrize("frozen", [True, False], ids=["after its snapshot", "before its snapshot"])
@pytest.mark.parametrize("state", [RoundState.FAILED, RoundState.CANCELLED])
def test_a_round_that_failed_or_was_cancelled_is_not_tried_again_before_something_is_new(project, state, frozen):
    project.learn(corrections_per_round=1)
    queue_due_rounds(project.workshop)
    finish(project, state, frozen=frozen)
    assert queue_due_rounds(project.workshop) == []
    annotate(project, 1)
    assert len(queue_due_rounds(project.workshop)) == 1


def test_a_command_is_told_that_nothing_is_new_unless_it_insists(project):
    queue_round(project.workshop, project.row, trigger="command")
    finish(project)
    with pytest.raises(InvalidInput, match=r"new since its last round.*--force"):
        queue_round(project.workshop, project.row, trigger="command")
    made, is_new = queue_round(project.workshop, project.row, trigger="command", force=True)
    assert is_new
    assert made.number == 2
    assert queue_round(project.workshop, project.row, trigger="command") == (made, False)


def test_what_the_machine_annotated_itself_does_not_count_until_a_person_took_time_over_it(project):
    queue_round(project.workshop, project.row, trigger="tests")
    finish(project)
    project.workshop.notes.put(project.row.id, MACHINE, {"1": 901, "2": None})
    annotate(project, 1, lead_time=0.0)
    annotate(project, 2, lead_time=0.0)
    last = project.workshop.rounds.get(project.row.id, 1)
    assert waiting(project.store, project.row.id, last).count == 0
    annotate(project, 2, at="2026-03-01T00:00:00Z", lead_time=7.0)
    assert waiting(project.store, project.row.id, last).count == 1


def test_a_changed_annotation_is_a_new_correction(project):
    queue_round(project.workshop, project.row, trigger="tests")
    finish(project)
    annotate(project, 1)
    annotate(project, 1, at="2026-03-01T00:00:00Z")
    last = project.workshop.rounds.get(project.row.id, 1)
    assert waiting(project.store, project.row.id, last).count == 1


@settings(max_examples=30, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "mode": st.sampled_from(["assisted", "semi-automatic", "automatic"]),
            "accept_threshold": st.floats(0, 1),
            "corrections_per_round": st.integers(0, 1000),
            "held_out_share": st.floats(0.01, 0.99),
            "steps": st.none() | st.integers(1, 10_000),
            "adapter": st.sampled_from([None, {"kind": "lora", "rank": 4}, {"kind": "decoder"}]),
        },
    )
)
def test_settings_come_back_as_they_were_written(value):
    found = learning_settings(value)
    assert learning_settings(json.loads(json.dumps(found.model_dump(mode="json")))) == found


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ({"acquisition": "luck"}, "random"),
        ({"held_out_share": "1.5"}, "held_out_share"),
        ({"colour": "red"}, "colour"),
        ({"adapter": '{"kind": "tail"}'}, "kind"),
        ({"steps": "many"}, "steps"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(assignment, told):
    with pytest.raises(InvalidInput, match=told):
        changed_settings(LearningSettings(), assignment)


def test_settings_cannot_be_changed_behind_ones_back():
    with pytest.raises(ValidationError):
        LearningSettings().seed = 3  # type: ignore[misc]


def test_a_project_learns_by_the_defaults_until_somebody_chooses(make_project):
    project = make_project(pictures=1, held_out=0)
    assert read_learning(project.workshop.notes, 999) == LearningSettings()
    assert changed_settings(LearningSettings(), {"acquisition": "random", "corrections_per_round": "20"}) == (
        LearningSettings(acquisition="random", corrections_per_round=20)
    )
