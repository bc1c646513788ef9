"""Background jobs: one per key, bounded, visible, stoppable, and none of them can end the thread."""

from __future__ import annotations

import threading
import time

import pytest

from maskwright.assist.jobs import BackgroundJobs, JobState
from maskwright.errors import Busy, Cancelled, InvalidInput


@pytest.fixture
def jobs():
    made = BackgroundJobs(max_pending=2)
    yield made
    made.close(1)


@pytest.fixture
def gate():
    """Opens at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def blocked(gate):
    def run(progress) -> None:
        while not gate.is_set():
            progress.check()
            time.sleep(0.002)

    return run


def test_a_job_runs_and_reports_its_progress(jobs):
    def run(progress) -> None:
        progress.update(2, 5, "half way")

    job = jobs.submit("a", run)
    assert job.wait(5)
    report = job.report()
    assert (report.key, report.state, report.done, report.total, report.message) == (
        "a", JobState.DONE, 2, 5, "half way",
    )  # fmt: skip
    assert jobs.find("a") is job
    assert jobs.find("b") is None


def test_one_key_is_one_job_while_it_waits_or_runs(jobs, gate):
    runs = []
    first = jobs.submit("a", blocked(gate))
    assert jobs.submit("a", lambda progress: runs.append(1)) is first
    waiting = jobs.submit("b", lambda progress: runs.append(2))
    assert jobs.submit("b", lambda progress: runs.append(3)) is waiting
    gate.set()
    assert waiting.wait(5)
    assert runs == [2]
    again = jobs.submit("b", lambda progress: runs.append(4))
    assert again.wait(5)
    assert runs == [2, 4]


def test_beyond_the_bound_jobs_are_refused_with_a_time_to_come_back(jobs, gate):
    jobs.submit("running", blocked(gate))
    while jobs.jobs()[0].state is not JobState.RUNNING:
        time.sleep(0.001)
    jobs.submit("1", blocked(gate))
    jobs.submit("2", blocked(gate))
    with pytest.raises(Busy) as refused:
        jobs.submit("3", blocked(gate))
    assert refused.value.retry_after > 0
    assert [report.key for report in jobs.jobs()] == ["running", "1", "2"]


def test_a_failing_job_fails_alone_and_shows_no_internals(jobs, caplog):
    def bad(progress) -> None:
        raise ValueError("secret detail")

    def refused(progress) -> None:
        raise InvalidInput("the project has no images")

    first, second = jobs.submit("bad", bad), jobs.submit("refused", refused)
    assert second.wait(5)
    third = jobs.submit("good", lambda progress: None)
    assert third.wait(5)
    assert first.report().state is JobState.FAILED
    assert "secret" not in first.report().message
    assert "secret detail" in caplog.text
    assert second.report().message == "the project has no images"
    assert third.report().state is JobState.DONE


def test_cancelling_stops_a_running_job_and_drops_a_waiting_one(jobs, gate):
    running, waiting = jobs.submit("a", blocked(gate)), jobs.submit("b", blocked(gate))
    assert jobs.cancel("b")
    assert waiting.wait(5)
    assert waiting.state is JobState.CANCELLED
    assert jobs.cancel("a")
    assert running.wait(5)
    assert running.state is JobState.CANCELLED
    assert not jobs.cancel("a")
    assert not jobs.cancel("never")


def test_a_cancelled_job_can_be_submitted_again_at_once(jobs, gate):
    first = jobs.submit("a", blocked(gate))
    jobs.cancel("a")
    second = jobs.submit("a", lambda progress: None)
    assert second is not first
    assert second.wait(5)
    assert second.state is JobState.DONE


def test_waiting_inside_a_job_ends_when_it_is_cancelled(jobs):
    started = time.monotonic()
    job = jobs.submit("a", lambda progress: progress.wait(60))
    time.sleep(0.02)
    job.cancel()
    assert job.wait(5)
    assert job.state is JobState.CANCELLED
    assert time.monotonic() - started < 5


def test_closing_cancels_what_waits_stops_what_runs_and_refuses_the_rest(jobs, gate):
    running, waiting = jobs.submit("a", blocked(gate)), jobs.submit("b", blocked(gate))
    jobs.close(5)
    assert (running.state, waiting.state) == (JobState.CANCELLED, JobState.CANCELLED)
    with pytest.raises(Cancelled):
        jobs.submit("c", lambda progress: None)
    assert not [thread for thread in threading.enumerate() if thread in jobs._threads]
    jobs.close(5)


def test_a_job_that_does_not_look_delays_closing_by_the_timeout_only(gate):
    jobs = BackgroundJobs()
    jobs.submit("deaf", lambda progress: gate.wait(20))
    time.sleep(0.02)
    started = time.monotonic()
    jobs.close(0.2)
    assert time.monotonic() - started < 2


def test_the_memory_of_ended_jobs_is_bounded_and_holds_no_work():
    jobs = BackgroundJobs(max_pending=300)
    payload = [b"x" * 1000]
    for number in range(250):
        jobs.submit(str(number), lambda progress, payload=payload: None)
    deadline = time.monotonic() + 10
    while jobs.active and time.monotonic() < deadline:
        time.sleep(0.002)
    assert len(jobs.jobs()) == 100
    assert jobs.jobs()[0].key == "249"
    jobs.close()


def test_several_workers_run_side_by_side(gate):
    jobs = BackgroundJobs(workers=2, max_pending=4)
    barrier = threading.Barrier(2, timeout=10)
    both = [jobs.submit(name, lambda progress: barrier.wait() and None) for name in "ab"]
    assert all(job.wait(10) for job in both)
    assert [job.state for job in both] == [JobState.DONE] * 2
    jobs.close()
