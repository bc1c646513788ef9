"""Downloads reach only what policy permits, and hold to their bounds. The servers are real, on this machine."""

from __future__ import annotations

import gzip
import ipaddress
import itertools
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpcore
import pytest

from maskwright.errors import InvalidInput, MaskwrightError, NotFound, Refused, TooLarge, Unreachable
from maskwright.settings import Settings
from maskwright.store.remote import AccessDenied, FetchPolicy, Origin, fetch_bytes, post_json

Route = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """A server that counts its hits."""

    port: int
    routes: dict[str, Route] = field(default_factory=dict)
    hits: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def origin(self) -> Origin:
        return Origin.of(self.url)


@contextmanager
def serve(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.hits.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            server.routes.get(self.path.partition("?")[0], reply(b"picture"))(self)

        def do_POST(self) -> None:
            # A server that closes with the body unread resets the connection, at times before its answer was read.
            server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass  # clients here break off on purpose

    httpd = Quiet(("127.0.0.1", 0), Handler)
    if context is not None:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    server = Server(httpd.server_address[1])
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()


def reply(body: bytes, status: int = 200, **headers: str) -> Route:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


def redirect(location: str, status: int = 302) -> Route:
    return reply(b"", status, Location=location)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Server]:
    with serve() as running:
        yield running


def trusting(*servers: Server, **options: object) -> FetchPolicy:
    return FetchPolicy(trusted_origins=frozenset(s.origin for s in servers), timeout_s=5, **options)


STRICT = FetchPolicy(timeout_s=5)


# --- where a URL may lead -----------------------------------------------------------------------------------------

LOCAL_HOSTS = [
    *["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]"],
    *["[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[::]", "[::127.0.0.1]", "0.0.0.0", "0"],
    *["2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0x7f.0.0.1", "①②⑦.0.0.1", "127。0。0。1"],
]
FOREIGN_HOSTS = [
    *["169.254.169.254", "[fe80::1]", "[fe80::1%25lo]", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.0.1"],
    *["100.64.0.1", "[fc00::1]", "224.0.0.1", "[ff02::1]", "240.0.0.1", "255.255.255.255", "168.63.129.16"],
]


@pytest.mark.parametrize("host", LOCAL_HOSTS + FOREIGN_HOSTS)
def test_addresses_inside_are_refused_and_never_contacted(server, monkeypatch, host):
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", never_connect)
    with pytest.raises((Refused, InvalidInput, Unreachable)) as refused:
        fetch_bytes(f"http://{host}:{server.port}/secret", STRICT)
    assert not isinstance(refused.value, Unreachable) or "by name" in str(refused.value)
    assert server.hits == []


@pytest.mark.parametrize("host", LOCAL_HOSTS + FOREIGN_HOSTS)
def test_a_redirect_to_addresses_inside_is_refused_and_never_followed(server, other, host):
    server.routes["/start"] = redirect(f"http://{host}:{other.port}/secret")
    with pytest.raises((Refused, InvalidInput, Unreachable)):
        fetch_bytes(f"{server.url}/start", trusting(server))
    assert len(server.hits) == 1
    assert other.hits == []


def never_connect(*args: object, **kwargs: object) -> httpcore.NetworkStream:
    raise AssertionError("a connection was attempted")


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"]]
)
def test_names_that_resolve_to_addresses_inside_are_refused(server, monkeypatch, addresses):
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", never_connect)
    policy = replace(STRICT, resolver=lambda host, port: [ipaddress.ip_address(a) for a in addresses])
    with pytest.raises(Refused, match=r"'pictures\.test'"):
        fetch_bytes(f"http://pictures.test:{server.port}/", policy)
    assert server.hits == []


def test_a_name_that_changes_after_it_was_judged_leads_nowhere_else(server, monkeypatch):
    answers = itertools.chain([["8.8.8.8"]], itertools.repeat(["127.0.0.1"]))
    policy = replace(STRICT, resolver=lambda host, port: [ipaddress.ip_address(a) for a in next(answers)])
    contacted = []

    def connect(self: object, host: str, port: int, *args: object) -> httpcore.NetworkStream:
        contacted.append((host, port))
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(Unreachable):
        fetch_bytes(f"http://rebind.test:{server.port}/", policy)
    assert contacted == [("8.8.8.8", server.port)], "one look-up, and the connection goes to what it gave"


