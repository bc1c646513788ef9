"""Workers as processes: they come, are woken, are killed, and whatever they were doing is done in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskwright.server.work_queue import WorkQueue
from maskwright.server.worker import be_modest, training_threads
from maskwright.settings import Settings
from maskwright.store.corrections import open_store
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.workers import WorkerRegister

PROGRAM = Path(__file__).with_name("worker_stand_in.py")


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path)
    opened.project("label-studio", "http://x", 7)
    yield opened
    opened.close()


@pytest.fixture
def rounds(store):
    return RoundStore(store.database)


def queue(rounds):
    return rounds.queue(1, trigger="t", base="embedded", config={})[0]


@contextmanager
def worker(home, *, url="", lease_s=60.0, look_s=600.0):
    command = [sys.executable, str(PROGRAM), str(home), url, str(lease_s), str(look_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        process.owner = process.stdout.readline().strip()
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def steps(home):
    try:
        return int((home / "steps").read_text() or 0)
    except OSError:
        return 0


def test_a_round_that_waits_is_run_at_once_by_a_process_that_gives_way(tmp_path, rounds):
    queue(rounds)
    with worker(tmp_path) as process:
        until(lambda: rounds.get(1, 1).state is RoundState.REFUSED)
        assert rounds.get(1, 1).owner == process.owner
        assert rounds.get(1, 1).reason == f"niceness {min(os.nice(0) + 10, 19)}"


def test_what_a_killed_worker_was_doing_is_taken_over_when_its_lease_has_run_out(tmp_path, rounds):
    queue(rounds)
    with worker(tmp_path, lease_s=1.0) as first:
        until(lambda: steps(tmp_path) >= 5)
        first.send_signal(signal.SIGKILL)
        first.wait()
    left = rounds.get(1, 1)
    assert (left.state, left.owner) == (RoundState.TRAINING, first.owner)
    with worker(tmp_path, lease_s=1.0, look_s=0.5) as second:
        until(lambda: not rounds.get(1, 1).state.is_active)
        assert int(second.stdout.readline().rpartition(" ")[2]) >= 5
    ended = rounds.get(1, 1)
    assert (ended.owner, ended.attempts) == (second.owner, 2)
    assert ended.progress == {"step": 20}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_gives_its_round_back_and_the_next_goes_on(tmp_path, store, rounds, number):
    queue(rounds)
    with worker(tmp_path) as first:
        until(lambda: steps(tmp_path) >= 3)
        first.send_signal(number)
        assert first.wait(30) == 0
    back = rounds.get(1, 1)
    assert (back.state, back.owner, back.attempts) == (RoundState.QUEUED, None, 0)
    assert WorkerRegister(store.database).silent_for() is None
    with worker(tmp_path) as second:
        until(lambda: not rounds.get(1, 1).state.is_active)
        assert int(second.stdout.readline().rpartition(" ")[2]) >= 3
    assert rounds.get(1, 1).attempts == 1


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_message_wakes_a_worker_long_before_it_would_look(tmp_path, store, rounds, kind, request):
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""
    with worker(tmp_path, url=url):
        until(lambda: WorkerRegister(store.database).silent_for() is not None)
        queue(rounds)
        # It may be looking still for the first time, and takes what came while it did for later.
        WorkQueue(Settings(_env_file=None, home=tmp_path, queue_url=url)).say_look(1.0)
        until(lambda: rounds.get(1, 1).state is RoundState.REFUSED)


def test_without_an_answering_queue_a_worker_looks_when_it_is_time(tmp_path, rounds):
    with worker(tmp_path, url="redis://127.0.0.1:1/0", look_s=0.5) as process:
        queue(rounds)
        until(lambda: rounds.get(1, 1).state is RoundState.REFUSED)
        assert "queue does not answer" in process.stderr.readline()


def test_a_worker_looks_again_when_something_becomes_due_and_not_only_after_its_minute(tmp_path, rounds):
    (tmp_path / "due in s").write_text("0.5")
    queue(rounds)
    with worker(tmp_path):
        until(lambda: rounds.get(1, 1).state is RoundState.REFUSED)
        queue(rounds)
        until(lambda: rounds.get(1, 2).state is RoundState.REFUSED)


def test_a_runner_that_fails_is_called_again(tmp_path, rounds):
    (tmp_path / "broken").touch()
    queue(rounds)
    with worker(tmp_path, look_s=0.2) as process:
        assert [process.stdout.readline().strip() for _ in range(2)] == ["broken", "broken"]
        (tmp_path / "broken").unlink()
        until(lambda: rounds.get(1, 1).state is RoundState.REFUSED)


def test_the_command_comes_up_looks_and_ends_politely(tmp_path, store, rounds):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASKWRIGHT_")}
    environment |= {"MASKWRIGHT_HOME": str(tmp_path), "MASKWRIGHT_TRAINING_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "maskwright.cli", "worker"], env=environment, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        queue(rounds)
        assert "looks for rounds" in process.stdout.readline()
        until(lambda: not rounds.get(1, 1).state.is_active)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, "Traceback" in told[1]) == (0, False)
    # There is nothing to learn from; what matters here is that it was run, and came to an end with a reason.
    assert rounds.get(1, 1).reason


def test_training_takes_half_of_the_cores_unless_told_otherwise():
    assert training_threads(Settings(_env_file=None)) == max(1, (os.cpu_count() or 1) // 2)
    settings = Settings(_env_file=None, training_threads=3, cpu_threads=7)
    assert training_threads(settings) == 3
    code = os.fork()  # niceness cannot be taken back
    if code == 0:
        os._exit(be_modest(settings).cpu_threads)
    assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 3
