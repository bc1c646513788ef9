"""A connection to one address that was judged beforehand, with one deadline for everything on it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import httpcore
import httpx

from maskwright.errors import Unreachable
from maskwright.store.addresses import Address

Resolver = Callable[[str, int], Sequence[Address]]
"""(host, port) -> the addresses that the name service gives for it."""

_SocketOptions = Iterable[Any] | None


class Deadline:
    """A point in time by which a whole exchange has to be done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self, at_most: float | None = None) -> float:
        """Seconds left, bounded by ``at_most``.

        Raises:
            TimeoutError: If none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if at_most is None else min(left, at_most)


def system_resolver(host: str, port: int) -> list[Address]:
    """Ask the system's name service; every address once, in its order.

    Raises:
        OSError: If the name is unknown or the service does not answer.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(answer[4][0]) for answer in answers))


def resolve(resolver: Resolver, host: str, port: int, deadline: Deadline) -> list[Address]:
    """Resolve a name within a deadline: name services have time limits of their own, far longer than ours.

    Raises:
        Unreachable: If the name is unknown or the answer is late.
    """
    found: list[Address] = []

    def look_up() -> None:
        try:
            found.extend(resolver(host, port))
        except (OSError, ValueError):  # an unknown name, or one that no encoder accepts
            found.clear()

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    if thread.is_alive() or not found:
        raise Unreachable(f"the host {host!r} cannot be found by name; check its spelling and the name service")
    return found


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to the given addresses whatever the name resolves to by now (DNS rebinding), within the deadline."""

    def __init__(self, addresses: Sequence[Address], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._system = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; ``host`` only names it (Host header, TLS)."""
        failure: Exception = httpcore.ConnectError("no address")
        for position, address in enumerate(self._addresses):
            # An even share of what is left, so that one silent address does not use up the time of the others.
            share = _remaining(self._deadline, timeout) / (len(self._addresses) - position)
            try:
                stream = self._system.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """A stream on which no single byte may arrive after the deadline, however slowly the others dripped in."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, _remaining(self._deadline, timeout))
        return _DeadlineStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@cache
def tls_context() -> ssl.SSLContext:
    """Certificates of httpx's bundle and of the system (including ``SSL_CERT_FILE``); made once, it takes a while."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _remaining(deadline: Deadline, timeout: float | None) -> float:
    try:
        return deadline.remaining(timeout)
    except TimeoutError:
        raise httpcore.ReadTimeout("deadline passed") from None
