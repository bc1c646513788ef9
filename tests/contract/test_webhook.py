"""Events as recorded: without credentials, once or several times, waited for by the annotator."""

from __future__ import annotations

import base64
import logging
import time

import pytest

EVENTS = [
    "webhook-annotation-created",
    "webhook-annotation-created-skipped",
    "webhook-annotation-created-unaccepted-prompt",
    "webhook-annotation-created-brush-accepted-in-ui",
    "webhook-annotations-deleted",
    "webhook-start-training",
    "webhook-tasks-created",
    "webhook-project-updated",
]


def hints(backend):
    return backend.app.blueprints["label_studio"].hints


@pytest.mark.parametrize("name", EVENTS)
def test_every_recorded_event_is_noted_once_however_often_it_comes(backend, payload, name):
    for _ in range(3):
        assert backend.http.post("/webhook", json=payload(name)).status_code == 200
    (hint,) = hints(backend).drain()
    assert hint.action == payload(name)["action"]
    assert hint.project_id == payload(name)["project"]["id"]
    assert len(hints(backend)) == 0


def test_events_come_without_basic_auth_and_are_taken_as_unauthenticated_hints(make_backend, payload):
    backend = make_backend(username="ls", password="secret")
    body = payload("webhook-annotation-created")
    assert backend.http.post("/webhook", json=body).status_code == 200
    assert [hint.authenticated for hint in hints(backend).drain()] == [False]
    header = {"Authorization": "Basic " + base64.b64encode(b"ls:secret").decode()}
    assert backend.http.post("/webhook", json=body, headers=header).status_code == 200
    assert [hint.authenticated for hint in hints(backend).drain()] == [True]


def test_everything_but_events_needs_the_credentials(make_backend, payload):
    backend = make_backend(username="ls", password="secret")
    assert backend.http.post("/setup", json=payload("setup")).status_code == 401
    assert backend.http.post("/predict", json=payload("predict-batch-two-tasks")).status_code == 401
    assert backend.http.get("/versions").status_code == 401
    assert backend.http.get("/health").status_code == 401
    wrong = {"Authorization": "Basic " + base64.b64encode(b"ls:wrong").decode()}
    assert backend.http.post("/webhook", json=payload("webhook-start-training"), headers=wrong).status_code == 401


def test_events_are_answered_within_a_second_and_nothing_is_done_before_the_answer(backend, label_studio, payload):
    """The annotator's submit waits for the answer; a second is all there is."""
    body = payload("webhook-annotation-created-brush-accepted-in-ui")
    body["annotation"]["result"] = body["annotation"]["result"] * 200
    started = time.monotonic()
    assert backend.http.post("/webhook", json=body).status_code == 200
    assert time.monotonic() - started < 1.0
    assert label_studio.requests == []


def test_deletions_come_under_a_plural_name_with_numbers_only(backend, payload):
    backend.http.post("/webhook", json=payload("webhook-annotations-deleted"))
    (hint,) = hints(backend).drain()
    assert hint.action == "ANNOTATIONS_DELETED"
    assert hint.annotations == (1,)


def test_training_is_acknowledged_without_annotations_in_it(backend, payload):
    body = payload("webhook-start-training")
    assert "annotations" not in body
    assert backend.http.post("/webhook", json=body).status_code == 200
    assert [hint.action for hint in hints(backend).drain()] == ["START_TRAINING"]


def test_an_annotation_is_known_by_number_task_and_time(backend, payload):
    body = payload("webhook-annotation-created")
    backend.http.post("/webhook", json=body)
    later = payload("webhook-annotation-created")
    later["annotation"]["updated_at"] = "2026-12-01T00:00:00Z"
    backend.http.post("/webhook", json=later)
    first, second = hints(backend).drain()
    assert first.annotations == second.annotations == (body["annotation"]["id"],)
    assert first.tasks == (body["task"]["id"],)
    assert first.updated_at != second.updated_at


@pytest.mark.parametrize("name", EVENTS)
def test_the_projects_token_and_the_body_are_never_logged(backend, payload, name, caplog):
    caplog.set_level(logging.DEBUG)
    body = payload(name)
    body["project"]["token"] = "projectsecret"
    body["project"]["expert_instruction"] = "instructionsecret"
    backend.http.post("/webhook", json=body)
    backend.http.post("/webhook", json=body | {"action": 7})
    assert "secret" not in caplog.text
    assert "secret" not in repr(hints(backend).drain())


def test_events_that_nobody_knows_yet_are_acknowledged_and_forgotten(backend, payload):
    body = payload("webhook-annotation-created") | {"action": "LABEL_LINK_CREATED"}
    assert backend.http.post("/webhook", json=body).json == {"status": "ignored"}
    assert len(hints(backend)) == 0


def test_a_storm_of_invented_events_cannot_fill_the_memory():
    from maskwright_label_studio.webhook import Hint, HintInbox

    inbox = HintInbox(limit=100)
    for number in range(10_000):
        inbox.add(Hint("ANNOTATION_CREATED", 1, (number,)))
    kept = inbox.drain()
    assert len(kept) == 100
    assert kept[-1].annotations == (9_999,)


def test_a_prompt_that_was_still_open_when_submitting_is_no_region(payload, recording):
    from maskwright_label_studio.results import results_to_regions

    stored = payload("webhook-annotation-created-unaccepted-prompt")["annotation"]["result"]
    assert stored[0]["is_positive"] is True
    assert results_to_regions(stored) == []
    accepted = payload("webhook-annotation-created-brush-accepted-in-ui")["annotation"]["result"]
    (region,) = results_to_regions(accepted + stored)
    assert region.label == accepted[0]["value"]["brushlabels"][0]
    assert region.provenance.source == "person"
    box = recording("region-formats")["regions"]["rect"] | {"is_positive": True}
    assert results_to_regions([box]) == [], "an open box prompt would otherwise pass for a rectangle"
