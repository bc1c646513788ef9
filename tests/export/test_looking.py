"""Images are looked at several at a time; nothing of that shows in what comes out."""

from __future__ import annotations

import threading
import time

import pytest

from maskwright.annotated import AnnotatedTask, TaskImage
from maskwright.errors import NotFound
from maskwright.export.grouping import share_out
from maskwright.export.looking import THREADS, look_at_all
from maskwright.export.splits import SplitRule
from maskwright.images.similar import Fingerprint


def test_images_are_fetched_side_by_side_and_told_in_their_order():
    together = threading.Barrier(THREADS, timeout=20)

    def look(source: str, task: str) -> Fingerprint:
        if int(source) < THREADS:
            together.wait()  # passes only when all threads are here
        time.sleep(0.002 * (int(source) % 3))
        if int(source) % 10 == 4:
            raise NotFound(f"there is no {source}")
        return Fingerprint(f"{source} of {task}", None)

    found = list(look_at_all(((str(n), f"t{n}") for n in range(200)), look))
    assert [one.source for one in found] == [str(n) for n in range(200)]
    assert [one.reason for one in found if one.fingerprint is None][:2] == ["there is no 4", "there is no 14"]
    assert found[7].fingerprint == Fingerprint("7 of t7", None)


def test_tasks_are_read_only_as_far_ahead_as_needed_and_an_image_of_two_tasks_is_fetched_once():
    read, asked = [], []

    def images():
        for n in range(1000):
            read.append(n)
            yield str(n // 2), str(n)

    def look(source: str, task: str) -> Fingerprint:
        asked.append(source)
        return Fingerprint(source, None)

    results = look_at_all(images(), look)
    next(results)
    assert len(read) < 100
    assert len(list(results)) == 999
    assert sorted(asked, key=int) == [str(n) for n in range(500)]


def test_a_fault_or_an_interruption_ends_it_at_once():
    asked = []

    def look(source: str, task: str) -> Fingerprint:
        asked.append(source)
        if source == "3":
            raise KeyError("a mistake of ours")
        time.sleep(0.005)
        return Fingerprint(source, None)

    with pytest.raises(KeyError):
        list(look_at_all(((str(n), "t") for n in range(5000)), look))
    assert len(asked) < 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("look")]


def test_progress_is_told_after_every_image_with_how_many_are_missing():
    def look(source: str, task: str) -> Fingerprint:
        if source == "1.png":
            raise NotFound("it is not there")
        return Fingerprint(source, None)

    tasks = [AnnotatedTask("3", str(n), {}, (TaskImage("image", 0, f"{n}.png"),), ()) for n in range(4)]
    told: list[tuple[int, int]] = []
    shared = share_out(tasks, SplitRule.parse("train=1"), look, lambda *counts: told.append(counts))
    assert told == [(1, 0), (2, 1), (3, 1), (4, 1)]
    assert shared.first_unseen == "task 1, '1.png': it is not there"
