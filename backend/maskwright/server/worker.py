"""The process that trains: it looks for rounds, runs them one after another, and leaves the machine to the others."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from maskwright.errors import MaskwrightError
from maskwright.server.work_queue import WorkQueue
from maskwright.settings import Settings
from maskwright.store.database import Database
from maskwright.store.rounds import RoundStore
from maskwright.store.workers import WorkerRegister

log = logging.getLogger(__name__)

Work = Callable[[str, Callable[[], bool]], float]
"""Queues what is due and runs what waits, as the owner of that name, until there is nothing or it is to stop; returns
the seconds after which there will be something again, infinite if nobody knows."""

LOOK_S = 60.0
BEAT_S = 15.0
_LISTEN_S = 1.0
_NICENESS = 10


def be_modest(settings: Settings) -> Settings:
    """Make this process give way to those that answer people; the settings with which it may load models."""
    os.nice(_NICENESS)
    return settings.model_copy(update={"cpu_threads": training_threads(settings)})


def training_threads(settings: Settings) -> int:
    """How many threads training may use."""
    return settings.training_threads or max(1, (os.cpu_count() or 1) // 2)


def run_worker(
    database: Database,
    queue: WorkQueue,
    work: Work,
    *,
    look_s: float = LOOK_S,
    started: Callable[[str], None] | None = None,
) -> None:
    """Work until SIGTERM or SIGINT: at once, when a message comes, when something is due, and every ``look_s`` seconds.

    A round that is running when the signal comes is given back, and goes on where it was last saved; a second signal
    does what it does to any process.

    Args:
        database: Of the corrections store.
        queue: Where messages come from; while it does not answer, only time wakes this worker.
        work: What to do. Whatever it raises is logged, and it is called again the next time.
        look_s: The longest time between two looks.
        started: Told the worker's name once it is listening.
    """
    owner = f"{socket.gethostname()[:200]}-{os.getpid()}-{secrets.token_hex(4)}"
    stop = threading.Event()
    with _until_signalled(stop), _heartbeat(WorkerRegister(database), owner):
        if started is not None:
            started(owner)
        while not stop.is_set():
            pause = look_s
            try:
                pause = min(look_s, work(owner, stop.is_set))
            except MaskwrightError as error:
                log.error("%s", error)
            except Exception:
                log.exception("rounds could not be run")
            _listen(queue, stop, time.monotonic() + pause)
        RoundStore(database).release_all(owner)


def _listen(queue: WorkQueue, stop: threading.Event, until: float) -> None:
    """Return when a message says to look, when it is time anyway, or when told to stop."""
    complained = False
    while time.monotonic() < until and not stop.wait(_LISTEN_S):
        try:
            if queue.heard_look():
                return
        except MaskwrightError as error:
            if not complained:
                log.warning("%s", error)
            complained = True


@contextmanager
def _until_signalled(stop: threading.Event) -> Iterator[None]:
    previous: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous.update({number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)})
    try:
        yield
    finally:
        restore()


@contextmanager
def _heartbeat(register: WorkerRegister, name: str) -> Iterator[None]:
    """Say now and then that this worker is alive, also while a round is running."""
    ended = threading.Event()

    def beat() -> None:
        while True:
            try:
                register.seen(name)
            except MaskwrightError as error:
                log.warning("%s", error)
            if ended.wait(BEAT_S):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=BEAT_S)
        try:
            register.gone(name)
        except MaskwrightError as error:
            log.warning("%s", error)
