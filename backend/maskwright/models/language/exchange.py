"""One POST of a JSON document with one deadline for all of it, repeated while the server says that it is busy."""

from __future__ import annotations

import email.utils
import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from maskwright.errors import ModelUnavailable, Unreachable
from maskwright.models.language.schema import InvalidAnswer
from maskwright.store.addresses import Address, is_private_network, is_public
from maskwright.store.connection import Deadline, PinnedBackend, resolve, system_resolver, tls_context

MOST_BYTES = 1024**2
"""Of a reply; longer ones are not read to their end."""
_MOST_QUOTED = 200
_PAUSES = (0.5, 1.0, 2.0)
"""Seconds before the next tries after a failure that passes, where the server names none."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True)
class Reply:
    """Status, header fields (names in lower case) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants to be asked again, if it says so."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return None


def post_patiently(url: str, payload: Mapping[str, Any], headers: Mapping[str, str], deadline: Deadline) -> Reply:
    """Post a document; a server that is busy or fails for the moment is asked again, up to 3 times.

    Returns:
        The reply: a success, or a refusal that will not pass.

    Raises:
        InvalidAnswer: If the reply is too long.
        ModelUnavailable: If the server cannot be reached, keeps failing, or wants more time than there is.
        TimeoutError: If the deadline passes, however slowly single bytes arrive.
    """
    content = json.dumps(payload).encode()
    failure = said = ""
    for pause in (*_PAUSES, None):
        wanted = pause
        try:
            reply = _post(httpx.URL(url), content, headers, deadline)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ModelUnavailable(
                    "its TLS certificate is not trusted; a private certificate authority is added with SSL_CERT_FILE"
                ) from error
            said = ""
            failure = "it cannot be reached" if isinstance(error, httpcore.ConnectError) else "it broke off its answer"
        else:
            if reply.status not in _PASSING:
                return reply
            said = words_of(reply)
            failure = "it is busy (HTTP 429)" if reply.status == 429 else f"it fails (HTTP {reply.status})"
            wanted = reply.retry_after if pause is not None and reply.retry_after is not None else pause
        if wanted is None:
            break
        if wanted >= deadline.remaining():
            raise ModelUnavailable(f"{failure}, and is to be asked again in {wanted:g} s, after the time allowed")
        time.sleep(wanted)
    raise ModelUnavailable(f"{failure}, asked {len(_PAUSES) + 1} times{': ' + said if said else ''}")


def words_of(reply: Reply) -> str:
    """What a server says about a refusal, short and in one line."""
    try:
        document = json.loads(reply.body)
        error = document.get("error", document.get("detail", document.get("message", "")))
        text = error.get("message", "") if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        text = reply.body[:_MOST_QUOTED].decode("utf-8", "replace")
    return quoted(text if isinstance(text, str) else json.dumps(text))


def quoted(text: str) -> str:
    """Words of a stranger, short and in one printable line."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_MOST_QUOTED]


def _post(url: httpx.URL, content: bytes, headers: Mapping[str, str], deadline: Deadline) -> Reply:
    sent = {
        "Host": url.netloc.decode(),
        "User-Agent": "maskwright",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        **headers,
    }
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=tls_context() if url.scheme == "https" else None,
                network_backend=PinnedBackend(_addresses(url, deadline), deadline),
                max_connections=1,
            ) as pool,
            pool.stream(
                "POST",
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in sent.items()],
                content=content,
            ) as response,
        ):
            body = bytearray()
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise InvalidAnswer(f"the reply is longer than {MOST_BYTES >> 20} MiB")
            fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Reply(response.status, fields, bytes(body))
    except httpcore.TimeoutException:
        raise TimeoutError from None


def _addresses(url: httpx.URL, deadline: Deadline) -> list[Address]:
    """The addresses of the server; neither a cloud's metadata service nor another special one."""
    try:
        addresses: list[Address] = [ipaddress.ip_address(url.host)]
    except ValueError:
        try:
            addresses = resolve(system_resolver, url.host, url.port or (443 if url.scheme == "https" else 80), deadline)
        except Unreachable as error:
            raise ModelUnavailable(str(error)) from None
    if any(not is_public(address) and not is_private_network(address) for address in addresses):
        raise ModelUnavailable(f"the host {url.host!r} leads to a special address, where no language model is asked")
    return addresses
