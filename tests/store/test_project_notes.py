"""Notes and priorities of projects, and which workers are there."""

from __future__ import annotations

import pytest

from maskwright.errors import InvalidInput
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.workers import WorkerRegister

from .conftest import PLATFORM, SERVER


def test_a_note_is_what_was_put_last_under_its_name(database, store, project):
    notes, other = ProjectNotes(database), store.project(PLATFORM, SERVER, 8).id
    assert notes.get(project, "learning") is None
    notes.put(project, "learning", {"mode": "assisted", "ä": [1, 2.5, None]})
    notes.put(project, "cost", [1])
    notes.put(other, "learning", "theirs")
    assert notes.get(project, "learning") == {"mode": "assisted", "ä": [1, 2.5, None]}
    notes.put(project, "learning", False)
    assert notes.get(project, "learning") is False
    assert (notes.get(project, "cost"), notes.get(other, "learning")) == ([1], "theirs")
    with pytest.raises(InvalidInput, match="name of a note"):
        notes.put(project, "x" * 65, 1)


def test_priorities_come_back_in_the_order_of_the_queue(database, project):
    kept = PriorityStore(database)
    rows = [
        Priority(1, 0.5, {"entropy": 0.25}, [0.5, -1.0, 2.0], {"regions": 3}, "m-1"),
        Priority(2, None),
        Priority(3, -1.0),
        Priority(4, 0.5),
    ]
    kept.put(project, rows)
    kept.put(project, [])
    found = kept.list(project)
    assert [one.task_number for one in found] == [2, 3, 1, 4]
    first = found[2]
    assert (first.signals, first.effort, first.model_version) == ({"entropy": 0.25}, {"regions": 3}, "m-1")
    assert first.feature.tolist() == [0.5, -1.0, 2.0]
    assert first.feature.nbytes == 12, "boxed numbers would take ten times as much"
    assert first.updated_at
    assert [one.task_number for one in kept.list(project, limit=2, offset=1)] == [3, 1]
    assert kept.list(project + 1) == []


def test_a_priority_replaces_that_of_its_task_and_can_be_forgotten(database, project):
    kept = PriorityStore(database)
    kept.put(project, [Priority(n, n / 1000, feature=[1.0]) for n in range(1200)])
    kept.put(project, [Priority(5, -1.0, {"bald": float("nan"), "entropy": 1.0}, model_version="m-2")])
    first = kept.list(project, limit=1)[0]
    assert (first.task_number, first.feature, first.signals, first.model_version) == (5, None, {"entropy": 1.0}, "m-2")
    kept.forget(project, iter(range(1100)))
    assert len(kept.list(project)) == 100
    with pytest.raises(InvalidInput, match="task 7: nan"):
        kept.put(project, [Priority(7, float("nan"))])


def test_a_worker_is_known_while_it_says_so(database):
    register = WorkerRegister(database)
    assert register.silent_for() is None
    register.seen("a")
    register.seen("a")
    register.seen("b")
    assert register.silent_for() < 60
    register.gone("a")
    assert register.silent_for() is not None
    register.gone("b")
    assert register.silent_for() is None
