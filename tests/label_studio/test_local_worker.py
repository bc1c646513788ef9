from __future__ import annotations

import time

from maskwright.store.database import Database
from maskwright.store.workers import WorkerRegister
from maskwright_label_studio.local_worker import LocalWorker


def test_a_worker_runs_beside_the_backend_for_as_long_as_it_is_wanted(tmp_path):
    with LocalWorker(tmp_path / "worker", settings={"MASKWRIGHT_HOME": str(tmp_path)}) as worker:
        register = WorkerRegister(Database(path=tmp_path / "corrections.sqlite3"))
        deadline = time.monotonic() + 100
        while register.silent_for() is None:
            assert worker.is_running
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert not worker.is_running
    assert register.silent_for() is None
    assert sorted(path.name for path in (tmp_path / "worker").iterdir()) == ["worker.log"]


def test_settings_that_cannot_be_are_told_by_its_log(tmp_path):
    with LocalWorker(
        tmp_path / "worker", settings={"MASKWRIGHT_HOME": str(tmp_path), "MASKWRIGHT_PORT": "x"}
    ) as worker:
        deadline = time.monotonic() + 100
        while worker.is_running:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert "MASKWRIGHT_PORT" in (tmp_path / "worker" / "worker.log").read_text()
