"""Events as recorded: on the disk before they are answered, whoever sends them, however often, in any order."""

from __future__ import annotations

import base64
import logging
import sqlite3
import threading
import time
from itertools import permutations

import orjson
import pytest
from sqlalchemy import select

from maskwright.store.documents import unpack
from maskwright.store.schema import metadata
from maskwright_label_studio.webhook import read_event

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
PROVEN = {"Authorization": "Basic " + base64.b64encode(b"ls:secret").decode()}


def store_of(backend):
    return backend.app.blueprints["label_studio"].store()


def waiting(backend):
    return [pending.event for pending in store_of(backend).pending_events(100)]


def heads(backend):
    store = store_of(backend)
    return [head for row in store.projects() for head in store.heads(row.id)]


def files(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.glob("corrections*")))


def documents_kept(backend):
    """Every document in the store, of whatever table, unpacked."""
    with store_of(backend).database.read() as connection:
        for table in metadata.tables.values():
            if {"document", "nbytes", "digest"} <= set(table.c.keys()):
                for row in connection.execute(select(table).where(table.c.document.is_not(None))):
                    yield unpack(row.document, row.nbytes, row.digest)


@pytest.fixture
def guarded(make_backend):
    backend = make_backend(username="ls", password="secret")
    store_of(backend)  # opened, as by a server that runs for a second
    return backend


@pytest.mark.parametrize("name", EVENTS)
def test_every_recorded_event_is_noted_once_however_often_it_comes(backend, payload, name):
    for _ in range(3):
        assert backend.http.post("/webhook", json=payload(name)).status_code == 200
    (event,) = waiting(backend)
    assert event.action == payload(name)["action"]
    assert event.project == payload(name)["project"]["id"]


def test_an_event_outlives_the_server_that_took_it(make_backend, payload):
    backend = make_backend()
    backend.http.post("/webhook", json=payload("webhook-annotation-created"))
    assert len(waiting(make_backend())) == 1


def test_events_come_without_basic_auth_and_are_taken_as_hints_and_never_as_corrections(guarded, payload):
    body = payload("webhook-annotation-created")
    assert guarded.http.post("/webhook", json=body).status_code == 200
    assert [event.authenticated for event in waiting(guarded)] == [False]
    assert heads(guarded) == []


def test_the_correction_in_a_proven_event_is_kept_at_once_and_complete(guarded, payload, label_studio):
    body = payload("webhook-annotation-created-brush-accepted-in-ui")
    assert guarded.http.post("/webhook", json=body, headers=PROVEN).status_code == 200
    (head,) = heads(guarded)
    kept, sent = orjson.loads(head.stored.document), body["annotation"]
    assert kept["result"] == sent["result"]
    assert (head.stored.number, head.task_number) == (sent["id"], body["task"]["id"])
    assert head.stored.person == str(sent["completed_by"])
    assert head.stored.lead_time == sent["lead_time"]
    assert head.stored.kind == "submitted"
    assert label_studio.requests == [], "nothing else is done before the answer"
    (document,) = store_of(guarded).task_documents(store_of(guarded).projects()[0].id)
    assert orjson.loads(document)["data"] == body["task"]["data"]


def test_a_skipped_task_is_told_apart(guarded, payload):
    guarded.http.post("/webhook", json=payload("webhook-annotation-created-skipped"), headers=PROVEN)
    assert [head.stored.kind for head in heads(guarded)] == ["skipped"]


def test_the_newest_state_is_in_force_in_whatever_order_three_edits_arrive(make_backend, payload, tmp_path):
    bodies = []
    for second in range(3):
        body = payload("webhook-annotation-created")
        body["annotation"] |= {"updated_at": f"2026-11-22T00:00:0{second}.000000Z", "lead_time": float(second)}
        bodies.append(body | {"action": "ANNOTATION_UPDATED"})
    for number, order in enumerate(permutations(bodies)):
        backend = make_backend(home=tmp_path / str(number), username="ls", password="secret")
        for body in order:
            backend.http.post("/webhook", json=body, headers=PROVEN)
        (head,) = heads(backend)
        assert head.stored.lead_time == 2.0
        store = store_of(backend)
        assert len(store.history(store.projects()[0].id, head.stored.number)) == 3, "earlier states are kept"


def test_the_prediction_that_was_shown_is_kept_as_a_proposal(guarded, payload):
    body = payload("webhook-annotation-created")
    shown = {"id": 77, "model_version": "embedded-1", "result": [], "created_ago": "3 minutes"}
    body["annotation"] |= {"prediction": shown, "parent_prediction": 77}
    guarded.http.post("/webhook", json=body, headers=PROVEN)
    (head,) = heads(guarded)
    assert (head.stored.proposal_number, head.stored.model_version) == (77, "embedded-1")
    store = store_of(guarded)
    (document,) = store.task_documents(store.projects()[0].id)
    assert orjson.loads(document)["predictions"] == [{"id": 77, "model_version": "embedded-1", "result": []}]


