"""Whatever a task names is fetched from where it is, and the token goes nowhere else."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, NotFound, Refused, TooLarge
from maskwright.settings import Settings
from maskwright_label_studio.credentials import Credentials
from maskwright_label_studio.resolver import ImageResolver

LEGACY = "0123456789abcdef0123456789abcdef01234567"
TOKEN = {"Authorization": f"Token {LEGACY}"}
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Counts hits; ``answer`` maps (path with query, Authorization) to an answer."""

    def __init__(self, answer: Callable[[str, str | None], Answer]) -> None:
        self.hits: list[tuple[str, str | None]] = []
        self.answer = answer
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization")
                owner.hits.append((self.path, authorization))
                status, headers, body = owner.answer(self.path, authorization)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.httpd.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()


@contextmanager
def serve(answer: Callable[[str, str | None], Answer]) -> Iterator[Server]:
    server = Server(answer)
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    with serve(lambda path, authorization: (200, {}, b"elsewhere")) as server:
        yield server


@pytest.fixture
def label_studio(elsewhere) -> Iterator[Server]:
    """Asks for the token everywhere, as the real one does, and presigns links to ``elsewhere``."""

    def answer(path: str, authorization: str | None) -> Answer:
        if authorization != TOKEN["Authorization"]:
            return 401, {}, b'{"detail": "Authentication credentials were not provided."}'
        parts = urlsplit(path)
        if parts.path == "/tasks/7/resolve/":
            uri = base64.urlsafe_b64decode(parse_qs(parts.query)["fileuri"][0]).decode()
            return 303, {"Location": f"{elsewhere.url}/{quote(uri, safe='')}?X-Amz-Signature=s"}, b""
        return 200, {}, f"label studio {path}".encode()

    with serve(answer) as server:
        yield server


def settings(**values: object) -> Settings:
    return Settings(_env_file=None, fetch_timeout_s=5, **values)


def resolver(server: Server, key: str = LEGACY, **values: object) -> ImageResolver:
    """As an operator sets it up: address and key of Label Studio."""
    chosen = settings(label_studio_url=server.url, label_studio_api_key=key, **values)
    return ImageResolver(chosen, "http://localhost:8080", Credentials.of_operator(chosen))


# --- Label Studio's own files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "/data/upload/1/ff21cd47-img1.png",
        "/data/local-files/?d=sub/y.png",
        "/storage-data/uploaded/?filepath=upload/1/a.png",
        "/tasks/7/presign/?fileuri=abc",
        "/projects/3/resolve/?fileuri=abc",
    ],
)
@pytest.mark.parametrize("prefix", ["", "operator", "http://localhost:8080", "HTTP://LOCALHOST:8080"])
def test_files_of_label_studio_are_fetched_with_the_token(label_studio, value, prefix):
    prefix = label_studio.url if prefix == "operator" else prefix
    assert resolver(label_studio).fetch(prefix + value) == f"label studio {value}".encode()
    assert label_studio.hits == [(value, TOKEN["Authorization"])]


def test_file_names_hold_any_unicode(label_studio):
    resolver(label_studio).fetch(" /data/upload/1/Straße 猫 100%.png ")
    assert label_studio.hits[0][0] == "/data/upload/1/Stra%C3%9Fe%20%E7%8C%AB%20100%.png"


def test_a_label_studio_below_a_sub_path_is_asked_there(label_studio):
    chosen = settings(label_studio_url=f"{label_studio.url}/annotate/", label_studio_api_key=LEGACY)
    fetcher = ImageResolver(chosen, "", Credentials.of_operator(chosen))
    for value in ("/data/upload/1/a.png", "/annotate/data/upload/1/a.png"):
        fetcher.fetch(value)
    assert label_studio.hits == [("/annotate/data/upload/1/a.png", TOKEN["Authorization"])] * 2


@pytest.mark.parametrize(
    "path", ["/api/users/", "/user/logout", "/api/token?x=/data/upload", "/tasks/7/", "/database/x"]
)
def test_a_task_cannot_use_the_token_on_the_rest_of_the_api(label_studio, path):
    with pytest.raises(Refused, match="no task data"):
        resolver(label_studio).fetch(path)
    assert [authorization for _, authorization in label_studio.hits] == [None]


