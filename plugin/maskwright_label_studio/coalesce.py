"""One computation for identical requests that come together or within moments: the browser asks everything twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass

DEFAULT_BYTES = 8 * 1024**2
DEFAULT_LIFETIME_S = 600.0


@dataclass(frozen=True)
class _Kept:
    value: bytes
    until: float


class Coalescer:
    """Single-flight with a short memory for results in bytes. Threads may share it.

    Args:
        max_bytes: Most bytes of results kept.
        lifetime_s: How long a result is kept.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_BYTES,
        lifetime_s: float = DEFAULT_LIFETIME_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[bytes]] = {}
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0

    def ready(self, key: Hashable) -> bytes | None:
        """The kept result under ``key``."""
        with self._lock:
            kept = self._kept.get(key)
            return kept.value if kept is not None and kept.until > self._clock() else None

    def result(self, key: Hashable, compute: Callable[[], bytes], timeout: float | None = None) -> bytes:
        """The result under ``key``: kept, awaited from whoever computes it now, or computed here.

        Args:
            key: What identical requests have in common.
            compute: Computes it; its exception goes to everyone who waits, and nothing is kept.
            timeout: Longest wait in seconds for another thread's computation.

        Raises:
            TimeoutError: If another thread did not finish in time.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.until > self._clock():
                return kept.value
            running = self._running.get(key)
            if running is None:
                mine: Future[bytes] = Future()
                self._running[key] = mine
        if running is not None:
            return running.result(timeout)
        try:
            value = compute()
        except BaseException as error:
            with self._lock:
                del self._running[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._running[key]
            self._keep(key, value)
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: bytes) -> None:
        previous = self._kept.pop(key, None)
        self._bytes -= len(previous.value) if previous else 0
        self._kept[key] = _Kept(value, self._clock() + self._lifetime_s)
        self._bytes += len(value)
        while self._kept and (self._bytes > self._max_bytes or next(iter(self._kept.values())).until <= self._clock()):
            self._bytes -= len(self._kept.popitem(last=False)[1].value)
