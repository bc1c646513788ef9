"""Whoever runs a round may die at any moment: what is served is the old version or the new one, and the round ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskwright.learn.rounds.requests import queue_round
from maskwright.store.rounds import MOST_ATTEMPTS, RoundState

LEASE_S = 600.0
"""Longer than any test: a lease runs out when a test says so."""
SCRIPT = Path(__file__).with_name("round_process.py")


def start(home):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(home), str(LEASE_S)], stdout=subprocess.PIPE, text=True, env=environment
    )


def run_to_the_end(home):
    """What a process that nobody disturbs says on its way."""
    with start(home) as process:
        lines = process.stdout.readlines()
    assert process.returncode == 0
    return [json.loads(line) for line in lines]


def kill_after(home, lines, delay_s):
    """Kill a process some time after it said so many lines."""
    with start(home) as process:
        for _ in range(lines):
            if not process.stdout.readline():
                break
        time.sleep(delay_s)
        process.kill()


def let_leases_run_out(project):
    project.store.database.write(lambda connection: connection.exec_driver_sql("UPDATE rounds SET lease_until = 1"))


def check_served(project, number):
    """What is served is the base, or the whole of what the round promoted."""
    ended = project.workshop.rounds.get(project.row.id, number)
    served = project.workshop.served.current(project.row.id, "embedded")
    if ended.state is RoundState.PROMOTED:
        assert (served.adapter, served.round_number) == (ended.adapter, number)
        project.workshop.registry.adapters.read(served.adapter)
    else:
        assert served.adapter is None


def survive(project, points, seed):
    """Kill the process that runs a project's rounds at so many seeded moments."""
    project.learn(steps=4)
    folder = project.settings.home / "pictures"
    folder.mkdir()
    for source, content in project.files.items():
        (folder / Path(source).name).write_bytes(content)
    queue_round(project.workshop, project.row, trigger="tests", force=True)
    lines = len(run_to_the_end(project.settings.home))
    assert project.workshop.rounds.get(project.row.id, 1).state is RoundState.PROMOTED
    draw = random.Random(seed)
    killed, promoted = 0, 0
    while killed < points:
        if project.workshop.served.current(project.row.id, "embedded").adapter is not None:
            project.workshop.served.rollback(project.row.id, "embedded")
        asked, _ = queue_round(project.workshop, project.row, trigger="tests", force=True)
        for _ in range(min(points - killed, draw.choice([1, 1, 2]))):
            # Deaths some time after the last line fall into the promotion, or behind it.
            kill_after(project.settings.home, draw.randint(0, lines), draw.uniform(0, 0.3))
            killed += 1
            check_served(project, asked.number)
            let_leases_run_out(project)
        run_to_the_end(project.settings.home)
        ended = project.workshop.rounds.get(project.row.id, asked.number)
        assert not ended.state.is_active
        assert ended.reason
        assert ended.attempts <= MOST_ATTEMPTS
        check_served(project, asked.number)
        promoted += ended.state is RoundState.PROMOTED
        left = project.workshop.folder(project.row.id, asked.number)
        assert {path.suffix for path in left.iterdir()} <= {".png"}
        shutil.rmtree(left)
    assert promoted


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_round_that_is_killed_anywhere_ends_and_serves_the_old_or_the_new_version_whole(make_project):
    survive(make_project(pictures=4, held_out=2, objects=2), points=5, seed=7)
