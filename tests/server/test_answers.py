from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.server.answers import REASON_LENGTH, reason_phrase


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("InvalidInput", 400), ("TooLarge", 413), ("NotFound", 404), ("Refused", 403), ("Unreachable", 502),
        ("ModelUnavailable", 503), ("Cancelled", 503), ("MaskwrightError", 500),
    ],
)  # fmt: skip
def test_every_error_of_ours_becomes_json_with_its_message_also_in_the_reason_phrase(make_app, name, status):
    answer = make_app().test_client().get(f"/fail/{name}")
    assert answer.status == f"{status} No object at the clicked point"
    assert answer.json == {"error": "No object at the clicked point"}
    assert answer.content_type == "application/json"


def test_a_full_queue_answers_503_and_when_to_come_back(make_app):
    answer = make_app().test_client().get("/fail/Busy")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "3"


def test_a_bug_shows_a_reference_and_nothing_else(make_app, caplog):
    answer = make_app().test_client().get("/fail/Bug")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    assert "/srv" not in answer.text
    reference = answer.json["error"].split()[-1]
    assert reference in caplog.text, "whoever runs the server finds it in the log"


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("get", "/nowhere", {}, 404),
        ("delete", "/echo", {}, 405),
        ("post", "/echo", {"data": b"{", "content_type": "application/json"}, 400),
        ("post", "/echo", {"data": b"[" * 100_000, "content_type": "application/json"}, 400),
        ("post", "/echo", {"data": b"\xff\xfe", "content_type": "application/json"}, 400),
        ("post", "/echo", {"data": b'"\\ud800"', "content_type": "application/json"}, 400),
        ("post", "/echo", {"data": b"{}", "content_type": "text/plain"}, 415),
        ("post", "/echo", {"data": b"x" * 2000, "content_type": "application/json"}, 413),
    ],
)
def test_what_http_refuses_is_json_too(make_app, method, path, options, status):
    answer = getattr(make_app(max_request_bytes=1024 * 200 if status == 400 else 1024).test_client(), method)(
        path, **options
    )
    assert answer.status_code == status
    assert answer.json["error"]
    if status == 405:
        assert "POST" in answer.headers["Allow"]
    if status == 413:
        assert "MASKWRIGHT_MAX_REQUEST_BYTES" in answer.json["remedy"]


def test_numpy_arrays_and_unicode_travel_as_json(make_app):
    app = make_app()
    with app.app_context():
        text = app.json.dumps({"rle": np.arange(4, dtype=np.uint8), "score": np.float32(0.5), "label": "猫\u200d🐈"})
    assert json.loads(text) == {"rle": [0, 1, 2, 3], "score": 0.5, "label": "猫\u200d🐈"}


@given(st.text())
def test_a_reason_phrase_is_one_short_printable_latin_line(message):
    phrase = reason_phrase(message)
    assert 1 <= len(phrase) <= REASON_LENGTH
    assert phrase.isprintable()
    phrase.encode("latin-1")


def test_a_message_that_no_status_line_could_carry_still_arrives_in_the_body(make_app):
    message = "没有\r\nSet-Cookie: a=b\x00" + "x" * 500
    answer = make_app().test_client().get("/fail/InvalidInput", query_string={"message": message})
    assert answer.status_code == 400
    assert answer.json["error"] == message
    assert "Set-Cookie" not in answer.headers
