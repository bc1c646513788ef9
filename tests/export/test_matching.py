"""Which objects of several people are the same."""

from __future__ import annotations

import random

from maskwright.export.matching import match, match_pair
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (60, 60)


def box(x0: int, y0: int, x1: int, y1: int, label: str = "cat") -> Region:
    return Region(Mask.from_box((x0, y0, x1, y1), SIZE), label, 1.0, Provenance("person"))


def test_objects_pair_up_by_overlap_and_strangers_stay_alone():
    first, second = [box(0, 0, 10, 10), box(30, 30, 40, 40)], [box(30, 31, 40, 41), box(50, 0, 55, 5)]
    assert [(i, j) for i, j, _ in match_pair(first, second)] == [(1, 0)]
    assert match_pair(first, []) == [] == match_pair([], second)


def test_exactly_half_overlap_is_a_match_and_less_is_none():
    assert match_pair([box(0, 0, 10, 10)], [box(0, 0, 10, 20)]) == [(0, 0, 0.5)]
    assert match_pair([box(0, 0, 10, 10)], [box(0, 0, 10, 21)]) == []


def test_the_best_pairing_overall_wins_not_the_first_best_pair():
    # Greedy would take (0, 0) with 0.94 and leave the others alone; 0.62 + 0.64 is better.
    first = [box(0, 0, 50, 5), box(0, 0, 30, 5)]
    second = [box(0, 0, 47, 5), box(19, 0, 50, 5)]
    assert {(i, j) for i, j, _ in match_pair(first, second)} == {(0, 1), (1, 0)}


def test_of_equal_overlaps_the_pairing_with_equal_classes_is_taken():
    first = [box(0, 0, 10, 10, "shirt"), box(0, 0, 10, 10, "person")]
    second = [box(0, 0, 10, 10, "person"), box(0, 0, 10, 10, "shirt")]
    assert {(i, j) for i, j, _ in match_pair(first, second)} == {(0, 1), (1, 0)}


def test_a_group_never_holds_two_objects_of_one_person():
    people = [
        [box(0, 0, 10, 10), box(4, 0, 14, 10)],
        [box(2, 0, 12, 10)],
        [box(1, 0, 11, 10), box(3, 0, 13, 10)],
    ]
    groups = match(people).groups
    members = [member for group in groups for member in group.items()]
    assert len(members) == len(set(members)) == 5


def test_groups_do_not_depend_on_the_order_of_people():
    rng = random.Random(5)
    people = []
    for _ in range(4):
        people.append([box(x + rng.randint(-2, 2), 5, x + 12 + rng.randint(-2, 2), 20) for x in (3, 20, 40)])

    def as_masks(order: list[int]) -> set[frozenset[Mask]]:
        groups = match([people[n] for n in order]).groups
        return {frozenset(people[order[p]][i].mask for p, i in group.items()) for group in groups}

    expected = as_masks([0, 1, 2, 3])
    assert expected == as_masks([3, 1, 0, 2]) == as_masks([2, 3, 1, 0])
