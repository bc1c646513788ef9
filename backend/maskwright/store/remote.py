"""Downloads that an untrusted URL may ask for: judged before connecting, bounded in hops, bytes and time."""

from __future__ import annotations

import io
import ipaddress
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpcore
import httpx

from maskwright.errors import InvalidInput, NotFound, Refused, TooLarge, Unreachable
from maskwright.settings import Settings
from maskwright.store.addresses import Address, is_disguised_address, is_private_network, is_public, matches_host
from maskwright.store.connection import Deadline, PinnedBackend, Resolver, resolve, system_resolver, tls_context

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})


class AccessDenied(Refused):
    """The other server answered 401 or 403.

    Attributes:
        remote_status: Which of the two.
    """

    def __init__(self, message: str, remote_status: int) -> None:
        super().__init__(message)
        self.remote_status = remote_status


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port: what a credential belongs to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL.

        Raises:
            InvalidInput: If it is none.
        """
        return _origin(parse_url(url))


@dataclass(frozen=True)
class FetchPolicy:
    """What may be fetched.

    Attributes:
        allowed_hosts: Host names and ``*.domain`` patterns; empty = every host.
        allow_private_hosts: Whether loopback and private networks may be reached. Link-local addresses, where clouds
            keep their metadata services, and other special addresses are refused in any case.
        trusted_origins: Origins that the operator configured; they are exempt from both rules.
        max_bytes: Largest body, as sent and after decompression.
        timeout_s: Longest time for all hops together, name look-ups included.
        max_redirects: Most redirects followed.
        resolver: Name service; tests supply their own.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private_hosts: bool = False
    trusted_origins: frozenset[Origin] = frozenset()
    max_bytes: int = 256 * 1024**2
    timeout_s: float = 30.0
    max_redirects: int = 5
    resolver: Resolver = field(default=system_resolver, compare=False, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings, trusted_origins: Iterable[Origin] = ()) -> FetchPolicy:
        """The policy that an operator has set."""
        return cls(
            allowed_hosts=settings.allowed_hosts,
            allow_private_hosts=settings.allow_private_hosts,
            trusted_origins=frozenset(trusted_origins),
            max_bytes=settings.max_image_bytes,
            timeout_s=settings.fetch_timeout_s,
        )


def parse_url(url: str) -> httpx.URL:
    """An absolute http(s) URL without user name and password; the one parser for judging and for connecting.

    Raises:
        InvalidInput: If it is anything else.
    """
    if "\\" in url or any(ord(character) < 33 and character != " " for character in url):
        raise InvalidInput("the URL holds a backslash or a control character")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput("the URL is malformed; expected http(s)://host/path") from error
    if parsed.scheme not in _PORTS or not host:
        raise InvalidInput("the URL must start with http:// or https:// and name a host")
    if parsed.userinfo:
        raise InvalidInput("the URL holds a user name or password; remove it and store credentials in the settings")
    return parsed


def fetch_bytes(url: str, policy: FetchPolicy, headers: Mapping[str, str] | None = None) -> bytes:
    """Download one file.

    Every hop is judged anew: its host is resolved once, all its addresses must be permitted, and the connection goes
    to those very addresses, so a name that changes in between leads nowhere else. Proxy variables of the environment
    are ignored. Nothing is logged.

    Args:
        url: http(s) URL.
        policy: What may be fetched.
        headers: Sent to the origin of ``url`` only; after the first redirect that leaves it they are gone for good.

    Returns:
        The body, decompressed.

    Raises:
        InvalidInput: If the URL is malformed.
        Refused: If the policy forbids the host or an address of it; ``AccessDenied`` if the server answers 401 or 403.
        NotFound: If the server answers 404 or 410.
        TooLarge: If the body exceeds ``policy.max_bytes``.
        Unreachable: If the host cannot be found or connected to, is late, redirects too often or answers otherwise.
    """
    deadline = Deadline(policy.timeout_s)
    target, sent = parse_url(url), dict(headers or {})
    for _ in range(policy.max_redirects + 1):
        answer = _exchange("GET", target, policy, sent, None, deadline)
        if isinstance(answer, bytes):
            return answer
        if _origin(answer) != _origin(target):
            sent = {}
        target = answer
    raise Unreachable(f"{_shown(parse_url(url))} redirects more than {policy.max_redirects} times")


def post_json(url: str, payload: Any, policy: FetchPolicy, headers: Mapping[str, str] | None = None) -> Any:
    """Post a JSON document and return the JSON answer; redirects are errors, for a body may hold secrets.

    Raises:
        As ``fetch_bytes``; Unreachable also for a redirect and for an answer that is not JSON.
    """
    target = parse_url(url)
    sent = {"Content-Type": "application/json", **(headers or {})}
    answer = _exchange("POST", target, policy, sent, json.dumps(payload).encode(), Deadline(policy.timeout_s))
    if not isinstance(answer, bytes):
        raise Unreachable(f"{_shown(target)} redirects to {_shown(answer)}; configure the address it redirects to")
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise Unreachable(f"{_shown(target)} did not answer with JSON") from error


