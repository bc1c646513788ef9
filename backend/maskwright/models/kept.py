"""Models that are kept while they are used: loaded once for all who ask, the least recently used leave."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any
from weakref import WeakValueDictionary

from maskwright.errors import ModelUnavailable

RETRY_S = 60.0
"""A model that could not be had is not tried again before: each image would wait for it in vain."""
_FAILURES_KEPT = 64

_log = logging.getLogger(__name__)


class KeptModels:
    """A bounded number of models. Safe under threads. One that somebody still uses is not loaded a second time.

    Args:
        size: How many are kept beyond their use, one at least.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._loads: dict[Hashable, Future[Any]] = {}
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._alive: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        self._failures: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Any:
        """The model, if it is in memory, else None."""
        with self._lock:
            return self._alive.get(key)

    def get_or_load(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """The model, loaded by the first who asks.

        Args:
            key: Of the model.
            load: Makes it.

        Raises:
            ModelUnavailable: If it cannot be had, which is not tried again for ``RETRY_S``.
            Exception: Whatever else ``load`` raises; it is tried again by the next call.
        """
        with self._lock:
            made = self._alive.get(key)
            if made is not None:
                self._keep(key, made)
                return made
            until, words = self._failures.get(key, (0.0, ""))
            if time.monotonic() < until:
                raise ModelUnavailable(words)
            future = self._loads.get(key)
            mine = future is None
            if future is None:
                future = self._loads[key] = Future()
        if not mine:
            return future.result()
        try:
            made = load()
        except BaseException as error:
            with self._lock:
                del self._loads[key]
                if isinstance(error, ModelUnavailable):
                    self._fail(key, str(error))
            future.set_exception(error)
            raise
        with self._lock:
            del self._loads[key]
            self._failures.pop(key, None)
            self._alive[key] = made
            self._keep(key, made)
        future.set_result(made)
        return made

    def missing(self) -> list[str]:
        """Why models could not be had that are not tried again yet."""
        with self._lock:
            return list(dict.fromkeys(words for until, words in self._failures.values() if time.monotonic() < until))

    def _keep(self, key: Hashable, made: Any) -> None:
        self._kept[key] = made
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def _fail(self, key: Hashable, words: str) -> None:
        _log.warning("a model cannot be had: %s", words)
        self._failures[key] = time.monotonic() + RETRY_S, words
        self._failures.move_to_end(key)
        while len(self._failures) > _FAILURES_KEPT:  # projects name what they like
            self._failures.popitem(last=False)
