"""One key setting, whichever of Label Studio's two kinds it is, gives headers that work."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maskwright.errors import InvalidInput, Refused, Unreachable
from maskwright.settings import Settings
from maskwright.store.remote import FetchPolicy, Origin
from maskwright_label_studio.credentials import Credentials

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.c2lnbmF0dXJl"


PERSONAL = jwt(token_type="refresh", exp=8_000_000_000, iat=1_700_000_000)


LOOPBACK = FetchPolicy(allow_private_hosts=True)


class TokenServer:
    """Answers ``/api/token/refresh/`` as Label Studio does."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes | None = None
        self.lifetime = 300
        self.delay = 0.0
        self.received: list[tuple[str, dict[str, object]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.received.append((self.path, body))
                time.sleep(owner.delay)
                now = int(time.time())
                access = jwt(token_type="access", iat=now, exp=now + owner.lifetime, n=len(owner.received))
                answer = owner.body if owner.body is not None else json.dumps({"access": access}).encode()
                self.send_response(owner.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()


def of_operator(server: TokenServer) -> Credentials:
    credentials = Credentials.of_operator(operator(label_studio_url=server.url, label_studio_api_key=PERSONAL))
    assert credentials is not None
    return credentials


def operator(**values: object) -> Settings:
    return Settings(_env_file=None, **values)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    running = TokenServer()
    yield running
    running.httpd.shutdown()
    running.httpd.server_close()


def test_a_legacy_token_is_sent_as_it_is_and_never_exchanged(server):
    credentials = Credentials(f" {LEGACY}\n", server.url)
    assert credentials.headers() == {"Authorization": f"Token {LEGACY}"}
    assert credentials.invalidate() is False, "a legacy token cannot be renewed"
    assert server.received == []


def test_a_personal_token_is_exchanged_once_and_its_access_token_reused(server):
    server.url += "/"
    credentials = of_operator(server)
    first = credentials.headers()
    assert first["Authorization"].startswith("Bearer ey")
    assert PERSONAL not in first["Authorization"]
    assert credentials.headers() == first
    assert server.received == [("/api/token/refresh/", {"refresh": PERSONAL})]


def test_an_access_token_is_renewed_before_it_expires(server):
    now = [1000.0]
    credentials = Credentials(PERSONAL, server.url, policy=LOOPBACK, clock=lambda: now[0])
    first = credentials.headers()
    now[0] += 260
    assert credentials.headers() == first
    now[0] += 20
    assert credentials.headers() != first
    assert len(server.received) == 2


def test_the_lifetime_is_what_the_server_says(server):
    now = [0.0]
    server.lifetime = 60
    credentials = Credentials(PERSONAL, server.url, policy=LOOPBACK, clock=lambda: now[0])
    credentials.headers()
    now[0] = 29
    credentials.headers()
    assert len(server.received) == 1
    now[0] = 31
    credentials.headers()
    assert len(server.received) == 2


def test_a_refused_access_token_is_renewed_once_for_all_who_held_it(server):
    credentials = of_operator(server)
    stale = credentials.headers()
    assert credentials.invalidate(stale) is True
    fresh = credentials.headers()
    assert fresh != stale
    assert credentials.invalidate(stale) is True, "a late comer with the stale token"
    assert credentials.headers() == fresh
    assert len(server.received) == 2
    credentials.invalidate()
    assert credentials.headers() != fresh


def test_threads_that_ask_together_cause_one_exchange(server):
    server.delay = 0.2
    credentials = of_operator(server)
    answers: list[dict[str, str]] = []
    threads = [threading.Thread(target=lambda: answers.append(credentials.headers())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16
    assert len({answer["Authorization"] for answer in answers}) == 1
    assert len(server.received) == 1


def test_a_revoked_personal_token_is_explained(server):
    server.status = 401
    with pytest.raises(Refused, match="personal access token: it is wrong, expired or revoked"):
        of_operator(server).headers()


def test_a_failed_exchange_is_tried_anew_next_time(server):
    server.status = 503
    credentials = of_operator(server)
    with pytest.raises(Unreachable):
        credentials.headers()
    server.status = 200
    assert credentials.headers()["Authorization"].startswith("Bearer ")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"access": 5}', b'{"access": "a\\r\\nX: b"}', b"{}"])
def test_a_server_that_does_not_answer_like_label_studio_is_named(server, body):
    server.body = body
    with pytest.raises(Unreachable):
        of_operator(server).headers()


def test_a_server_without_personal_tokens_points_at_the_url(server):
    server.status = 404
    with pytest.raises(Unreachable, match="MASKWRIGHT_LABEL_STUDIO_URL"):
        of_operator(server).headers()


def test_the_rejection_of_a_legacy_token_says_that_they_are_disabled_by_default():
    assert "legacy tokens are disabled" in Credentials(LEGACY, "http://ls:8080").rejection()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("abc", "neither a legacy token"),
        (LEGACY[:-1], "neither"),
        (LEGACY + "0", "neither"),
        ("a.b.c", "neither"),
        ("é.é.é", "neither"),
        (jwt(token_type="access"), "access token, which lives a few minutes"),
        (jwt(sub="x"), "neither"),
        (f"a.{base64.urlsafe_b64encode(b'[' * 100_000).decode()}.c", "neither"),
    ],
)
def test_other_keys_are_refused_without_being_repeated(key, message):
    with pytest.raises(InvalidInput, match=message) as refused:
        Credentials(key, "http://ls:8080")
    assert not key.strip() or key not in str(refused.value) or len(key) < 4


def test_the_operators_key_belongs_to_the_operators_server():
    assert Credentials.of_operator(operator()) is None
    assert Credentials.of_operator(operator(label_studio_url="http://ls:8080")) is None
    credentials = Credentials.of_operator(operator(label_studio_url="http://LS:8080/x", label_studio_api_key=LEGACY))
    assert credentials is not None
    assert credentials.origin == Origin("http", "ls", 8080)
    with pytest.raises(InvalidInput, match="MASKWRIGHT_LABEL_STUDIO_URL"):
        Credentials.of_operator(operator(label_studio_api_key=LEGACY))


def test_a_representation_does_not_show_the_key():
    for key in (LEGACY, PERSONAL):
        assert key not in repr(Credentials(key, "http://ls:8080"))


def test_a_token_from_setup_is_exchanged_only_where_any_task_may_lead(server):
    with pytest.raises(Refused, match="private network"):
        Credentials.of_setup(operator(), server.url, PERSONAL).headers()
    settings = operator(allow_private_hosts=True, allowed_hosts="ls.test")
    with pytest.raises(Refused, match="MASKWRIGHT_ALLOWED_HOSTS"):
        Credentials.of_setup(settings, server.url, PERSONAL).headers()
    assert server.received == []
    credentials = Credentials.of_setup(operator(allow_private_hosts=True), server.url, PERSONAL)
    assert credentials.headers()["Authorization"].startswith("Bearer ")
    with pytest.raises(InvalidInput):
        Credentials.of_setup(operator(), "not a url", LEGACY)