def test_everything_but_events_needs_the_credentials(guarded, payload):
    assert guarded.http.post("/setup", json=payload("setup")).status_code == 401
    assert guarded.http.post("/predict", json=payload("predict-batch-two-tasks")).status_code == 401
    assert guarded.http.get("/versions").status_code == 401
    assert guarded.http.get("/health").status_code == 401
    wrong = {"Authorization": "Basic " + base64.b64encode(b"ls:wrong").decode()}
    assert guarded.http.post("/webhook", json=payload("webhook-start-training"), headers=wrong).status_code == 401


def brush_strokes(accepted):
    return accepted * 1000


def large_polygons(accepted):
    points = [[n * 0.001 % 100, n * 0.002 % 100] for n in range(60_000)]
    return [{**accepted[0], "type": "polygonlabels", "value": {"points": points, "polygonlabels": ["Cat"]}}]


@pytest.mark.parametrize("drawn", [brush_strokes, large_polygons])
def test_events_of_megabytes_are_answered_well_within_the_second_that_the_annotator_waits(guarded, payload, drawn):
    body = payload("webhook-annotation-created-brush-accepted-in-ui")
    body["annotation"]["result"] = drawn(body["annotation"]["result"])
    text = orjson.dumps(body)
    assert len(text) > 1_000_000
    guarded.http.post("/webhook", json=payload("webhook-annotation-created"), headers=PROVEN)
    for headers in (PROVEN, {}):
        times = []
        for _ in range(3):
            started = time.process_time()  # others may want the processor just now
            assert guarded.http.post("/webhook", data=text, headers=headers).status_code == 200
            times.append(time.process_time() - started)
        taken = min(times)
        print(f"{drawn.__name__}: {len(text) / 1e6:.1f} MB, proven {bool(headers)}: {1000 * taken:.0f} ms")
        assert taken < 0.7