@pytest.mark.parametrize(
    "path", ["/data/../api/users/", "/data/%2e%2e/api/users/", "/data/%252e%252e/api/", "/data/..\\api", "/data/x\0/y"]
)
def test_a_path_cannot_climb_out_of_the_task_data(label_studio, path):
    for value in (path, label_studio.url + path):
        with pytest.raises((Refused, InvalidInput)):
            resolver(label_studio).fetch(value)
    assert label_studio.hits == []


def test_a_missing_token_and_a_wrong_token_are_explained(label_studio):
    chosen = settings(label_studio_url=label_studio.url)
    with pytest.raises(
        Refused, match=r"asks for a token; create a personal access token.*MASKWRIGHT_LABEL_STUDIO_API_KEY"
    ):
        ImageResolver(chosen, "", None).fetch("/data/upload/1/a.png")
    with pytest.raises(Refused, match="legacy tokens are disabled"):
        resolver(label_studio, key="f" * 40).fetch("/data/upload/1/a.png")
    assert len(label_studio.hits) == 2, "a legacy token is not tried twice"


class Renewing(Credentials):
    """Credentials whose renewed token is the right one."""

    def __init__(self, base_url: str, tokens: list[str]) -> None:
        super().__init__(LEGACY, base_url)
        self.tokens = tokens

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.tokens[0]}"}

    def invalidate(self, rejected: object = None) -> bool:
        self.tokens.pop(0)
        return True


def test_a_stale_token_is_renewed_once(label_studio):
    chosen = settings(label_studio_url=label_studio.url)
    stale = ImageResolver(chosen, "", Renewing(label_studio.url, ["stale", LEGACY]))
    assert stale.fetch("/data/upload/1/a.png") == b"label studio /data/upload/1/a.png"
    label_studio.hits.clear()
    with pytest.raises(Refused):
        ImageResolver(chosen, "", Renewing(label_studio.url, ["a", "b", "c", "d"])).fetch("/data/upload/1/a.png")
    assert len(label_studio.hits) == 2


# --- the token stays at home --------------------------------------------------------------------------------------


def test_the_operators_token_never_goes_to_a_host_that_only_a_request_names(label_studio, elsewhere):
    chosen = settings(label_studio_url=label_studio.url, label_studio_api_key=LEGACY, allow_private_hosts=True)
    fetcher = ImageResolver(chosen, elsewhere.url, Credentials.of_operator(chosen))
    fetcher.fetch("/data/upload/1/a.png")
    fetcher.fetch(f"{elsewhere.url}/data/upload/1/a.png")
    fetcher.fetch("s3://bucket/a.png", 7)
    assert all(authorization is None for _, authorization in elsewhere.hits)
    assert len(label_studio.hits) == 3, "what claims to be Label Studio is looked for at the operator's address"

    stranger = settings(label_studio_api_key=LEGACY, allow_private_hosts=True)
    with pytest.raises(InvalidInput, match="MASKWRIGHT_LABEL_STUDIO_URL"):
        Credentials.of_operator(stranger)


def test_credentials_of_one_server_are_not_sent_to_another(label_studio, elsewhere):
    chosen = settings(allow_private_hosts=True)
    fetcher = ImageResolver(chosen, elsewhere.url, Credentials(LEGACY, label_studio.url))
    fetcher.fetch("/data/upload/1/a.png")
    fetcher.fetch("/data/local-files/?d=a.png")
    assert [authorization for _, authorization in elsewhere.hits] == [None, None]


def test_a_host_named_in_setup_serves_its_own_token_but_is_trusted_no_further(label_studio):
    fetcher = ImageResolver(settings(), label_studio.url, Credentials(LEGACY, label_studio.url))
    with pytest.raises(
        Refused, match=r"private network.*if this is your Label Studio, set MASKWRIGHT_LABEL_STUDIO_URL"
    ):
        fetcher.fetch("/data/upload/1/a.png")
    assert label_studio.hits == []
    allowed = ImageResolver(settings(allow_private_hosts=True), label_studio.url, Credentials(LEGACY, label_studio.url))
    assert allowed.fetch("/data/upload/1/a.png") == b"label studio /data/upload/1/a.png"


