"""Worker processes for an export: they leave Ctrl-C to their parent and die with it, however it dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import connection, get_context, parent_process

from maskwright.errors import MaskwrightError
from maskwright.export.documents import TaskDocument
from maskwright.export.work import Job, Outcome

_AHEAD = 2
"""Chunks in work or waiting per process."""

_JOB: ContextVar[Job] = ContextVar("job")
"""What a worker process was started for."""


class Workers:
    """Processes that render chunks; use as a context manager.

    Starting processes takes about a second, so the work of the first one is done by whoever submits it; all of it
    where ``count`` is 1.

    Args:
        job: What to do with each chunk.
        count: How many processes.
        patience_s: For how long to do without processes.
    """

    def __init__(self, job: Job, count: int, patience_s: float = 1.0) -> None:
        self._job = job
        self._count = count
        self._alone_until = time.monotonic() + patience_s
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool is None:
            return
        if exc[0] is not None:
            # What is being rendered is of no use any more.
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def most_pending(self) -> int:
        """Chunks that may be in work or waiting at once; more would only take memory."""
        return 1 if self._pool is None else self._count * _AHEAD

    def submit(self, chunk: int, documents: Sequence[TaskDocument]) -> Future[Outcome]:
        """Begin a chunk.

        Raises:
            MaskwrightError: If a worker process was killed.
        """
        if self._pool is None and self._count > 1 and time.monotonic() >= self._alone_until:
            # Spawned, not forked: the parent may hold threads (progress bar, HTTP client), which a fork breaks.
            self._pool = ProcessPoolExecutor(self._count, get_context("spawn"), _begin, (self._job,))
        if self._pool is not None:
            with _told_if_killed(), _signals_held():
                return self._pool.submit(_run, chunk, documents)
        done: Future[Outcome] = Future()
        try:
            done.set_result(self._job.run(chunk, documents))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            done.set_exception(error)
        return done


def result_of(future: Future[Outcome]) -> Outcome:
    """The outcome of a chunk, waiting for it.

    Raises:
        MaskwrightError: If a worker process was killed, or as :meth:`Job.run`.
    """
    with _told_if_killed():
        return future.result()


@contextmanager
def _told_if_killed() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise MaskwrightError(
            "a worker process was killed, perhaps for want of memory; give --workers a smaller number and run the "
            "command again: it goes on where it stopped"
        ) from None


@contextmanager
def _signals_held() -> Iterator[None]:
    """Workers are started here, and inherit that Ctrl-C is none of their business."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _JOB.set(job)


def _run(chunk: int, documents: Sequence[TaskDocument]) -> Outcome:
    return _JOB.get().run(chunk, documents)


def _die_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
