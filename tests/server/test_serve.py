from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest
from flask import Flask

from maskwright.errors import InvalidInput, Refused
from maskwright.server.serve import WebServer, check_bind
from maskwright.settings import Settings


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": ""}, False),
        ({"host": "192.168.1.4"}, False),
        ({"host": "0.0.0.0", "username": "u", "password": "p"}, True),
        ({"host": "0.0.0.0", "bearer_token": "t"}, True),
        ({"host": "0.0.0.0", "allow_unauthenticated_bind": True}, True),
    ],
)
def test_beyond_loopback_a_server_needs_credentials_or_an_explicit_flag(settings, allowed):
    settings = Settings(_env_file=None, **settings)
    if allowed:
        check_bind(settings)
        return
    with pytest.raises(Refused, match="MASKWRIGHT_PASSWORD"):
        check_bind(settings)


def slow_app(started: threading.Event) -> Flask:
    app = Flask("slow")

    @app.get("/slow")
    def slow() -> str:
        started.set()
        time.sleep(0.6)
        return "x" * 300_000

    @app.post("/size")
    def size() -> str:
        from flask import request

        return str(len(request.get_data()))

    return app


@pytest.fixture
def running():
    started = threading.Event()
    server = WebServer(slow_app(started), host="127.0.0.1", port=0, threads=4, max_request_bytes=2000)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server, thread, started
    server.stop()
    thread.join(15)
    assert not thread.is_alive()


def test_port_0_takes_a_free_port_and_says_which(running):
    server, _, _ = running
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_stopping_finishes_what_was_begun_and_accepts_nothing_new(running):
    server, thread, started = running
    answers = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/slow")
        answers.append(connection.getresponse().read())

    asking = threading.Thread(target=ask)
    asking.start()
    assert started.wait(5)
    began = time.monotonic()
    server.stop()
    asking.join(10)
    thread.join(10)
    assert [len(body) for body in answers] == [300_000]
    assert time.monotonic() - began < 5
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=2)


def test_an_idle_connection_does_not_hold_the_end_up(running):
    server, thread, _ = running
    with socket.create_connection(("127.0.0.1", server.port)):
        server.stop()
        thread.join(3)
        assert not thread.is_alive()


def test_a_body_beyond_all_bounds_never_reaches_the_application(running):
    server, _, _ = running
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/size")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_a_taken_port_is_one_clear_sentence():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(InvalidInput, match=rf"port {port}.*--port"):
            WebServer(Flask("x"), host="127.0.0.1", port=port, threads=2, max_request_bytes=1)


def test_a_host_that_cannot_be_resolved_is_one_clear_sentence():
    with pytest.raises(InvalidInput, match=r"no-such-host\.invalid"):
        WebServer(Flask("x"), host="no-such-host.invalid", port=0, threads=2, max_request_bytes=1)
