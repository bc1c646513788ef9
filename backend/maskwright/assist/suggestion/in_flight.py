"""Many images at once: while language models think about some, the device works on another.

Each image is worked on in a thread of its own. What needs the device takes its turn at it, the oldest image first;
what only waits for an answer from elsewhere does not, so that answers are on their way while the device is busy.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from maskwright.assist.everything import never_cancelled
from maskwright.errors import Cancelled
from maskwright.models.protocols import RGB, Captioner, LearnsWords, Tag, Tagger

T = TypeVar("T")
R = TypeVar("R")
Turn = AbstractContextManager[object]
"""Held by work while it uses the device; not re-entrant."""

WORKERS = 16
"""Images at once: an answer that takes a second hides behind segmentation of more than a fifteenth of a second."""
_POLL_S = 0.1


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of an item: a result, or the error that its work ended with."""

    item: T
    result: R | None = None
    error: Exception | None = None


def in_flight(
    items: Iterable[T],
    work: Callable[[T, Turn], R],
    *,
    workers: int = WORKERS,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Generator[Outcome[T, R], None, None]:
    """Work on many items at once and answer in their order.

    No more than ``workers`` items are taken and not yet answered, whatever the number of items: one slow item holds
    the others up in the end, it does not fill the memory. An error ends its own item only. A caller that stops early
    (``close``, or the end of the loop's scope) ends what is under way at its next turn at the device.

    Args:
        items: Taken one by one, in the thread of the caller.
        work: Called with an item and its turn at the device; whatever needs the device happens ``with turn:``.
        workers: Most items at once, at least 1.
        cancelled: Asked at least ten times a second while waiting.

    Raises:
        Cancelled: As soon as ``cancelled`` says so and what was under way has ended.
    """
    device = Device()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="in-flight")
    line: deque[tuple[T, Future[R]]] = deque()
    try:
        for number, item in enumerate(items):
            if len(line) == workers:
                yield _outcome(*line.popleft(), cancelled)
            line.append((item, pool.submit(work, item, device.turn(number))))
        while line:
            yield _outcome(*line.popleft(), cancelled)
    finally:
        device.close()
        pool.shutdown(wait=True, cancel_futures=True)


class HeldTagger:
    """A tagger that takes its turn at the device."""

    def __init__(self, tagger: Tagger, turn: Turn) -> None:
        self.name, self.version = tagger.name, tagger.version
        self._tagger, self._turn = tagger, turn

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """As ``Tagger.tags``."""
        with self._turn:
            return self._tagger.tags(images, top=top)

    def knowing(self, words: Sequence[str]) -> HeldTagger:
        """As ``LearnsWords.knowing``; of a tagger that cannot be told of words, this one."""
        if not isinstance(self._tagger, LearnsWords):
            return self
        with self._turn:
            return HeldTagger(self._tagger.knowing(words), self._turn)


class HeldCaptioner:
    """A captioner that takes its turn at the device."""

    def __init__(self, captioner: Captioner, turn: Turn) -> None:
        self.name, self.version = captioner.name, captioner.version
        self._captioner, self._turn = captioner, turn

    def captions(self, images: Sequence[RGB]) -> list[str]:
        """As ``Captioner.captions``."""
        with self._turn:
            return self._captioner.captions(images)


class Device:
    """One at a time; of those who wait, the one of the lowest number. Once closed, nobody gets a turn any more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[int] = []
        self._is_taken = False
        self._is_closed = False

    def turn(self, number: int) -> Turn:
        """What one piece of work holds while it uses the device; of no other piece of work is the number the same."""
        return _NumberedTurn(self, number)

    def close(self) -> None:
        """Give no turn to anybody any more; those who wait for one are cancelled."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def take(self, number: int) -> None:
        """Wait for the turn of a number.

        Raises:
            Cancelled: If the device is closed.
        """
        with self._changed:
            heapq.heappush(self._waiting, number)
            self._changed.wait_for(lambda: self._is_closed or (not self._is_taken and self._waiting[0] == number))
            if self._is_closed:
                raise Cancelled("work on this image was cancelled")
            heapq.heappop(self._waiting)
            self._is_taken = True

    def give_back(self) -> None:
        """End the turn that was taken."""
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()


class _NumberedTurn(AbstractContextManager[object]):
    def __init__(self, device: Device, number: int) -> None:
        self._device, self._number = device, number

    def __enter__(self) -> None:
        self._device.take(self._number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device.give_back()


def _outcome(item: T, future: Future[R], cancelled: Callable[[], bool]) -> Outcome[T, R]:
    while not future.done():
        if cancelled():
            raise Cancelled("the work on these images was cancelled")
        wait([future], _POLL_S)
    error = future.exception()
    if error is None:
        return Outcome(item, future.result())
    if isinstance(error, Exception):
        return Outcome(item, error=error)
    raise error
