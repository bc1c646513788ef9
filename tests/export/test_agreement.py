"""The figures of agreement are those of the textbooks, and add up however the work is divided."""

from __future__ import annotations

import json
import pickle

import pytest

from maskwright.export.agreement import Agreement, total
from maskwright.export.consensus import agreement
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (60, 60)


def box(x0: int, y0: int, x1: int, y1: int, label: str = "cat") -> Region:
    return Region(Mask.from_box((x0, y0, x1, y1), SIZE), label, 1.0, Provenance("person"))


def row(labels: str) -> list[Region]:
    """One object per letter, side by side."""
    return [box(6 * n, 0, 6 * n + 5, 5, letter) for n, letter in enumerate(labels)]


def test_people_who_draw_the_same_agree_wholly():
    found = agreement([row("ab"), row("ab")], ["x", "y"])
    assert (found.mean_iou, found.f1, found.class_agreement) == (1.0, 1.0, 1.0)
    assert found.fleiss_kappa == 1.0
    assert found.cohen_kappas == {("x", "y"): 1.0}
    assert found.dice == {"a": 1.0, "b": 1.0}


def test_missed_objects_lower_the_share_found_and_dice():
    found = agreement([row("aa"), row("a")], ["x", "y"])
    assert found.f1 == pytest.approx(2 / 3)
    assert found.dice == {"a": pytest.approx(2 * 25 / 75)}


def test_mean_iou_is_over_matched_objects():
    found = agreement([[box(0, 0, 10, 10)], [box(0, 0, 10, 8)]], ["x", "y"])
    assert found.mean_iou == pytest.approx(0.8)


def test_cohens_kappa_is_the_textbooks():
    # 10 objects: both a 4, both b 3, x a and y b 2, x b and y a 1: po = .7, pe = .6 * .5 + .4 * .5 = .5
    found = agreement([row("aaaaaabbbb"), row("aaaabbabbb")], ["x", "y"])
    assert found.cohen_kappas == {("x", "y"): pytest.approx(0.4)}
    assert found.class_agreement == pytest.approx(0.7)


def test_the_order_of_people_does_not_change_their_table():
    one = agreement([row("aab"), row("abb")], ["x", "y"])
    other = agreement([row("abb"), row("aab")], ["y", "x"])
    assert one == other


def test_fleiss_kappa_is_the_textbooks_for_three_people():
    # Objects: aaa, aab, bbb: P = (1 + 1/3 + 1) / 3 = 7/9; p = (5/9, 4/9), Pe = 41/81.
    found = agreement([row("aab"), row("aab"), row("abb")], ["x", "y", "z"])
    assert found.fleiss_kappa == pytest.approx((7 / 9 - 41 / 81) / (1 - 41 / 81))
    assert found.comparisons == 3


def test_kappa_is_not_defined_where_everything_is_one_class():
    found = agreement([row("aa"), row("aa")], ["x", "y"])
    assert found.fleiss_kappa is None
    assert found.cohen_kappas == {}
    nothing = agreement([[], []], ["x", "y"])
    assert nothing.f1 is None
    assert nothing.mean_iou is None
    assert nothing.class_agreement is None
    assert nothing.images == 1


def test_parts_add_up_to_the_same_bytes_in_any_grouping():
    parts = [
        agreement([row("ab"), row("bb")], ["x", "y"]),
        agreement([[box(0, 0, 10, 10)], [box(0, 1, 10, 11)], [box(1, 0, 11, 10, "b")]], ["x", "z", "y"]),
        agreement([row("ab"), []], ["z", "y"]),
    ]
    whole = total(parts)
    assert whole == parts[2] + (parts[1] + parts[0]) == (parts[0] + parts[1]) + parts[2]
    assert whole.images == 3
    again = Agreement.from_json(json.loads(json.dumps(whole.to_json())))
    assert again == whole == pickle.loads(pickle.dumps(whole))
    assert json.dumps(again.to_json()) == json.dumps((parts[2] + parts[1] + parts[0]).to_json())
