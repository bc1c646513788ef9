"""Work behind the requests: few threads, a bounded line, one job per key, progress and cancelling."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from maskwright.errors import Busy, Cancelled, MaskwrightError

_log = logging.getLogger(__name__)

_KEPT_FINISHED = 100


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class JobReport:
    """A job at one moment.

    Attributes:
        key: What the job was submitted as.
        state: Where it stands.
        done: Items finished.
        total: Items in all, 0 while not known.
        message: What it is doing, or why it failed; safe to show.
    """

    key: str
    state: JobState
    done: int
    total: int
    message: str


class JobProgress:
    """A running job's line to the outside: it reports progress here and looks here whether to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._latest = (0, 0, "")

    def update(self, done: int, total: int, message: str = "") -> None:
        """Report that ``done`` of ``total`` items are finished (total 0 = not known)."""
        with self._lock:
            self._latest = (done, total, message)

    @property
    def latest(self) -> tuple[int, int, str]:
        """The last report: done, total, message."""
        with self._lock:
            return self._latest

    def cancelled(self) -> bool:
        """Whether the job should stop; passes as the ``cancelled`` argument of the assistant's methods."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise ``Cancelled`` if the job should stop."""
        if self._cancelled.is_set():
            raise Cancelled("the job was cancelled")

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the job is cancelled.

        Raises:
            Cancelled: If the job should stop.
        """
        self._cancelled.wait(seconds)
        self.check()

    def cancel(self) -> None:
        """Ask the job to stop."""
        self._cancelled.set()


class Job:
    """One submitted job."""

    def __init__(self, key: str, run: Callable[[JobProgress], None]) -> None:
        self.key = key
        self.progress = JobProgress()
        self._run = run
        self._finished = threading.Event()
        self._state = JobState.QUEUED
        self._error = ""

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return self._state

    def report(self) -> JobReport:
        """Everything about it at this moment."""
        done, total, message = self.progress.latest
        return JobReport(self.key, self._state, done, total, self._error or message)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is finished, failed or cancelled; False if that took longer than ``timeout`` seconds."""
        return self._finished.wait(timeout)

    def cancel(self) -> None:
        """Ask it to stop: at once if it still waits in line, else when it next looks."""
        self.progress.cancel()

    def execute(self) -> None:
        """Run it in this thread; whatever happens is recorded, never raised."""
        self._state = JobState.RUNNING
        try:
            self.progress.check()
            self._run(self.progress)
        except Cancelled:
            self.finish(JobState.CANCELLED)
        except MaskwrightError as error:
            _log.warning("job %s failed: %s", self.key, error)
            self.finish(JobState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - a failing job must not end the thread that runs the next
            _log.exception("job %s failed", self.key)
            self.finish(JobState.FAILED, f"internal error ({type(error).__name__}); see the server's log")
        else:
            self.finish(JobState.DONE)

    def finish(self, state: JobState, error: str = "") -> None:
        """Record its end."""
        self._state, self._error = state, error
        # The closure may hold images or whole task lists; finished jobs are kept for their reports only.
        self._run = _nothing
        self._finished.set()


class BackgroundJobs:
    """Runs jobs one after the other in each of a few threads.

    Args:
        workers: Threads.
        max_pending: Most jobs that may wait; beyond it ``submit`` refuses.
        name: Of the threads.
    """

    def __init__(self, workers: int = 1, max_pending: int = 64, *, name: str = "background-job") -> None:
        self._workers = workers
        self._max_pending = max_pending
        self._name = name
        self._changed = threading.Condition()
        self._pending: deque[Job] = deque()
        self._running: list[Job] = []
        self._finished: OrderedDict[str, Job] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, key: str, run: Callable[[JobProgress], None]) -> Job:
        """Put a job in line.

        Args:
            key: Identity of the work. While a job of this key waits or runs, that job is returned and ``run`` is not
                used; put into the key whatever makes the work different.
            run: The work. It should look at ``JobProgress.cancelled`` between its steps. What it raises marks the job
                as failed and stops nothing else.

        Raises:
            Busy: If ``max_pending`` jobs wait.
            Cancelled: If the jobs are closed.
        """
        with self._changed:
            if self._closed:
                raise Cancelled("the server is shutting down; try again when it is back")
            for job in (*self._pending, *self._running):
                if job.key == key and not job.progress.cancelled():
                    return job
            if len(self._pending) >= self._max_pending:
                raise Busy(f"{len(self._pending)} background jobs wait, which is the most allowed", retry_after=10.0)
            job = Job(key, run)
            self._pending.append(job)
            if len(self._threads) < self._workers and len(self._threads) < len(self._pending) + len(self._running):
                number = len(self._threads) + 1
                thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()
            return job

    def jobs(self) -> tuple[JobReport, ...]:
        """Reports of those that run, those that wait, in order, and the last hundred that ended, latest first."""
        with self._changed:
            jobs = (*self._running, *self._pending, *reversed(self._finished.values()))
        return tuple(job.report() for job in jobs)

    def find(self, key: str) -> Job | None:
        """The job of this key that waits or runs, else the last one of it that ended, else None."""
        with self._changed:
            for job in (*self._running, *self._pending):
                if job.key == key:
                    return job
            return self._finished.get(key)

    def is_active(self, key: str) -> bool:
        """Whether a job of this key waits or runs."""
        with self._changed:
            return any(job.key == key for job in (*self._running, *self._pending))

    @property
    def active(self) -> int:
        """How many jobs wait or run."""
        with self._changed:
            return len(self._running) + len(self._pending)

    def cancel(self, key: str) -> bool:
        """Cancel the job of this key; False if none waits or runs."""
        with self._changed:
            found = [job for job in (*self._running, *self._pending) if job.key == key]
            for job in found:
                job.cancel()
                self._drop_pending(job)
        return bool(found)

    def close(self, timeout: float = 10.0) -> None:
        """Accept nothing more, cancel what waits, ask what runs to stop and give it ``timeout`` seconds for that."""
        with self._changed:
            self._closed = True
            for job in tuple(self._pending):
                job.cancel()
                self._drop_pending(job)
            for job in self._running:
                job.cancel()
            self._changed.notify_all()
            threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _drop_pending(self, job: Job) -> None:
        if job in self._pending:
            self._pending.remove(job)
            job.finish(JobState.CANCELLED)
            self._remember(job)

    def _remember(self, job: Job) -> None:
        self._finished.pop(job.key, None)
        self._finished[job.key] = job
        while len(self._finished) > _KEPT_FINISHED:
            self._finished.popitem(last=False)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._closed:
                    self._changed.wait()
                if not self._pending:
                    return
                job = self._pending.popleft()
                self._running.append(job)
            job.execute()
            with self._changed:
                self._running.remove(job)
                self._remember(job)
            del job


def _nothing(_progress: JobProgress) -> None:
    pass
