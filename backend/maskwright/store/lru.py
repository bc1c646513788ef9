"""A least-recently-used cache that is bounded in bytes and loads every key at most once at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class CacheStatistics:
    """What a cache holds and how it did: entries, their bytes, and counts since it was made."""

    entries: int
    nbytes: int
    hits: int
    misses: int
    evictions: int


@dataclass(eq=False)
class _Flight(Generic[V]):
    """One load under way, and the thread that does it."""

    thread: int
    future: Future[V] = field(default_factory=Future)


class ByteBoundedCache(Generic[K, V]):
    """Thread-safe mapping that forgets the least recently used entries so that their bytes never exceed a bound.

    A value larger than the bound is handed out but not kept. Loaders run outside the lock, so a slow load of one key
    delays nobody who wants another.

    Args:
        max_bytes: Most bytes kept; 0 keeps nothing (loads are still shared by those who wait together).
        nbytes: Size of a value in bytes.
    """

    def __init__(self, max_bytes: int, nbytes: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._nbytes = nbytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._flights: dict[K, _Flight[V]] = {}
        self._total = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def get(self, key: K) -> V | None:
        """The value, now the most recently used, or None."""
        with self._lock:
            return self._find(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of an older one of the same key."""
        size = self._nbytes(value)
        with self._lock:
            self._keep(key, value, size)

    def get_or_load(self, key: K, load: Callable[[], V]) -> V:
        """The value, loaded if it is not there; threads that ask for one key together share one load.

        Args:
            key: What to find.
            load: Makes the value; called without the lock. What it raises reaches every thread that waits for this
                key, and is not remembered: the next call loads again.

        Raises:
            RuntimeError: If ``load`` asks this cache for the key that it is loading.
        """
        with self._lock:
            found = self._find(key)
            if found is not None:
                return found
            flight = self._flights.get(key)
            if flight is None:
                mine = self._flights[key] = _Flight(threading.get_ident())
            elif flight.thread == threading.get_ident():
                raise RuntimeError("a loader asked for the key that it is loading")
        if flight is not None:
            return flight.future.result()
        try:
            value = load()
            size = self._nbytes(value)
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            mine.future.set_exception(error)
            raise
        # Kept before the flight ends, so that nobody finds neither and loads a second time.
        with self._lock:
            self._keep(key, value, size)
            del self._flights[key]
        mine.future.set_result(value)
        return value

    def discard(self, key: K) -> None:
        """Forget one key, if it is there."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._total -= entry[1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._total = 0

    def __contains__(self, key: K) -> bool:
        with self._lock:
            return key in self._entries

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept."""
        with self._lock:
            return self._total

    def statistics(self) -> CacheStatistics:
        """Counts at this moment."""
        with self._lock:
            return CacheStatistics(len(self._entries), self._total, self._hits, self._misses, self._evictions)

    def _find(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def _keep(self, key: K, value: V, size: int) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._total -= old[1]
        if size > self._max_bytes:
            return
        self._entries[key] = (value, size)
        self._total += size
        while self._total > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self._total -= freed
            self._evictions += 1
