"""Splits are the same everywhere, hold their proportions, keep groups together, and stay when tasks are added."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction

import pytest

from maskwright.annotated import AnnotatedTask, TaskImage
from maskwright.errors import InvalidInput, NotFound
from maskwright.export.grouping import share_out
from maskwright.export.splits import SplitRule, leaders, natural_order, task_name
from maskwright.images.similar import Fingerprint

RULE = SplitRule.parse("train=0.8,val=0.1,test=0.1,seed=0", "task")


def task(number: int, source: str = "", **data: object) -> AnnotatedTask:
    image = TaskImage("image", 0, source or f"{number}.png", (4, 4))
    return AnnotatedTask("3", str(number), data, (image,), ())


def look_of(pictures: dict[str, int]):
    """Fingerprints that are far apart, the same for addresses that show the same picture."""

    def look(source: str, task: str) -> Fingerprint:
        picture = pictures.get(source)
        if picture is None:
            raise NotFound("it is not there")
        return Fingerprint(source, picture * 0x9E3779B97F4A7C15 % 2**64, picture.to_bytes(32, "big") * 1)

    return look


def test_a_rule_reads_as_it_is_written():
    rule = SplitRule.parse("test=0.25, train=3/4, seed=7", "field:patient")
    assert rule.shares == (("train", Fraction(3, 4)), ("test", Fraction(1, 4)))
    assert (rule.seed, rule.field) == (7, "patient")
    assert SplitRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("train=0.8", "task"), ("train=0.8,val=0.3", "task"), ("train=1.5,val=-0.5", "task"), ("train=x", "task"),
        ("train=1/0", "task"), ("dev=1", "task"), ("train=0.5,train=0.5", "task"), ("train=1,seed=a", "task"),
        ("", "task"), ("train=1", "colour"), ("train=1", "field:"),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(text: str, by: str):
    with pytest.raises(InvalidInput):
        SplitRule.parse(text, by)


def test_decimal_shares_add_up_exactly():
    SplitRule.parse("train=0.7,val=0.2,test=0.1")


def test_proportions_hold_and_the_parts_are_known_for_ever():
    parts = [RULE.split_of(task_name("3", str(n))) for n in range(10_000)]
    counts = Counter(parts)
    assert abs(counts["train"] - 8000) < 150
    assert abs(counts["val"] - 1000) < 120
    assert abs(counts["test"] - 1000) < 120
    # Written down once: should the rule change, everybody's test sets would leak.
    assert [n for n in range(30) if parts[n] == "val"] == [0, 13, 15, 21, 24]
    assert [n for n in range(30) if parts[n] == "test"] == []


def test_another_seed_gives_other_parts():
    other = SplitRule.parse("train=0.8,val=0.1,test=0.1,seed=1", "task")
    names = [task_name("3", str(n)) for n in range(200)]
    assert [RULE.split_of(n) for n in names] != [other.split_of(n) for n in names]


def test_later_tasks_come_later_in_the_natural_order():
    assert sorted(["3/10", "3/9", "20/1", "3/100"], key=natural_order) == ["3/9", "3/10", "3/100", "20/1"]
    sorted(["a", "", "1", "a1", "1a", "x/é", "²"], key=natural_order)


def test_near_duplicates_never_straddle_a_split():
    content = SplitRule.parse("train=0.5,val=0.5")
    pictures = {f"{n}.png": n // 4 for n in range(400)}
    shared = share_out([task(n) for n in range(400)], content, look_of(pictures))
    for n in range(0, 400, 4):
        assert len({shared.parts[str(m)] for m in range(n, n + 4)}) == 1
    assert shared.groups == 100
    assert shared.largest == 4
    assert set(shared.parts.values()) == {"train", "val"}
    assert shared.warnings == ()


def test_adding_tasks_moves_none_of_the_old_ones():
    content = SplitRule.parse("train=0.5,val=0.5")
    pictures = {f"{n}.png": n % 60 for n in range(300)}
    few = share_out([task(n) for n in range(100)], content, look_of(pictures)).parts
    many = share_out([task(n) for n in range(300)], content, look_of(pictures)).parts
    assert {key: many[key] for key in few} == few
    shuffled = share_out([task(n) for n in reversed(range(300))], content, look_of(pictures)).parts
    assert shuffled == many


def test_a_task_that_joins_two_groups_pulls_the_younger_to_the_older():
    names = ["3/1", "3/2", "3/10"]
    assert leaders(names, [["3/10", "3/2"], ["3/10", "3/1"]]) == dict.fromkeys(names, "3/1")
    assert leaders(names, [["3/10", "3/2"]]) == {"3/1": "3/1", "3/2": "3/2", "3/10": "3/2"}


def test_all_images_of_a_task_stay_together():
    two = AnnotatedTask("3", "1", {}, (TaskImage("a", 0, "x", None), TaskImage("b", 0, "y", None)), ())
    content = SplitRule.parse("train=0.5,val=0.5")
    shared = share_out([two, task(2, "x"), task(3, "y")], content, look_of({"x": 1, "y": 2}))
    assert len(set(shared.parts.values())) == 1
    assert shared.groups == 1


def test_tasks_with_the_same_value_of_a_field_stay_together():
    rule = SplitRule.parse("train=0.5,val=0.5", "field:patient")
    shared = share_out([task(n, patient=n % 30) for n in range(300)], rule)
    for n in range(30):
        assert len({shared.parts[str(m)] for m in range(n, 300, 30)}) == 1
    assert set(shared.parts.values()) == {"train", "val"}
    assert shared.groups == 30


def test_a_task_without_the_field_is_named():
    rule = SplitRule.parse("train=0.5,val=0.5", "field:patient")
    with pytest.raises(InvalidInput, match="task 5 has no 'patient' to split by; its fields are: image"):
        share_out([task(5, image="x.png")], rule)


def test_content_needs_images_and_tells_of_those_it_did_not_see():
    content = SplitRule.parse("train=1")
    with pytest.raises(InvalidInput, match="needs the images"):
        share_out([task(1)], content)
    shared = share_out([task(1), task(2)], content, look_of({"1.png": 1}))
    assert shared.unseen == 1
    assert "1 images could not be looked at" in shared.warnings[0]
    assert "task 2, '2.png': it is not there" in shared.warnings[0]


def test_shares_that_groups_make_impossible_are_told():
    content = SplitRule.parse("train=0.5,val=0.5")
    pictures = {f"{n}.png": min(n, 2) for n in range(10)}
    (warning,) = share_out([task(n) for n in range(10)], content, look_of(pictures)).warnings
    assert "instead of 50%" in warning
    assert "only 3 groups that stay together, the largest of 8 tasks" in warning
