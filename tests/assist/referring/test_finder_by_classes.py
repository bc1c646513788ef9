"""Phrases for a project's classes are answered by what pre-annotation sees of the image."""

from __future__ import annotations

import pytest

from maskwright.assist.refer import refer_regions
from maskwright.assist.referring.finders import finder_by_classes
from maskwright.assist.referring.resolve import Found
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (40, 100)
LEFT, RIGHT, CUP = (Mask.from_box((x, 5, x + 20, 30), SIZE) for x in (5, 40, 75))
SPOON = Mask.from_box((0, 32, 90, 38), SIZE)
LABELS = LabelSet((LabelClass("coin", aliases=("penny",)), LabelClass("cup"), LabelClass("plate")))


@pytest.fixture
def find():
    def looks(words):
        return [Found(SPOON, 0.6)] if "spoon" in words else []

    def regions():
        made_by = Provenance("preannotation", "v")
        seen = [(LEFT, "coin", 0.3), (RIGHT, "coin", 0.7), (CUP, "cup", 0.9)]
        return [Region(mask, label, score, made_by) for mask, label, score in seen]

    return finder_by_classes(LABELS, regions, looks)


@pytest.mark.parametrize(
    ("phrase", "meant"),
    [
        ("all coins", [RIGHT, LEFT]),
        ("the left coin", [LEFT]),
        ("the right penny", [RIGHT]),
        ("the cup", [CUP]),
        ("a cup", [CUP]),
        ("the coin next to the cup", [RIGHT]),
    ],
)
def test_a_phrase_names_members_of_a_class_as_pre_annotation_sees_them(find, phrase, meant):
    assert [region.mask for region in refer_regions(phrase, find, SIZE).regions] == meant


def test_what_is_no_class_is_looked_for_as_ever(find):
    assert [region.mask for region in refer_regions("spoon", find, SIZE).regions] == [SPOON]


def test_a_class_that_pre_annotation_does_not_see_is_looked_for_too(find):
    found = refer_regions("plate", find, SIZE)
    assert found.regions == ()
    assert "nothing was found" in found.reasons[0]


def test_nothing_is_pre_annotated_for_other_words():
    def refused():
        raise AssertionError("asked in vain")

    find = finder_by_classes(LABELS, refused, lambda words: [Found(SPOON, 0.6)])
    assert find(("spoon",))
