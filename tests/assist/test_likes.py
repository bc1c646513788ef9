"""What people have outlined decides over what was proposed without it."""

from __future__ import annotations

import pytest

from maskwright.assist.likes import with_likes
from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (100, 100)
MADE = Provenance("preannotation", "m")


def region(label: str, score: float, *box: int) -> Region:
    return Region(Mask.from_box(box, SIZE), label, score, MADE)


def shown(found: Preannotation) -> list[tuple[str | None, float]]:
    return [(one.label, one.score) for one in found.regions]


def test_the_same_thing_gets_the_class_of_the_example_and_other_things_stay():
    proposed = (region("cat", 0.9, 0, 0, 20, 20), region("dog", 0.8, 50, 50, 80, 80))
    found = with_likes(Preannotation(proposed, 0.85, "m"), [region("bolt", 0.5, 1, 0, 20, 20)], PreannotationOptions())
    assert shown(found) == [("dog", 0.8), ("bolt", 0.5)]
    assert found.score == pytest.approx(0.65)


def test_of_likes_of_two_classes_that_are_one_thing_the_better_stays():
    likes = [region("bolt", 0.5, 0, 0, 20, 20), region("nut", 0.7, 0, 0, 21, 20)]
    found = with_likes(Preannotation((), 1.0, "m"), likes, PreannotationOptions())
    assert shown(found) == [("nut", 0.7)]


def test_pixels_that_a_like_and_another_class_claim_are_the_likes():
    likes = [region("bolt", 0.4, 0, 0, 20, 20)]
    found = with_likes(Preannotation((region("wall", 0.9, 0, 0, 60, 60),), 0.9, "m"), likes, PreannotationOptions())
    wall, bolt = found.regions
    assert bolt.mask.area == 400
    assert wall.mask.area == 3600 - 400


def test_what_a_project_limits_is_limited_and_problems_are_told_once():
    likes = [region("bolt", 0.4, 0, 0, 4, 4), *(region("bolt", 0.6, x, 50, x + 20, 70) for x in (0, 30, 60))]
    limits = PreannotationOptions(min_area=64, max_regions=2)
    found = with_likes(Preannotation((), 1.0, "m", problems=("slow",)), likes, limits, ("slow", "no picture"))
    assert len(found.regions) == 2
    assert found.problems == ("slow", "no picture")


def test_without_likes_nothing_changes():
    overlapping = (region("cat", 0.9, 0, 0, 20, 20), region("sofa", 0.8, 0, 0, 60, 60))
    before = Preannotation(overlapping, 0.7, "m")
    found = with_likes(before, [], PreannotationOptions(), ("slow",))
    assert (found.regions, found.score, found.problems) == (before.regions, 0.7, ("slow",))


def test_likes_keep_to_what_the_regions_mean():
    before = Preannotation((region("road", 0.9, 0, 0, 60, 60),), 0.9, "m")
    likes = [region("road", 0.4, 50, 0, 80, 60), region("road", 0.3, 0, 70, 80, 80)]
    apart = with_likes(before, likes, PreannotationOptions(), output="panoptic").regions
    assert len(apart) == 3
    assert sum(one.mask.area for one in apart) == 80 * 60 + 80 * 10
    (one,) = with_likes(before, likes, PreannotationOptions(), output="semantic").regions
    assert (one.mask.area, one.score) == (80 * 60 + 80 * 10, 0.9)
    overlapping = with_likes(before, likes, PreannotationOptions(), output="instance").regions
    assert sum(one.mask.area for one in overlapping) == 60 * 60 + 30 * 60 + 80 * 10
