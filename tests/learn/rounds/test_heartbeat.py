"""Whoever watches a round sees at once what it is at."""

from __future__ import annotations

import time

from maskwright.learn.rounds import heartbeat
from maskwright.learn.rounds.heartbeat import Heartbeat


def test_another_stage_is_seen_at_once_however_seldom_progress_is_written(make_project, monkeypatch):
    monkeypatch.setattr(heartbeat, "TOLD_EVERY_S", 600.0)
    project = make_project(pictures=0, held_out=0)
    rounds = project.workshop.rounds
    made, _ = rounds.queue(project.row.id, trigger="tests", base="embedded", config={})
    rounds.claim("tests", 3600.0)
    with Heartbeat(rounds, made.id, "tests", 3600.0) as beat:
        for stage in ("data", "classes", "evaluating"):
            beat.steps(stage, 18)
            until = time.monotonic() + 60
            while rounds.get(project.row.id, 1).progress.get("stage") != stage:
                assert time.monotonic() < until, "it was not written"
                time.sleep(0.01)
        assert rounds.get(project.row.id, 1).progress == {"stage": "evaluating", "done": 0, "of": 18}