def test_the_judged_address_is_contacted_under_its_name(server):
    asked = []

    def resolver(host: str, port: int) -> list[ipaddress.IPv4Address]:
        asked.append((host, port))
        return [ipaddress.IPv4Address("127.0.0.9"), ipaddress.IPv4Address("127.0.0.1")]

    policy = FetchPolicy(allow_private_hosts=True, resolver=resolver, timeout_s=5)
    assert fetch_bytes(f"http://pictures.test:{server.port}/a?b=c", policy) == b"picture"
    assert asked == [("pictures.test", server.port)]
    path, headers = server.hits[0]
    assert path == "/a?b=c"
    assert headers["host"] == f"pictures.test:{server.port}"


def test_private_hosts_can_be_allowed_but_metadata_services_cannot(server, monkeypatch):
    policy = FetchPolicy(allow_private_hosts=True, timeout_s=5)
    assert fetch_bytes(f"{server.url}/x", policy) == b"picture"
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", never_connect)
    for host in ("169.254.169.254", "[fe80::1]", "0.0.0.0", "224.0.0.1", "[fd00:ec2::254]", "2130706433"):
        with pytest.raises(Refused):
            fetch_bytes(f"http://{host}/latest/meta-data", policy)


def test_only_hosts_of_the_allow_list_are_fetched_from_and_trusted_origins(server, other):
    policy = FetchPolicy(allowed_hosts=("pictures.test", "*.cdn.test"), allow_private_hosts=True, timeout_s=5)
    policy = replace(policy, resolver=lambda host, port: [ipaddress.ip_address("127.0.0.1")])
    for host in ("pictures.test", "PICTURES.test", "a.cdn.test"):
        assert fetch_bytes(f"http://{host}:{server.port}/", policy) == b"picture"
    for host in ("cdn.test", "pictures.test.evil.test", "127.0.0.1"):
        with pytest.raises(Refused, match="MASKWRIGHT_ALLOWED_HOSTS"):
            fetch_bytes(f"http://{host}:{server.port}/", policy)
    assert fetch_bytes(other.url, replace(policy, trusted_origins=frozenset({other.origin}))) == b"picture"
    assert len(server.hits) == 3


def test_trust_is_for_one_origin_not_for_a_host(server, other):
    with pytest.raises(Refused, match="MASKWRIGHT_ALLOW_PRIVATE_HOSTS"):
        fetch_bytes(other.url, trusting(server))
    assert other.hits == []


@pytest.mark.parametrize(
    "url",
    [
        *[
            "file:///etc/passwd",
            "ftp://example.org/a",
            "gopher://127.0.0.1:6379/_INFO",
            "//example.org/a",
            "/etc/passwd",
        ],
        *[
            "",
            "http://",
            "http:///a",
            "javascript:alert(1)",
            "http://user:secret@example.org/",
            "http://a b/",
            "unix:/x",
        ],
        *[
            "http://example.org\\@127.0.0.1/",
            "http://exa\nmple.org/",
            "http://example.org/\r\nHost: evil",
            "http://[::1",
        ],
        *["http://example.org:99999/", "http://example.org:abc/", "http://" + "a" * 70_000, "http://xn--/"],
    ],
)
def test_anything_but_a_plain_http_url_is_refused(monkeypatch, url):
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", never_connect)
    with pytest.raises((InvalidInput, Unreachable)) as refused:
        fetch_bytes(url, replace(STRICT, timeout_s=0.5))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://u:p@127.0.0.1/", "http://[::1", "ftp://a/"])
def test_a_redirect_to_anything_but_a_plain_http_url_is_refused(server, location):
    server.routes["/start"] = redirect(location)
    with pytest.raises(Refused, match="redirects to something"):
        fetch_bytes(f"{server.url}/start", trusting(server))


def test_proxies_of_the_environment_are_ignored(server, other, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, other.url)
    assert fetch_bytes(server.url, trusting(server)) == b"picture"
    assert other.hits == []


# --- secrets ------------------------------------------------------------------------------------------------------


def test_credentials_follow_redirects_within_their_origin_only_and_never_return(server, other):
    server.routes["/1"] = redirect("/2", 301)
    server.routes["/2"] = redirect(f"{other.url}/3", 307)
    other.routes["/3"] = redirect(f"{server.url}/4", 308)
    server.routes["/4"] = redirect("/5", 303)
    assert fetch_bytes(f"{server.url}/1", trusting(server, other), {"Authorization": "Token 123"}) == b"picture"
    sent = [(path, headers.get("authorization")) for path, headers in server.hits]
    assert sent == [("/1", "Token 123"), ("/2", "Token 123"), ("/4", None), ("/5", None)]
    assert [headers.get("authorization") for _, headers in other.hits] == [None]


def test_credentials_do_not_follow_to_another_name_of_the_same_server(server):
    server.routes["/1"] = redirect(f"http://localhost:{server.port}/2")
    policy = FetchPolicy(allow_private_hosts=True, timeout_s=5)
    assert fetch_bytes(f"{server.url}/1", policy, {"Authorization": "Token 123"}) == b"picture"
    assert "authorization" not in server.hits[1][1]


