"""What /health and /metrics say of rounds and workers: lately true, and never waited for."""

from __future__ import annotations

import threading
import time

import pytest

from maskwright.errors import Unreachable
from maskwright.server.learning_state import LearningState
from maskwright.store.corrections import open_store
from maskwright.store.rounds import RoundStore
from maskwright.store.workers import WorkerRegister


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def known(state):
    deadline = time.monotonic() + 30
    while not (found := state()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_rounds_and_workers_are_counted(store):
    rounds = RoundStore(store.database)
    for number in (1, 2):
        project = store.project("label-studio", "http://x", number).id
        rounds.queue(project, trigger="t", base="embedded", config={})
    assert known(LearningState(lambda: store)) == {"queued": 2, "running": 0, "worker": False}
    rounds.claim("w", 60)
    WorkerRegister(store.database).seen("w")
    assert known(LearningState(lambda: store)) == {"queued": 1, "running": 1, "worker": True}


def test_a_store_that_hangs_or_fails_keeps_nobody_waiting(store):
    released, asked = threading.Event(), []

    def hang():
        asked.append(1)
        released.wait(30)
        raise Unreachable("no store")

    state = LearningState(hang)
    assert [state() for _ in range(100)] == [{}] * 100
    assert len(asked) == 1
    released.set()
    assert state() == {}


def test_the_routes_tell(make_app):
    client = make_app().test_client()
    deadline = time.monotonic() + 30
    while not client.get("/health").json["learning"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.get("/health").json["learning"] == {"queued": 0, "running": 0, "worker": False}
    assert "maskwright_learning_queued 0.0" in client.get("/metrics").text