def test_other_hosts_are_fetched_without_token_under_the_policy(label_studio, elsewhere):
    with pytest.raises(Refused, match="MASKWRIGHT_ALLOW_PRIVATE_HOSTS"):
        resolver(label_studio).fetch(f"{elsewhere.url}/a.png")
    with pytest.raises(Refused, match="MASKWRIGHT_ALLOWED_HOSTS"):
        resolver(label_studio, allow_private_hosts=True, allowed_hosts="cdn.test").fetch(f"{elsewhere.url}/a.png")
    assert elsewhere.hits == []
    assert resolver(label_studio, allow_private_hosts=True).fetch(f"{elsewhere.url}/a.png?b=1") == b"elsewhere"
    assert elsewhere.hits == [("/a.png?b=1", None)]
    assert label_studio.hits == []


# --- cloud --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a/b.png", "gs://bucket/ü 猫.png", "azure-blob://box/a.png", "S3://b/c.png"]
)
def test_cloud_links_are_presigned_by_label_studio_and_fetched_without_the_token(label_studio, elsewhere, uri):
    assert resolver(label_studio, allow_private_hosts=True).fetch(uri, 7) == b"elsewhere"
    assert label_studio.hits[0][1] == TOKEN["Authorization"]
    path, authorization = elsewhere.hits[0]
    assert authorization is None
    assert path == f"/{quote(uri, safe='')}?X-Amz-Signature=s"


def test_a_presigned_link_to_a_private_address_is_refused(label_studio, elsewhere):
    with pytest.raises(Refused, match="private network"):
        resolver(label_studio).fetch("s3://bucket/a.png", 7)
    assert elsewhere.hits == []


def test_a_cloud_link_without_task_is_refused(label_studio):
    with pytest.raises(InvalidInput, match="task id"):
        resolver(label_studio).fetch("s3://bucket/a.png")


def test_a_cloud_link_that_label_studio_does_not_know_points_at_the_storage(label_studio):
    label_studio.answer = lambda path, authorization: (404, {}, b"")
    with pytest.raises(NotFound, match=r"cloud object of task 7 .*no storage connected"):
        resolver(label_studio).fetch("s3://bucket/a.png", 7)


# --- local files --------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder open to tasks, with a file in it, a secret beside it, and links of all kinds."""
    folder = tmp_path / "open"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "y ü.png").write_bytes(b"local")
    (folder / "%2e%2e").mkdir()
    (folder / "50%.png").write_bytes(b"half")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "opening").mkdir()
    (tmp_path / "opening" / "secret.png").write_bytes(b"secret")
    (folder / "inside.png").symlink_to("sub/y ü.png")
    (folder / "escape.png").symlink_to(tmp_path / "secret.png")
    (folder / "escape").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe.png")
    return folder


def local(path: str) -> str:
    return f"/data/local-files/?d={path}"


def test_local_files_are_read_from_the_open_folder_without_asking_anyone(label_studio, root):
    fetcher = resolver(label_studio, local_files_root=root)
    for value in (local("sub/y%20%C3%BC.png"), local("sub/y ü.png"), f"http://localhost:8080{local('sub/y+ü.png')}"):
        assert fetcher.fetch(value) == b"local"
    assert fetcher.fetch(local("inside.png")) == b"local", "a link that stays inside is followed"
    assert fetcher.fetch(local("50%25.png")) == b"half"
    assert fetcher.fetch("/data/local-files?d=50%25.png") == b"half"
    assert label_studio.hits == []
    assert ImageResolver(settings(local_files_root=root), "", None).fetch(local("inside.png")) == b"local"