@pytest.mark.parametrize("status", [302, 401, 403, 404, 418, 500])
def test_messages_hold_neither_the_query_nor_the_headers(server, status):
    server.routes["/x"] = reply(b"", status, Location="http://127.0.0.1:1/next?Signature=SECRET2")
    with pytest.raises(MaskwrightError) as refused:
        fetch_bytes(f"{server.url}/x?Signature=SECRET1", trusting(server), {"Authorization": "Token SECRET3"})
    assert "SECRET" not in str(refused.value)


# --- bounds -------------------------------------------------------------------------------------------------------


def test_a_body_is_refused_by_its_announced_length_before_it_is_read(server):
    server.routes["/x"] = reply(b"ab", Content_Length="1000000000000")
    with pytest.raises(TooLarge, match="MASKWRIGHT_MAX_IMAGE_BYTES"):
        fetch_bytes(f"{server.url}/x", trusting(server, max_bytes=1000))


def test_a_body_of_exactly_the_limit_is_accepted(server):
    server.routes["/x"] = reply(b"x" * 1000)
    assert len(fetch_bytes(f"{server.url}/x", trusting(server, max_bytes=1000))) == 1000
    with pytest.raises(TooLarge):
        fetch_bytes(f"{server.url}/x", trusting(server, max_bytes=999))


def test_an_endless_body_is_cut_off_at_the_limit(server):
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while True:
            sent += handler.wfile.write(b"x" * 65536)

    server.routes["/x"] = endless
    with pytest.raises(TooLarge):
        fetch_bytes(f"{server.url}/x", trusting(server, max_bytes=1_000_000))
    assert sent < 30_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_bomb_is_cut_off_while_it_unfolds(server, encoding):
    zeros = bytes(200_000_000)
    bomb = gzip.compress(zeros, 9) if encoding == "gzip" else zlib.compress(zeros, 9)
    del zeros
    assert len(bomb) < 1_000_000
    server.routes["/x"] = reply(bomb, Content_Encoding=encoding)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        fetch_bytes(f"{server.url}/x", trusting(server, max_bytes=1_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_compressed_bodies_are_unfolded_whole_or_refused(server):
    body = bytes(range(256)) * 5000
    for name, sent in {"gzip": gzip.compress(body), "deflate": zlib.compress(body), "identity": body}.items():
        server.routes["/x"] = reply(sent, Content_Encoding=name)
        assert fetch_bytes(f"{server.url}/x", trusting(server)) == body
    assert server.hits[0][1]["accept-encoding"] == "identity"
    for name, sent in {"gzip": gzip.compress(body)[:-9], "deflate": b"no zlib", "br": b"x", "gzip, gzip": b"x"}.items():
        server.routes["/x"] = reply(sent, Content_Encoding=name)
        with pytest.raises(Unreachable):
            fetch_bytes(f"{server.url}/x", trusting(server))


def test_a_body_that_breaks_off_is_an_error(server):
    server.routes["/x"] = reply(b"only this", Content_Length="100")
    with pytest.raises(Unreachable, match="broke off"):
        fetch_bytes(f"{server.url}/x", trusting(server))


def drip(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(300):
        handler.wfile.write(b"H")
        time.sleep(0.05)


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    drip(handler)


@pytest.mark.parametrize("slow", [drip, drip_body, lambda handler: time.sleep(3)])
def test_time_is_bounded_in_all_however_the_server_dawdles(server, slow):
    server.routes["/x"] = slow
    start = time.monotonic()
    with pytest.raises(Unreachable, match=r"within 0\.4 s"):
        fetch_bytes(f"{server.url}/x", replace(trusting(server), timeout_s=0.4))
    assert time.monotonic() - start < 2


def test_time_is_bounded_over_all_hops_together(server):
    def slow_hop(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.2)
        redirect("/x")(handler)

    server.routes["/x"] = slow_hop
    with pytest.raises(Unreachable, match="within"):
        fetch_bytes(f"{server.url}/x", replace(trusting(server), timeout_s=0.5))
    assert len(server.hits) <= 3


def test_a_name_service_that_does_not_answer_is_waited_for_no_longer(server):
    release = threading.Event()

    def resolver(host: str, port: int) -> list[ipaddress.IPv4Address]:
        release.wait(5)
        return []

    start = time.monotonic()
    with pytest.raises(Unreachable, match="by name"):
        fetch_bytes("http://pictures.test/", FetchPolicy(timeout_s=0.2, resolver=resolver))
    assert time.monotonic() - start < 2
    release.set()


def test_redirects_are_followed_five_times(server):
    for hop in range(9):
        server.routes[f"/{hop}"] = redirect(f"/{hop + 1}")
    with pytest.raises(Unreachable, match="redirects more than 5 times"):
        fetch_bytes(f"{server.url}/0", trusting(server))
    assert len(server.hits) == 6
    server.hits.clear()
    assert fetch_bytes(f"{server.url}/4", trusting(server)) == b"picture"


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AccessDenied), (403, AccessDenied), (404, NotFound), (410, NotFound), (204, Unreachable)]
    + [(status, Unreachable) for status in (206, 304, 400, 429, 500, 502, 503)],
)
def test_other_answers_become_one_clear_error(server, status, error):
    server.routes["/cat.png"] = reply(b"", status)
    with pytest.raises(error, match=rf"http://127\.0\.0\.1:\d+/cat\.png .*HTTP {status}") as raised:
        fetch_bytes(f"{server.url}/cat.png", trusting(server))
    if error is AccessDenied:
        assert raised.value.remote_status == status


