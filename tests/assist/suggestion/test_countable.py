"""Which classes have objects that can be counted."""

import pytest

from maskwright.assist.suggestion.countable import countable_classes
from maskwright.labels import LabelClass, LabelSet


@pytest.mark.parametrize("name", ["sky", "Roads", "road marking", "Road-Marking", "side walk", "trees"])
def test_areas_are_known_by_their_usual_names(name):
    assert countable_classes(LabelSet.of([name, "car"]).classes, None) == ([False, True], [])


def test_an_alias_says_so_too():
    assert countable_classes((LabelClass("Himmel", aliases=("sky",)), LabelClass("Auto")), None)[0] == [False, True]


def test_a_projects_own_list_replaces_what_is_usual_and_says_what_it_does_not_know():
    classes = LabelSet.of(["sky", "nucleus", "stain"]).classes
    countable, unknown = countable_classes(classes, ("Stains", "glass"))
    assert countable == [True, True, False]
    assert unknown == ["'glass' shall have no countable objects, but is no class"]
    _, unknown = countable_classes(classes, ("glass" * 100, *map(str, range(1000))))
    assert [len(words) < 150 and "and 1000 more" in words for words in unknown] == [True]