TRAVERSALS = [
    *["../secret.png", "sub/../../secret.png", "..", "sub/..", "%2e%2e/secret.png", "%2e%2e%2fsecret.png"],
    *["..%2fsecret.png", "%252e%252e%252fsecret.png", "%25252e%25252e/secret.png", "..%5csecret.png", "..\\secret.png"],
    *["/etc/passwd", "//etc/passwd", "%2fetc/passwd", "%252fetc/passwd", "\\etc\\passwd", "C:\\x.png", "C:x.png"],
    *["\\\\host\\share\\x.png", "escape.png", "escape/secret.png", "escape/opening/secret.png", "%00", "a%00.png", ""],
    *["sub%00/../../secret.png", "%2500", "%20", "."],
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_nothing_outside_the_open_folder_is_read(root, path):
    fetcher = ImageResolver(settings(local_files_root=root), "", None)
    for value in (local(path), local(quote(path, safe=""))):
        with pytest.raises((Refused, InvalidInput)) as refused:
            fetcher.fetch(value)
        assert str(root.parent) not in str(refused.value)
        assert refused.value.status in (400, 403)


@pytest.mark.parametrize("path", ["missing.png", "sub/missing.png", "loop", "loop/x.png", "50%25.png/x", "x" * 5000])
def test_a_local_file_that_is_not_there_is_not_found(root, path):
    with pytest.raises(NotFound) as missing:
        ImageResolver(settings(local_files_root=root), "", None).fetch(local(path))
    assert str(root) not in str(missing.value)


@pytest.mark.parametrize("path", ["pipe.png", "sub"])
def test_only_regular_files_are_read(root, path):
    with pytest.raises(InvalidInput, match="regular file"):
        ImageResolver(settings(local_files_root=root), "", None).fetch(local(path))


def test_a_local_file_has_the_same_bound_as_a_download(root):
    (root / "big.png").write_bytes(bytes(5000))
    fetcher = ImageResolver(settings(local_files_root=root, max_image_bytes=4999), "", None)
    with pytest.raises(TooLarge, match="MASKWRIGHT_MAX_IMAGE_BYTES"):
        fetcher.fetch(local("big.png"))


@given(st.text(st.sampled_from("./\\%25e0CFf a:"), max_size=20))
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_made_of_dots_slashes_and_escapes_reads_the_secret(root, path):
    for value in (local(path), local(path + "secret.png")):
        with pytest.raises((Refused, InvalidInput, NotFound)):
            ImageResolver(settings(local_files_root=root), "", None).fetch(value)


def test_without_an_open_folder_and_without_label_studio_local_files_are_refused():
    with pytest.raises(Refused, match="MASKWRIGHT_LOCAL_FILES_ROOT"):
        ImageResolver(settings(), "", None).fetch(local("etc/passwd"))
    with pytest.raises(Refused, match="MASKWRIGHT_LABEL_STUDIO_URL"):
        ImageResolver(settings(), "", None).fetch("/data/upload/1/a.png")


@pytest.mark.parametrize("path", ["../secret.png", "%2e%2e/secret.png", "/etc/passwd", "a%00"])
def test_traversals_are_not_passed_on_to_label_studio_either(label_studio, path):
    with pytest.raises((Refused, InvalidInput)):
        resolver(label_studio).fetch(local(path))
    assert label_studio.hits == []


# --- data URIs and nonsense ---------------------------------------------------------------------------------------


def test_data_uris_are_decoded_and_bounded():
    fetcher = ImageResolver(settings(max_image_bytes=3000), "", None)
    assert fetcher.fetch("data:image/png;base64,iVBO Rw0=") == b"\x89PNG\r"
    assert fetcher.fetch("data:image/png;BASE64,iVBORw0%3D") == b"\x89PNG\r"
    assert fetcher.fetch("data:,a%20b") == b"a b"
    assert len(fetcher.fetch("data:;base64," + base64.b64encode(bytes(3000)).decode())) == 3000
    for body in (base64.b64encode(bytes(3001)).decode(), "A" * 10**6):
        with pytest.raises(TooLarge):
            fetcher.fetch(f"data:;base64,{body}")
    with pytest.raises(TooLarge):
        fetcher.fetch("data:," + "x" * 3001)
    for broken in ("data:image/png;base64,A", "data:image/png;base64,***=", "data:image/png"):
        with pytest.raises(InvalidInput, match="data URI"):
            fetcher.fetch(broken)


@pytest.mark.parametrize(
    "value",
    [
        *[
            "",
            "  ",
            "cat.png",
            "data/upload/1/a.png",
            "//evil.test/a.png",
            "file:///etc/passwd",
            "ftp://a/b",
            "C:\\a.png",
        ],
        *["javascript:alert(1)", "http://", "https://u:p@ls/data/a.png", "redis://x", "\0", "/data/a\0", "unknown:x"],
        *["s3://\ud800/a.png", "/data/upload/\udfff.png", "data:,\ud800", "/data/local-files/?d=\ud800"],
    ],
)
def test_other_values_are_refused_in_words(label_studio, value):
    with pytest.raises((InvalidInput, Refused)):
        resolver(label_studio).fetch(value)
    assert label_studio.hits == []
