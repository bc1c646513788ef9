"""Who runs rounds, and who answers people, may die at any moment: clicks get the old version or the new, rounds end."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from maskwright.learn.rounds.requests import queue_round
from maskwright.store.rounds import MOST_ATTEMPTS, RoundState

LEASE_S = 600.0
"""Longer than any test: a lease runs out when a test says so."""
SCRIPT = Path(__file__).with_name("round_process.py")
VICTIMS = (("worker",), ("server",), ("worker", "server"))

_spec = importlib.util.spec_from_file_location("click_server", Path(__file__).with_name("click_server.py"))
clicks = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = clicks
_spec.loader.exec_module(clicks)


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


def let_leases_run_out(project):
    project.store.database.write(lambda connection: connection.exec_driver_sql("UPDATE rounds SET lease_until = 1"))


def disturb(project, server, lines, draw):
    """Kill who works, who answers, or both, at a drawn moment at which a person clicks and perhaps changes the version.

    Returns:
        Who died; the answer to the click; whether the change was acknowledged. None for what was not answered.
    """
    # A quarter of the deaths comes behind the last line, most of them at once: they fall into the promotion.
    victims, line, changes = draw.choice(VICTIMS), min(draw.randint(0, lines * 4 // 3), lines), draw.random() < 0.5
    pause_s, delay_s = 0.3 * draw.random() ** 3, draw.uniform(0, 0.1)
    change = server.change() if changes else lambda: None
    with start(project.settings.home) as worker, ThreadPoolExecutor() as people:
        for _ in range(line):
            if not worker.stdout.readline():
                break
        time.sleep(pause_s)
        if "worker" in victims:
            worker.kill()
        asked = [people.submit(server.click), people.submit(change)]
        time.sleep(delay_s)
        if "server" in victims:
            server.kill()
        worker.stdout.read()  # who was spared works on
    answers = []
    for one in asked:
        try:
            answers.append(one.result())
        except httpx.TransportError:
            assert "server" in victims
            answers.append(None)
    return victims, *answers


def check_served(project, server, number, before):
    """What is served is the base, or all of what was put in its place; the versions that came since ``before``."""
    ended = project.workshop.rounds.get(project.row.id, number)
    history = project.workshop.served.history(project.row.id)
    by_round = [one.adapter for one in history if one.round_number == number and one.reason not in clicks.BY_HAND]
    assert by_round == ([ended.adapter] if ended.state is RoundState.PROMOTED else []), "both or neither"
    assert server.click() == server.whole(history[-1])
    return history[len(before) :]


def survive_once(project, server, number, lines, draw):
    """Whoever is killed, the version is the old or the new one before and after; who was killed."""
    before = project.workshop.served.history(project.row.id)
    victims, answer, acknowledged = disturb(project, server, lines, draw)
    if not server.is_up:
        server.start()
    new = check_served(project, server, number, before)
    assert answer in (None, *(server.whole(one) for one in (before[-1], *new)))
    by_hand = [one for one in new if one.reason in clicks.BY_HAND]
    assert len(by_hand) <= 1
    assert by_hand or not acknowledged, "what was acknowledged stays"
    let_leases_run_out(project)
    return victims


def check_ended(project, server, number, before):
    """The round has come to an end, with a reason, and was promoted unless a person chose another version meanwhile."""
    ended = project.workshop.rounds.get(project.row.id, number)
    assert not ended.state.is_active
    assert ended.reason
    assert ended.attempts <= MOST_ATTEMPTS
    new = check_served(project, server, number, before)
    assert ended.state is RoundState.PROMOTED or any(one.reason in clicks.BY_HAND for one in new), ended.reason
    left = project.workshop.folder(project.row.id, number)
    assert {path.suffix for path in left.iterdir()} <= {".png"}
    shutil.rmtree(left)


def survive(project, points, seed):
    """Kill who runs a project's rounds, its server, or both, at so many seeded moments; how often which."""
    project.learn(steps=12)
    folder = project.settings.home / "pictures"
    folder.mkdir()
    for source, content in project.files.items():
        (folder / Path(source).name).write_bytes(content)
    queue_round(project.workshop, project.row, trigger="tests", force=True)
    lines = len(run_to_the_end(project.settings.home))
    assert project.workshop.rounds.get(project.row.id, 1).state is RoundState.PROMOTED
    served, draw, killed, left = project.workshop.served, random.Random(seed), Counter(), points
    with clicks.ClickServer(project) as server:
        server.set_up()
        assert server.whole(None)[1] != server.whole(served.current(project.row.id, "embedded"))[1]
        while left:
            while (present := served.current(project.row.id, "embedded")).adapter is not None:
                assert server.click() == server.whole(present)
                assert server.change()()
            before = served.history(project.row.id)
            asked, _ = queue_round(project.workshop, project.row, trigger="tests", force=True)
            for _ in range(min(left, draw.choice([1, 1, 2]))):
                killed.update(survive_once(project, server, asked.number, lines, draw))
                left -= 1
            run_to_the_end(project.settings.home)
            check_ended(project, server, asked.number, before)
    return killed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whoever_is_killed_anywhere_rounds_end_and_clicks_get_the_old_or_the_new_version_whole(make_project):
    killed = survive(make_project(pictures=4, held_out=2, objects=2), points=3, seed=280)
    assert killed["worker"]
    assert killed["server"]
