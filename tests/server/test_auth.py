from __future__ import annotations

import pytest

BASIC = {"username": "assistant", "password": "s3cret-ünï"}
BEARER = {"bearer_token": "t0ken"}
ROUTES = [("get", "/health"), ("get", "/metrics"), ("post", "/echo"), ("get", "/no-such-route"), ("put", "/health")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_credentials_nothing_is_told_not_even_which_routes_exist(make_app, method, path):
    answer = getattr(make_app(**BASIC).test_client(), method)(path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert "MASKWRIGHT_USERNAME" in answer.json["remedy"]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("settings", "user", "password", "status"),
    [
        (BASIC, "assistant", "s3cret-ünï", 200),
        (BASIC, "assistant", "s3cret", 401),
        (BASIC, "assistan", "s3cret-ünï", 401),
        (BASIC, "", "", 401),
        (BASIC, "", "s3cret-ünï", 401),
        (BEARER, "assistant", "t0ken", 401),
        (BEARER, "", "", 401),
    ],
)
def test_basic_credentials_are_compared_whole(make_app, basic, settings, user, password, status):
    assert make_app(**settings).test_client().get("/health", headers=basic(user, password)).status_code == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer t0ken", 200), ("bearer t0ken", 200), ("Bearer t0ke", 401), ("Bearer ", 401), ("Bearer", 401),
        ("Basic t0ken", 401), ("Basic !!!", 401), ("Basic //79", 401), ("Digest x", 401), ("", 401),
        ("Token t0ken", 401),
    ],
)  # fmt: skip
def test_a_bearer_secret_is_compared_whole(make_app, header, status):
    client = make_app(**BEARER).test_client()
    assert client.get("/health", headers={"Authorization": header}).status_code == status


def test_either_secret_opens_when_both_are_set(make_app, basic):
    client = make_app(**BASIC, **BEARER).test_client()
    assert client.get("/health", headers=basic(**{"user": "assistant", "password": "s3cret-ünï"})).status_code == 200
    assert client.get("/health", headers={"Authorization": "Bearer t0ken"}).status_code == 200


def test_a_public_rule_takes_hints_without_credentials_but_never_with_wrong_ones(make_app, basic):
    client = make_app(**BASIC).test_client()
    assert client.post("/webhook", json={}).json == {"authenticated": False}
    assert client.post("/webhook", json={}, headers=basic("assistant", "wrong")).status_code == 401
    right = client.post("/webhook", json={}, headers=basic("assistant", "s3cret-ünï"))
    assert right.json == {"authenticated": True}


def test_a_server_without_credentials_calls_nobody_authenticated(make_app):
    assert make_app().test_client().post("/webhook", json={}).json == {"authenticated": False}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9090", 200),
        ("127.0.0.1", 200),
        ("[::1]:9090", 200),
        ("evil.example.org", 403),
        ("127.0.0.1.nip.io", 403),
    ],
)
def test_an_open_server_does_not_answer_to_names_that_a_web_page_could_choose(make_app, host, status):
    assert make_app().test_client().get("/health", headers={"Host": host}).status_code == status


def test_behind_a_proxy_that_checks_credentials_any_name_is_fine(make_app):
    client = make_app(allow_unauthenticated_bind=True).test_client()
    assert client.get("/health", headers={"Host": "labels.example.org"}).status_code == 200