def test_a_port_where_nobody_listens_is_unreachable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(Unreachable, match="cannot be reached"):
            fetch_bytes(url, FetchPolicy(allow_private_hosts=True, timeout_s=5))


def test_a_redirect_without_a_target_is_an_error(server):
    server.routes["/x"] = reply(b"", 302)
    with pytest.raises(Unreachable, match="HTTP 302"):
        fetch_bytes(f"{server.url}/x", trusting(server))


def test_the_policy_follows_the_settings():
    settings = Settings(
        _env_file=None,
        allowed_hosts="a.test, *.B.test",
        allow_private_hosts=True,
        max_image_bytes=5000,
        fetch_timeout_s=7,
    )
    policy = FetchPolicy.from_settings(settings, [Origin("http", "ls", 8080)])
    assert policy == FetchPolicy(
        ("a.test", "*.b.test"), True, frozenset({Origin.of("http://LS:8080/x")}), max_bytes=5000, timeout_s=7
    )


def test_json_is_posted_and_answered(server):
    server.routes["/token"] = reply(b'{"access": "x"}', 201)
    assert post_json(f"{server.url}/token", {"refresh": "é"}, trusting(server)) == {"access": "x"}
    assert server.bodies == [b'{"refresh": "\\u00e9"}']
    assert server.hits[0][1]["content-type"] == "application/json"
    for route in (reply(b"<html>"), reply(b"[" * 100_000)):
        server.routes["/token"] = route
        with pytest.raises(Unreachable, match="JSON"):
            post_json(f"{server.url}/token", {}, trusting(server))


def test_a_posted_secret_is_not_sent_on_by_a_redirect(server, other):
    server.routes["/token"] = redirect(f"{other.url}/token", 307)
    with pytest.raises(Unreachable, match="configure the address"):
        post_json(f"{server.url}/token", {"refresh": "secret"}, trusting(server, other))
    assert other.hits == []


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    options = "-x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=pictures.test -addext subjectAltName=DNS:pictures.test"
    command = ["openssl", "req", *options.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def secured(certificate, monkeypatch) -> Iterator[tuple[Server, list[str]]]:
    key, path = certificate
    names: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    context.sni_callback = lambda connection, name, _: names.append(name)
    trust = ssl.create_default_context(cafile=path)
    monkeypatch.setattr("maskwright.store.remote.tls_context", lambda: trust)
    with serve(context) as running:
        yield running, names


LOOPBACK = FetchPolicy(
    allow_private_hosts=True, timeout_s=5, resolver=lambda host, port: [ipaddress.ip_address("127.0.0.1")]
)


def test_tls_is_verified_for_the_name_though_the_address_is_pinned(secured):
    server, names = secured
    assert fetch_bytes(f"https://pictures.test:{server.port}/", LOOPBACK) == b"picture"
    assert names == ["pictures.test"]
    assert server.hits[0][1]["host"] == f"pictures.test:{server.port}"


def test_a_certificate_for_another_name_is_refused_with_advice(secured):
    server, _ = secured
    with pytest.raises(Unreachable, match=r"certificate of 'other\.test' is not trusted.*SSL_CERT_FILE"):
        fetch_bytes(f"https://other.test:{server.port}/", LOOPBACK)
    assert server.hits == []


def test_an_unknown_authority_is_refused(secured, monkeypatch):
    from maskwright.store.connection import tls_context

    server, _ = secured
    monkeypatch.setattr("maskwright.store.remote.tls_context", tls_context)
    with pytest.raises(Unreachable, match="not trusted"):
        fetch_bytes(f"https://pictures.test:{server.port}/", LOOPBACK)
