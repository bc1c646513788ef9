"""Words of models are classes whatever their case, hyphens, gaps and number; other words are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.assist.suggestion.names import ClassNames, find_run, keys, plain
from maskwright.labels import LabelClass, LabelSet

NAMES = ClassNames(
    LabelSet(
        (
            LabelClass("background"),
            LabelClass("Person", ("person", "pedestrian")),
            LabelClass("traffic light"),
            LabelClass("pottedplant"),
            LabelClass("bus"),
            LabelClass("glass"),
            LabelClass("glasses"),
            LabelClass("knife"),
            LabelClass("犬"),
            LabelClass("की"),
        )
    )
)


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("person", "Person"), ("PEDESTRIANS", "Person"), ("people", "Person"), ("a person.", "Person"),
        ("Traffic-Lights", "traffic light"), ("traffic_light", "traffic light"), ("trafficlight", "traffic light"),
        ("potted plants", "pottedplant"), ("buses", "bus"), ("glasses", "glasses"), ("Glass", "glass"),
        ("knives", "knife"), ("犬", "犬"), ("की", "की"), ("का", None),
        ("traffic", None), ("person in a car", None), ("background", None), ("", None), ("--", None), ("busy", None),
    ],
)  # fmt: skip
def test_a_word_means_the_class_that_it_says(word, label):
    found = NAMES.find(word)
    assert (None if found is None else found.name) == label


def test_what_stands_in_brackets_stays_whole():
    assert plain("Crane (lifting device)") == "crane (lifting device)"
    assert plain("(crane)") == "crane"


@given(st.text(max_size=40))
def test_any_text_is_read_without_harm_and_found_in_itself(text):
    NAMES.find(text)
    assert find_run(text, text) is not None or not keys(text)


def test_what_a_caption_says_is_found_as_it_stands_there():
    caption = "Two Jockeys ride past the traffic-light, hot dogs in hand."
    assert find_run("jockey", caption) == "Jockeys"
    assert find_run("Traffic light", caption) in ("traffic-light", "the traffic-light")
    assert find_run("ride past", caption) == "ride past"
    assert find_run("horse", caption) is None
    assert find_run("cke", caption) is None
    assert find_run("", caption) is None
