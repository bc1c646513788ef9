"""Batch requests: what was recorded of the real server, and what it does with answers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from maskwright.errors import Busy, ModelUnavailable


def test_identical_requests_within_a_tenth_of_a_second_compute_once_and_answer_alike(backend, payload):
    body = payload("predict-single-task-open")
    backend.oracle.delay_s = 0.4

    def ask(wait: float) -> Any:
        time.sleep(wait)
        return backend.app.test_client().post("/predict", json=body).json

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, (0.0, 0.1))
    assert len(backend.oracle.preannotated) == 1
    assert first == second
    assert first["results"][0]["result"]


def test_the_second_of_two_identical_requests_is_answered_from_memory_when_the_first_is_done(backend, payload):
    body = payload("predict-single-task-open")
    assert backend.results(body) == backend.results(body)
    assert len(backend.oracle.preannotated) == 1


def test_130_tasks_in_one_request_are_answered_within_the_deadline_and_the_rest_is_posted(
    make_backend, label_studio, batch_of
):
    backend = make_backend(batch_deadline_s=1.0)
    backend.oracle.delay_s = 0.05
    label_studio.tasks = {number: {"id": number} for number in range(1, 131)}
    started = time.monotonic()
    results = backend.results(batch_of(130))
    assert time.monotonic() - started < 10.0
    assert len(results) == 130
    in_time = [number for number, item in enumerate(results, 1) if item]
    assert 0 < len(in_time) < 130
    backend.wait_for_jobs()
    posted = [p["task"] for p in label_studio.predictions]
    assert sorted(posted) == sorted(set(range(1, 131)) - set(in_time))
    assert {p["model_version"] for p in label_studio.predictions} == {results[in_time[0] - 1]["model_version"]}
    assert all(p["result"][0]["value"]["rle"] and p["score"] == 0.8 for p in label_studio.predictions)
    assert len(backend.oracle.preannotated) == 130, "nothing is computed twice"


def test_late_predictions_leave_alone_what_was_annotated_predicted_or_deleted_meanwhile(
    make_backend, label_studio, batch_of
):
    backend = make_backend(batch_deadline_s=0.05)
    backend.oracle.delay_s = 0.3
    version = backend.http.post("/setup", json={"project": "1.1", "schema": batch_of(1)["label_config"]}).json
    label_studio.tasks = {number: {"id": number} for number in (1, 2, 3)}
    label_studio.annotations = {1: [{"id": 9, "was_cancelled": True}]}
    label_studio.predictions = [{"id": 5, "task": 2, **version}]
    assert backend.results(batch_of(4)) == [[], [], [], []]
    backend.wait_for_jobs()
    assert [p["task"] for p in label_studio.predictions] == [2, 3]


def test_posting_never_opens_a_task_because_that_would_ask_for_a_prediction_again(make_backend, label_studio, batch_of):
    backend = make_backend(batch_deadline_s=0.05)
    backend.oracle.delay_s = 0.2
    label_studio.tasks = {1: {"id": 1}, 2: {"id": 2}}
    backend.results(batch_of(2))
    backend.wait_for_jobs()
    assert len(label_studio.predictions) == 2
    assert not [
        path for _, path, _ in label_studio.requests if path.startswith("/api/tasks/") and "annotations" not in path
    ]


def test_a_single_slow_task_is_answered_within_the_deadline_too(make_backend, label_studio, payload):
    backend = make_backend(batch_deadline_s=0.1)
    backend.oracle.delay_s = 0.5
    label_studio.tasks = {1: {"id": 1}}
    assert backend.results(payload("predict-single-task-open")) == [[]]
    assert label_studio.predictions == [], "the answer went out before the prediction was there"
    backend.wait_for_jobs()
    assert [p["task"] for p in label_studio.predictions] == [1]


def test_an_opened_task_does_not_wait_behind_a_large_selection(make_backend, batch_of, payload):
    backend = make_backend(batch_deadline_s=5.0)
    backend.oracle.delay_s = 0.1
    selection = threading.Thread(target=lambda: backend.app.test_client().post("/predict", json=batch_of(60)))
    selection.start()
    time.sleep(0.2)
    body = payload("predict-single-task-open")
    body["tasks"][0]["id"] = 999
    (item,) = backend.results(body)
    assert item["result"]
    assert selection.is_alive()
    selection.join()


@pytest.mark.parametrize("count", [2, 5])
def test_there_is_one_element_per_task_in_the_same_order_and_never_null(backend, batch_of, count):
    body = batch_of(count)
    body["tasks"][1]["data"] = {"image": "/data/upload/1/missing.png"}
    results = backend.results(body)
    assert len(results) == count
    assert None not in results
    assert results[1] == [], "an empty list stores nothing, an empty prediction would count as done"
    assert all(item["result"] for number, item in enumerate(results) if number != 1)


@pytest.mark.parametrize(
    "damage",
    [
        {"data": {"image": "/data/upload/1/broken.png"}},
        {"data": {"image": "/data/upload/1/missing.png"}},
        {"data": {"picture": "/data/upload/1/x.png"}},
        {"data": {"image": None}},
        {"data": None},
        {"data": {"image": "ftp://example.org/x.png"}},
    ],
)
def test_one_bad_image_costs_one_prediction_and_its_reason_is_logged(backend, batch_of, damage, caplog):
    body = batch_of(3)
    body["tasks"][0] |= damage
    first, *others = backend.results(body)
    assert first == []
    assert all(item["result"] for item in others)
    assert "gets no prediction" in caplog.text or "is left out" in caplog.text


def test_a_task_that_is_no_object_costs_one_element(backend, batch_of):
    body = batch_of(3)
    body["tasks"][1] = None
    first, second, third = backend.results(body)
    assert (bool(first), second, bool(third)) == (True, [], True)


def test_a_bug_in_one_image_does_not_cost_the_others_theirs(backend, batch_of, monkeypatch):
    real, bugs = backend.oracle.preannotate, [ZeroDivisionError()]

    def sometimes(*args: Any, **about: Any) -> Any:
        if bugs:
            raise bugs.pop()
        return real(*args, **about)

    monkeypatch.setattr(backend.oracle, "preannotate", sometimes)
    results = backend.results(batch_of(4))
    assert sorted(map(bool, results)) == [False, True, True, True]


def test_a_model_that_cannot_be_loaded_fails_the_request_by_name(backend, batch_of):
    backend.oracle.fail = ModelUnavailable("model sam:nowhere is not there")
    response = backend.predict(batch_of(2))
    assert response.status_code == 503
    assert "sam:nowhere" in response.status


def test_tasks_for_which_the_queue_was_full_follow_later(make_backend, label_studio, batch_of, monkeypatch):
    backend = make_backend()
    label_studio.tasks = {1: {"id": 1}, 2: {"id": 2}}
    real, refused = backend.oracle.preannotate, []

    def busy_once(*args: Any, **about: Any) -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise Busy("full", retry_after=0.01)
        return real(*args, **about)

    monkeypatch.setattr(backend.oracle, "preannotate", busy_once)
    assert backend.results(batch_of(2)) == [[], []]
    backend.wait_for_jobs()
    assert sorted(p["task"] for p in label_studio.predictions) == [1, 2]


@pytest.mark.parametrize("score", [float("nan"), 5.0, -1.0, float("inf")])
def test_the_score_is_always_a_number_between_0_and_1(backend, batch_of, monkeypatch, score):
    from maskwright.assist.preannotate import Preannotation

    monkeypatch.setattr(backend.oracle, "preannotate", lambda *a, **k: Preannotation((), score, "x"))
    (item,) = backend.results(batch_of(1))
    assert isinstance(item["score"], float)
    assert 0 <= item["score"] <= 1


def test_a_picture_without_objects_gets_an_empty_prediction_with_a_score(backend, batch_of, monkeypatch):
    from maskwright.assist.preannotate import Preannotation

    monkeypatch.setattr(backend.oracle, "preannotate", lambda *a, **k: Preannotation((), 0.7, "x"))
    (item,) = backend.results(batch_of(1))
    assert item["result"] == []
    assert item["score"] == 0.7


@pytest.mark.parametrize(
    "touched",
    [
        {"annotations": [{"id": 1, "result": []}]},
        {"is_labeled": True},
        {"total_annotations": 1},
        {"cancelled_annotations": 1},
    ],
)
def test_tasks_that_a_person_annotated_or_skipped_are_not_touched(backend, batch_of, touched):
    body = batch_of(2)
    body["tasks"][0] |= touched
    first, second = backend.results(body)
    assert first == []
    assert second["result"]
    assert len(backend.oracle.preannotated) == 1


def test_a_stored_prediction_of_this_version_is_not_computed_again_and_one_of_another_is(backend, batch_of):
    body = batch_of(2)
    version = backend.http.post("/setup", json={"project": body["project"], "schema": body["label_config"]}).json
    body["tasks"][0]["predictions"] = [{"id": 1, "result": [], "score": 0.5, **version}]
    body["tasks"][1]["predictions"] = [{"id": 2, "result": [], "score": 0.5, "model_version": "older"}]
    first, second = backend.results(body)
    assert first == []
    assert second["result"]


@pytest.mark.parametrize("context", [None, {}])
def test_context_is_null_or_empty_in_batch_and_both_pre_annotate(backend, batch_of, context):
    body = batch_of(1)
    body["params"]["context"] = context
    (item,) = backend.results(body)
    assert item["result"]
    assert backend.oracle.prompts == []


def test_a_request_without_tasks_is_answered_with_none(backend, batch_of):
    assert backend.results(batch_of(0)) == []


def test_pre_annotation_can_be_switched_off_per_project(backend, batch_of):
    body = batch_of(2)
    setup = {"project": body["project"], "schema": body["label_config"], "extra_params": {"preannotate": False}}
    assert backend.http.post("/setup", json=setup).status_code == 200
    assert backend.results(body) == [[], []]
    assert backend.oracle.preannotated == []


def test_options_of_the_project_reach_the_assistant(backend, batch_of):
    body = batch_of(1)
    params = {
        "score_threshold": 0.4,
        "class_thresholds": {"Cat": 0.9},
        "min_area": 50,
        "max_regions": 7,
        "model": "sam:x",
    }
    backend.http.post(
        "/setup", json={"project": body["project"], "schema": body["label_config"], "extra_params": params}
    )
    backend.results(body)
    (asked,) = backend.oracle.preannotated
    options = asked["options"]
    assert (options.score_threshold, options.class_thresholds, options.min_area, options.max_regions) == (
        0.4,
        {"Cat": 0.9},
        50,
        7,
    )
    assert asked["model"] == "sam:x"


def test_file_upload_may_be_a_number_or_a_name(backend, batch_of):
    body = batch_of(2)
    body["tasks"][0]["file_upload"], body["tasks"][1]["file_upload"] = 17, "878f0806-img1.png"
    assert all(item["result"] for item in backend.results(body))


def test_opening_a_task_warms_the_next_ones(make_backend, label_studio, payload):
    backend = make_backend()
    body = payload("predict-single-task-open")
    label_studio.tasks = {
        number: {"id": number, "data": {"image": f"/data/upload/1/{number}.png"}} for number in range(1, 9)
    }
    backend.results(body)
    backend.wait_for_jobs()
    assert [
        "/2.png" in key or "/3.png" in key or "/4.png" in key or "/5.png" in key for key in backend.oracle.warmed
    ] == [True] * 4


def test_a_batch_of_many_warms_nothing(backend, batch_of):
    backend.results(batch_of(3))
    backend.wait_for_jobs()
    assert backend.oracle.warmed == []


def test_images_are_fetched_with_the_token_from_the_configured_server_only(make_backend, label_studio, batch_of):
    backend = make_backend()
    body = batch_of(1)
    body["tasks"][0]["data"]["image"] = f"{label_studio.url}/data/local-files/?d=sub/y.png"
    backend.results(body)
    assert (
        "GET",
        "/data/local-files/?d=sub/y.png",
        f"Token {'0123456789abcdef' * 2 + '01234567'}",
    ) in label_studio.requests


def test_every_region_of_every_task_has_its_own_id(backend, batch_of):
    ids = [region["id"] for item in backend.results(batch_of(20)) for region in item["result"]]
    assert len(set(ids)) == len(ids) == 20


def test_an_answer_is_plain_json_of_lists(backend, batch_of):
    text = backend.predict(batch_of(1)).data
    (item,) = orjson.loads(text)["results"]
    assert isinstance(item["result"][0]["value"]["rle"], list)