def test_a_locked_database_is_told_within_a_second_and_what_was_acknowledged_stays(
    guarded, impatient, payload, tmp_path
):
    guarded.http.post("/webhook", json=payload("webhook-annotation-created"), headers=PROVEN)
    other = sqlite3.connect(tmp_path / "corrections.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    times = []
    for _ in range(3):  # others may want the processor just now
        started = time.monotonic()
        refused = guarded.http.post("/webhook", json=payload("webhook-annotation-created-skipped"), headers=PROVEN)
        times.append(time.monotonic() - started)
        assert refused.status_code == 503
    assert min(times) < 1.0
    assert "corrections database" in refused.json["error"]
    other.execute("ROLLBACK")
    other.close()
    assert len(heads(guarded)) >= 1
    assert guarded.http.post("/webhook", json=payload("webhook-start-training"), headers=PROVEN).status_code == 200


def test_a_database_that_cannot_be_opened_is_told_and_the_next_event_tries_again(make_backend, payload, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "corrections.sqlite3").write_bytes(b"")
    backend = make_backend(home=home)
    answer = backend.http.post("/webhook", json=payload("webhook-annotation-created"))
    assert answer.status_code >= 500
    assert str(tmp_path) not in answer.text
    (home / "corrections.sqlite3").unlink()
    assert backend.http.post("/webhook", json=payload("webhook-annotation-created")).status_code == 200


def test_many_annotators_at_once_are_all_answered_and_all_kept(guarded, payload):
    body = payload("webhook-annotation-created")
    statuses = []

    def submit(first):
        client = guarded.app.test_client()
        for number in range(first, first + 10):
            annotation = body["annotation"] | {"id": number, "task": number}
            sent = body | {"annotation": annotation, "task": body["task"] | {"id": number}}
            statuses.append(client.post("/webhook", json=sent, headers=PROVEN).status_code)

    threads = [threading.Thread(target=submit, args=(100 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
    assert len(heads(guarded)) == len(waiting(guarded)) == 80


def test_one_event_that_cannot_be_stored_costs_the_others_nothing(guarded, payload):
    body = payload("webhook-annotation-created")
    body["annotation"]["id"] = -5
    assert guarded.http.post("/webhook", json=body, headers=PROVEN).status_code == 400
    good = payload("webhook-annotation-created")
    assert guarded.http.post("/webhook", json=good, headers=PROVEN).status_code == 200
    assert len(heads(guarded)) == 1


def test_of_events_that_are_written_together_one_that_cannot_be_stored_costs_the_others_nothing(guarded, payload):
    good = payload("webhook-annotation-created")
    guarded.http.post("/webhook", json=good, headers=PROVEN)
    held, release, batches = threading.Event(), threading.Event(), []
    intake = guarded.app.blueprints["label_studio"]._intake
    original = intake._keep
    intake._keep = lambda batch: (batches.append(len(batch)), original(batch))

    def hold(_connection):
        held.set()
        release.wait(5)

    holder = threading.Thread(target=lambda: store_of(guarded).database.write(hold))
    holder.start()
    held.wait(5)
    statuses = {}

    def submit(number):
        wrong = {"parent_prediction": 2**63} if number == 3 else {"id": -1} if number == 5 else {}
        body = good | {"annotation": good["annotation"] | {"id": 100 + number} | wrong}
        sent = guarded.app.test_client().post("/webhook", json=body, headers=PROVEN)
        statuses[number] = sent.status_code

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 5
    while sum(batches) + len(intake._waiting) < 8 and time.monotonic() < end:
        time.sleep(0.005)
    release.set()
    for thread in [*threads, holder]:
        thread.join()
    assert max(batches) > 1
    assert [number for number, status in sorted(statuses.items()) if status != 200] == [3, 5]
    assert {head.stored.number for head in heads(guarded)} == {1, 100, 101, 102, 104, 106, 107}


def test_a_server_ends_within_seconds_while_the_database_is_locked_even_for_who_opens_it(
    guarded, impatient, payload, tmp_path
):
    blueprint = guarded.app.blueprints["label_studio"]
    body = payload("webhook-annotation-created")
    guarded.http.post("/webhook", json=body, headers=PROVEN)
    blueprint.store.close()
    other = sqlite3.connect(tmp_path / "corrections.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    blueprint.start()
    refused = guarded.http.post("/webhook", json=payload("webhook-annotation-created-skipped"), headers=PROVEN)
    assert refused.status_code == 503
    started = time.monotonic()
    blueprint.close()
    assert time.monotonic() - started < 9
    assert guarded.http.post("/webhook", json=body, headers=PROVEN).status_code == 503
    other.execute("ROLLBACK")
    other.close()


def test_what_waits_when_the_server_ends_is_still_written(guarded, payload):
    blueprint = guarded.app.blueprints["label_studio"]
    body = payload("webhook-annotation-created")
    answered = []
    threads = [
        threading.Thread(
            target=lambda n=n: answered.append(
                guarded.app.test_client()
                .post("/webhook", json=body | {"annotation": body["annotation"] | {"id": n}}, headers=PROVEN)
                .status_code
            )
        )
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    blueprint._intake.close()
    for thread in threads:
        thread.join()
    assert len(heads(guarded)) >= answered.count(200)
    assert set(answered) <= {200, 503}


def test_the_key_of_a_project_in_an_event_is_the_one_that_setup_told(payload):
    keys = []
    for name in ("webhook-annotation-created", "webhook-start-training", "webhook-annotations-deleted"):
        body = orjson.dumps(payload(name))
        read_event(body, authenticated=False, server_of=lambda number, key: keys.append(key) or "")
    assert set(keys) == {payload("setup")["project"]}


def test_deletions_come_under_a_plural_name_with_numbers_only(backend, payload):
    backend.http.post("/webhook", json=payload("webhook-annotations-deleted"))
    (event,) = waiting(backend)
    assert event.action == "ANNOTATIONS_DELETED"
    assert event.annotations == (1,)


def test_training_is_acknowledged_without_annotations_in_it(backend, payload):
    body = payload("webhook-start-training")
    assert "annotations" not in body
    assert backend.http.post("/webhook", json=body).status_code == 200
    assert [event.action for event in waiting(backend)] == ["START_TRAINING"]


def test_an_annotation_is_known_by_number_task_and_time(backend, payload):
    body = payload("webhook-annotation-created")
    backend.http.post("/webhook", json=body)
    later = payload("webhook-annotation-created")
    later["annotation"]["updated_at"] = "2026-12-01T00:00:00Z"
    backend.http.post("/webhook", json=later)
    first, second = waiting(backend)
    assert first.annotations == second.annotations == (body["annotation"]["id"],)
    assert first.tasks == (body["task"]["id"],)
    assert first.updated_at != second.updated_at


@pytest.mark.parametrize("name", EVENTS)
def test_the_projects_token_is_neither_logged_nor_stored(guarded, payload, name, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    body = payload(name)
    body["project"]["token"] = "projectsecret"
    body["project"]["expert_instruction"] = "instructionsecret"
    guarded.http.post("/webhook", json=body, headers=PROVEN)
    guarded.http.post("/webhook", json=body | {"action": 7}, headers=PROVEN)
    assert "secret" not in caplog.text
    assert b"secret" not in files(tmp_path)
    kept = list(documents_kept(guarded))
    assert all(b"secret" not in document for document in kept)
    assert bool(kept) is ("annotation" in body)
    assert "secret" not in repr(waiting(guarded))


@pytest.mark.parametrize(
    "told",
    [
        "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "yesterday", "", "2026-13-01", "9" * 5000, 7,
        None, {}, "-2026-11-21",
    ],
)  # fmt: skip
def test_absurd_times_of_strangers_harm_nothing(guarded, payload, told):
    body = payload("webhook-annotation-created")
    body["annotation"]["updated_at"] = body["project"]["created_at"] = body["project"]["updated_at"] = told
    for action in ("ANNOTATION_UPDATED", "PROJECT_UPDATED"):
        sent = {key: body[key] for key in ("project", "task")} | {"action": action}
        sent |= {"annotation": body["annotation"]} if action == "ANNOTATION_UPDATED" else {}
        assert guarded.http.post("/webhook", json=sent).status_code == 200
    assert [event.updated_at for event in waiting(guarded)] == ["", ""]
    assert guarded.http.post("/webhook", json=payload("webhook-annotation-created"), headers=PROVEN).status_code == 200
    assert len(heads(guarded)) == 1
    guarded.app.blueprints["label_studio"].keeper.look_into_events()
    assert guarded.http.get("/metrics", headers=PROVEN).status_code == 200


@pytest.mark.parametrize("depth", [300, 480, 600, 5000])
@pytest.mark.parametrize("headers", [{}, PROVEN])
def test_deeply_nested_events_are_taken_or_refused_and_never_an_error_of_the_server(guarded, headers, depth):
    for long in ('"rle":[1,2],', ""):  # cut and uncut
        parts = b"[" * depth + b"]" * depth
        padding = b'"y":"' + b"y" * 40_000 + b'",'
        body = b'{"action":"ANNOTATION_UPDATED","project":{"id":1},' + padding + long.encode() + b'"x":' + parts + b"}"
        assert guarded.http.post("/webhook", data=body, headers=headers).status_code in (200, 400)


def test_strangers_cannot_make_the_server_read_endless_events(guarded):
    opening = b'{"action":"ANNOTATION_UPDATED","project":{"id":1},"x":['
    many = opening + b"[]," * 2_500_000 + b"[]]}"
    started = time.monotonic()
    refused = guarded.http.post("/webhook", data=many)
    assert time.monotonic() - started < 0.5
    assert refused.status_code == 413
    assert "lists and objects" in refused.json["error"]
    long = opening + b'"' + b"x" * 9_000_000 + b'"]}'
    refused = guarded.http.post("/webhook", data=long)
    assert refused.status_code == 413
    assert "8 MB" in refused.json["error"]
    assert "maskwright connect" in refused.json["error"]
    assert guarded.http.post("/webhook", data=long, headers=PROVEN).status_code == 200


def test_of_strangers_only_plausible_numbers_are_kept_and_not_too_many(guarded):
    def post(numbers, headers=None):
        body = {"action": "ANNOTATIONS_DELETED", "project": {"id": 1}, "annotations": [{"id": n} for n in numbers]}
        assert guarded.http.post("/webhook", json=body, headers=headers).status_code == 200
        return waiting(guarded)[-1].annotations

    assert post([5, -1, 2**31, 2**40, 7]) == (5, 7)
    assert post(range(301)) == (), "its project is compared instead"
    assert len(post(range(301), PROVEN)) == 301
    outside = {"action": "ANNOTATION_UPDATED", "project": {"id": 2**63}}
    assert guarded.http.post("/webhook", json=outside).status_code == 400


def test_events_that_nobody_knows_yet_are_acknowledged_and_forgotten(backend, payload):
    body = payload("webhook-annotation-created") | {"action": "LABEL_LINK_CREATED"}
    assert backend.http.post("/webhook", json=body).json == {"status": "ignored"}
    assert waiting(backend) == []


def test_a_storm_of_invented_events_cannot_fill_the_disk(backend):
    from maskwright.store.corrections import CorrectionsStore, Event

    store = CorrectionsStore(store_of(backend).database, max_unproven=100)
    for start in range(0, 2000, 100):
        store.add_events([Event("label-studio", "", "ANNOTATION_CREATED", 1, (start + n,)) for n in range(100)])
    kept = store.pending_events(1000)
    assert len(kept) == 100
    assert min(pending.event.annotations for pending in kept) >= (1900,), "the oldest go first"


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
