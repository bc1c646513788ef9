from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def test_health_tells_the_model_its_version_and_that_it_is_loaded(make_app):
    answer = make_app().test_client().get("/health")
    assert answer.status_code == 200
    assert answer.json["status"] == "UP"
    assert answer.json["model"] == "classical"
    assert answer.json["version"] == "classical-0a1b"
    assert answer.json["loaded"] is True


def test_health_is_up_before_the_model_was_needed(make_app):
    answer = make_app(health={"model": "classical", "loaded": []}).test_client().get("/health")
    assert answer.status_code == 200
    assert answer.json["loaded"] is False
    assert answer.json["version"] is None


def test_health_names_the_reason_when_the_model_cannot_be_had(make_app):
    state = {"model": "sam:x", "loaded": [], "degraded": "no weights for sam:x"}
    answer = make_app(health=state).test_client().get("/health")
    assert answer.status_code == 503
    assert answer.json["degraded"] == "no weights for sam:x"


def test_answers_are_not_sniffed_and_not_cached(make_app):
    headers = make_app().test_client().get("/health").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
PATHS = st.sampled_from(["/health", "/metrics", "/echo", "/webhook", "/stage", "/"]) | st.text(
    string.printable, max_size=30
).map(lambda text: "/" + text.lstrip("/"))
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Authorization", "Content-Type", "Accept", "Host", "Content-Encoding", "X-Forwarded-For", "Range"]
    ),
    st.sampled_from(
        ["", "Basic x", "application/json", "multipart/form-data", "localhost", "gzip", "\xff", "a" * 3000]
    ),
    max_size=3,
)

BODIES = st.binary(max_size=200) | st.from_regex(rb"[\[\{\"0-9,:]*", fullmatch=True)


@pytest.mark.parametrize("credentials", [{}, {"username": "u", "password": "p"}], ids=["open", "guarded"])
def test_no_malformed_request_causes_a_500_or_shows_a_traceback(make_app, credentials):
    client = make_app(**credentials).test_client()

    @settings(max_examples=500, deadline=None, database=None)
    @given(method=METHODS, path=PATHS, headers=HEADERS, body=BODIES)
    def check(method, path, headers, body):
        try:
            answer = client.open(path, method=method, headers=headers, data=body)
        except (ValueError, UnicodeError):
            return  # the test client itself cannot write such a request
        assert answer.status_code < 500
        assert "Traceback" not in answer.text
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.json["error"]

    check()
    assert client.get("/health").status_code in (200, 401)
