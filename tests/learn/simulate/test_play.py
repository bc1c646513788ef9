"""A play is counted round by round, and goes on where it stopped."""

from __future__ import annotations

import json

import pytest

from maskwright.errors import InvalidInput
from maskwright.learn.simulate.figures import Figures, hold_out
from maskwright.learn.simulate.play import Plan, TrainingEnd, play


class Loop:
    """Chooses in order, promotes every second round, and gets better with it."""

    def __init__(self, platform):
        self.platform, self.measured = platform, 0

    def choose(self, waiting, annotated, count):
        assert not {*waiting} & {*annotated}
        return list(waiting)[:count]

    def train(self, number):
        taken = number % 2 == 0
        return TrainingEnd("promoted" if taken else "refused", f"reason {number}", taken)

    def measure(self):
        self.measured += 1
        return Figures(3, 9, 10.0 / self.measured, 0.1, 0.7, 0.8)


@pytest.fixture
def played(tmp_path, make_platform, make_region):
    truths = {task: (make_region(6, 6, 12, 12),) for task in range(1, 8)}

    def start(rounds=3, batch=2, platform=None, **about):
        platform = platform or make_platform(list(truths[1]))
        loop = Loop(platform)
        plan = Plan(rounds, batch, truths, about)
        return platform, loop, play(plan, platform, loop, tmp_path / "play")

    return start


def test_every_round_tells_what_was_done_and_what_it_led_to(played):
    platform, loop, rounds = played()
    found = list(rounds)
    assert [one["images_labelled"] for one in found] == [0, 2, 4, 6]
    assert [one["verdict"] for one in found] == ["", "refused", "promoted", "refused"]
    assert [one["clicks_per_object"] for one in found] == [10, 10, 5, 5], "what is not served changes no figure"
    assert loop.measured == 2
    assert platform.trainings == 3
    assert [one["tasks"] for one in found] == [[], [1, 2], [3, 4], [5, 6]]
    assert found[1]["annotator"]["clicks_per_object"] == 1
    for one in found:
        assert {"round", "images_labelled", "clicks_per_object", "iou_1", "iou_box", "seconds", "verdict"} <= {*one}
        assert one["seconds"] == pytest.approx(sum(one["seconds_of"].values()))
        json.dumps(one, allow_nan=False)


def test_a_play_ends_when_no_image_is_left(played):
    _, _, rounds = played(rounds=9, batch=4)
    assert [one["images_labelled"] for one in rounds] == [0, 4, 7]


def test_a_play_that_was_killed_goes_on_with_the_next_task(played):
    platform, _, rounds = played(batch=3)
    next(rounds), next(rounds)

    def cut_off(task, regions, lead_seconds, submit=platform.submit):
        if task == 5:
            raise KeyboardInterrupt
        submit(task, regions, lead_seconds)

    platform.submit = cut_off
    with pytest.raises(KeyboardInterrupt):
        next(rounds)
    del platform.submit
    platform.opened.clear()
    _, loop, again = played(batch=3, platform=platform)
    assert [one["images_labelled"] for one in again] == [0, 3, 6, 7]
    assert platform.opened == [5, 6, 7], "what was submitted is not annotated again"
    assert loop.measured == 1, "what was measured is not measured again"


def test_more_rounds_may_be_added_later(played):
    assert len([*played(rounds=1)[2]]) == 2
    platform, _, rounds = played(rounds=2)
    assert [one["round"] for one in rounds] == [0, 1, 2]
    assert platform.opened == [3, 4]


def test_two_plays_do_not_mix_in_one_folder(played):
    list(played(seed=0)[2])
    with pytest.raises(InvalidInput, match="another seed"):
        list(played(seed=1)[2])


def test_a_play_needs_rounds_and_images(played):
    with pytest.raises(InvalidInput, match="at least 1"):
        played(rounds=0)


def test_the_test_part_follows_from_the_seed_and_leaves_something_to_learn_from():
    names = [f"{n}.png" for n in range(40)]
    parts = [hold_out(names, 0.3, seed) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] == hold_out(names[::-1], 0.3, 0)
    assert parts[0] != parts[2]
    assert len(parts[0]) == 12
    for share in (0, 1, 0.99):
        with pytest.raises(InvalidInput):
            hold_out(names, share, 0)
