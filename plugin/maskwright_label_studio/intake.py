"""Events into the corrections store: on the disk before they are answered, many with one write, refused in time.

One thread writes. What arrives while it does is taken along by its next transaction, so a storm costs few of them; and
a locked or full disk holds up that thread only: who waits is told so before Label Studio's second is over.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace

from maskwright.errors import Busy, MaskwrightError
from maskwright.store.corrections import CorrectionsStore, Event, TaskState
from maskwright.store.database import StoreUnavailable
from maskwright_label_studio.webhook import PLATFORM_NAME, Incoming

ANSWER_S = 0.7
MAX_WAITING = 1000
_NOT_IN_TIME = "the corrections database did not take the event in time; the next comparison with the platform will"

_Waiting = tuple[Incoming, "Future[None]"]

log = logging.getLogger(__name__)


class EventIntake:
    """Takes events in. Threads may share it.

    Args:
        store: Opens the store.
        stored: Told the events of each write, in the writing thread.
    """

    def __init__(self, store: Callable[[], CorrectionsStore], stored: Callable[[list[Event]], None]) -> None:
        self._store = store
        self._stored = stored
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None

    def take(self, incoming: Incoming) -> None:
        """Store an event, and the correction in it; both are on the disk when this returns.

        Raises:
            InvalidInput: If something in it cannot be stored.
            Busy: If it was not done in time; it may be stored later all the same.
            MaskwrightError: If the store cannot be opened or written.
        """
        done: Future[None] = Future()
        with self._changed:
            if self._closing:
                raise Busy("the server is ending; the next comparison brings what the event says")
            if len(self._waiting) >= MAX_WAITING:
                raise Busy("too many events wait for the corrections database; the next comparison brings their word")
            self._waiting.append((incoming, done))
            if self._thread is None or not self._thread.is_alive():
                # Of a thread pool the process would wait for, however long a locked database keeps it.
                self._thread = threading.Thread(target=self._run, name="event-intake", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        try:
            done.result(ANSWER_S)
        except FutureTimeout:
            log.warning("%s", _NOT_IN_TIME)
            raise Busy(_NOT_IN_TIME) from None

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and end the thread; after so many seconds, refuse what still waits and let it be."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return
        thread.join(timeout)
        with self._changed:
            refused = list(self._waiting)
            self._waiting.clear()
        if thread.is_alive():
            log.warning("the corrections database does not let go: %d events were not stored", len(refused))
        for _, done in refused:
            done.set_exception(Busy(_NOT_IN_TIME))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = list(self._waiting)
                self._waiting.clear()
            self._write(batch)

    def _write(self, batch: list[_Waiting]) -> None:
        if len(batch) > 1 and self._written(batch, give_up=False):
            return
        # Alone, so that one that cannot be stored does not cost the others.
        for item in batch:
            self._written([item], give_up=True)

    def _written(self, batch: list[_Waiting], *, give_up: bool) -> bool:
        """Store a batch and tell who waits; False if something in it is at fault and ``give_up`` is not set."""
        try:
            self._keep([incoming for incoming, _ in batch])
        except Exception as error:
            # Of the database itself: it would be the same for each.
            if not give_up and not isinstance(error, Busy | StoreUnavailable):
                return False
            if not isinstance(error, MaskwrightError):
                log.exception("events could not be stored")
            for _, done in batch:
                done.set_exception(error)
            return True
        for _, done in batch:
            done.set_result(None)
        self._stored([incoming.event for incoming, _ in batch])
        return True

    def _keep(self, batch: list[Incoming]) -> None:
        store = self._store()
        # The corrections first: an event without its correction would be repaired, a correction needs no event.
        by_project: dict[tuple[str, int], dict[int, TaskState]] = {}
        for incoming in batch:
            event, state = incoming.event, incoming.state
            if state is not None and event.project is not None:
                tasks = by_project.setdefault((event.server, event.project), {})
                tasks[state.number] = _joined(tasks.get(state.number), state)
        for (server, number), tasks in by_project.items():
            store.put_tasks(store.project(PLATFORM_NAME, server, number).id, list(tasks.values()))
        store.add_events(list(dict.fromkeys(incoming.event for incoming in batch)))


def _joined(known: TaskState | None, state: TaskState) -> TaskState:
    if known is None:
        return state
    return replace(
        known,
        annotations=tuple(dict.fromkeys(known.annotations + state.annotations)),
        proposals=tuple(dict.fromkeys(known.proposals + state.proposals)),
        created_at=max(known.created_at, state.created_at),
    )