def _exchange(
    method: str,
    target: httpx.URL,
    policy: FetchPolicy,
    headers: Mapping[str, str],
    content: bytes | None,
    deadline: Deadline,
) -> bytes | httpx.URL:
    """One request: the body, or where it redirects to."""
    try:
        addresses = _permitted(target, policy, deadline)
        # A pool per request: kept-alive connections would be shared by address, across names and credentials.
        with (
            httpcore.ConnectionPool(
                ssl_context=tls_context() if target.scheme == "https" else None,
                network_backend=PinnedBackend(addresses, deadline),
                max_connections=1,
            ) as pool,
            pool.stream(
                method,
                httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path),
                headers=[
                    (b"Host", target.netloc),
                    (b"User-Agent", b"maskwright"),
                    (b"Accept", b"*/*"),
                    (b"Accept-Encoding", b"identity"),
                    *((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()),
                ],
                content=content,
            ) as response,
        ):
            return _answer(target, response, policy.max_bytes)
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise Unreachable(f"{_shown(target)} did not answer within {policy.timeout_s:g} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Unreachable(
                f"the TLS certificate of {target.host!r} is not trusted; "
                "a private certificate authority can be added with SSL_CERT_FILE"
            ) from error
        raise Unreachable(f"{_shown(target)} cannot be reached or broke off its answer") from error


def _permitted(target: httpx.URL, policy: FetchPolicy, deadline: Deadline) -> list[Address]:
    origin = _origin(target)
    if is_disguised_address(origin.host):
        raise Refused(f"the host {origin.host!r} is a disguised address; write addresses as four decimal numbers")
    trusted = origin in policy.trusted_origins
    if not trusted and policy.allowed_hosts and not matches_host(origin.host, policy.allowed_hosts):
        raise Refused(f"images from the host {origin.host!r} are not allowed (MASKWRIGHT_ALLOWED_HOSTS)")
    try:
        addresses: list[Address] = [ipaddress.ip_address(origin.host)]
    except ValueError:
        addresses = resolve(policy.resolver, origin.host, origin.port, deadline)
    for address in addresses:
        if trusted or is_public(address):
            continue
        if not is_private_network(address):
            raise Refused(f"the host {origin.host!r} leads to a special address, from which images are never fetched")
        if not policy.allow_private_hosts:
            raise Refused(
                f"the host {origin.host!r} is on a private network, from which images are fetched only with "
                "MASKWRIGHT_ALLOW_PRIVATE_HOSTS=true"
            )
    return addresses


def _answer(target: httpx.URL, response: httpcore.Response, max_bytes: int) -> bytes | httpx.URL:
    headers = {name.lower(): value for name, value in response.headers}
    if response.status in _REDIRECTS and b"location" in headers:
        try:
            return parse_url(str(target.join(headers[b"location"].decode("utf-8"))))
        except (InvalidInput, httpx.InvalidURL, ValueError) as error:
            raise Refused(f"{_shown(target)} redirects to something that is not a plain http(s) URL") from error
    if response.status in (200, 201):
        encoding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if int(headers.get(b"content-length", b"0")) > max_bytes:
            raise _too_large(target, max_bytes)
        return _body(target, response, encoding, max_bytes)
    if response.status in (401, 403):
        raise AccessDenied(f"{_shown(target)} denies access (HTTP {response.status})", response.status)
    if response.status in (404, 410):
        raise NotFound(f"{_shown(target)} does not exist (HTTP {response.status})")
    raise Unreachable(f"{_shown(target)} answered with HTTP {response.status}")


def _body(target: httpx.URL, response: httpcore.Response, encoding: str, max_bytes: int) -> bytes:
    received, out = 0, io.BytesIO()
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if encoding in _COMPRESSED else None
    if inflate is None and encoding not in ("", "identity"):
        raise Unreachable(f"{_shown(target)} answered in the encoding {encoding!r}, which was not asked for")
    for chunk in response.iter_stream():
        received += len(chunk)
        for piece in [chunk] if inflate is None else _inflated(inflate, chunk, target):
            out.write(piece)
            if out.tell() > max_bytes:
                raise _too_large(target, max_bytes)
        if received > max_bytes:
            raise _too_large(target, max_bytes)
    if inflate is not None:
        out.write(inflate.flush())
        if not inflate.eof:
            raise Unreachable(f"{_shown(target)} broke off its answer")
    return out.getvalue()


def _inflated(inflate: zlib._Decompress, chunk: bytes, target: httpx.URL) -> Iterator[bytes]:
    """Decompress in small pieces: a kilobyte of zeros unfolds to a megabyte, and must be counted on the way."""
    try:
        while chunk:
            yield inflate.decompress(chunk, 1 << 16)
            chunk = inflate.unconsumed_tail
    except zlib.error as error:
        raise Unreachable(f"{_shown(target)} sent a damaged compressed body") from error


def _too_large(target: httpx.URL, max_bytes: int) -> TooLarge:
    return TooLarge(f"{_shown(target)} is larger than the {max_bytes} bytes accepted (MASKWRIGHT_MAX_IMAGE_BYTES)")


def _origin(url: httpx.URL) -> Origin:
    return Origin(url.scheme, url.raw_host.decode("ascii").lower().rstrip("."), url.port or _PORTS[url.scheme])


def _shown(url: httpx.URL) -> str:
    """A URL fit for messages: the query, where presigned links keep their signature, is left out."""
    text = f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii').partition('?')[0]}"
    return text if len(text) <= 120 else f"{text[:117]}..."
