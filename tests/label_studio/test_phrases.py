"""Whether a text names things or asks for more of the same, and of which class."""

from __future__ import annotations

import pytest

from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.phrases import Wish, meant_class, wish_of

LABELS = LabelSet(
    (LabelClass("Bench"), LabelClass("Dog", ("puppy",)), LabelClass("Traffic light"), LabelClass("Light"))
)


@pytest.mark.parametrize(
    ("phrase", "label"),
    [
        ("similar", None), ("Find similar ones!", None), ("all similar dogs", "Dog"), ("similar: puppies", "Dog"),
        ("more like this", None), ("more of these", None), ("similar traffic-lights", "Traffic light"),
        ("show all the similar things", None),
    ],
)  # fmt: skip
def test_wishes_for_more_of_the_same(phrase, label):
    assert wish_of(phrase, LABELS) == Wish(label)


@pytest.mark.parametrize("phrase", ["dog", "similar looking houses", "the dog similar to this", "dissimilar", "houses"])
def test_phrases_that_name_things_are_no_wishes(phrase):
    assert wish_of(phrase, LABELS) is None


def test_a_class_that_is_called_like_a_wish_is_a_class():
    assert wish_of("similar", LabelSet.of(["Similar"])) is None


@pytest.mark.parametrize(
    ("phrase", "label"),
    [
        ("dogs", "Dog"), ("the second puppy from the left", "Dog"), ("the dog next to the bench", "Dog"),
        ("the left traffic light", "Traffic light"), ("red light", "Light"), ("dog with a light", "Dog"),
        ("a light on a dog", "Light"), ("sheepdogs", None), ("the left one", None), ("cat", None),
    ],
)  # fmt: skip
def test_a_phrase_is_of_the_class_that_its_noun_says(phrase, label):
    found = meant_class(phrase, LABELS)
    assert (found.name if found is not None else None) == label
