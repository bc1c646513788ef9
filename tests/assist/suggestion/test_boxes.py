from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.suggestion.boxes import Search, free_words, no_detections, with_meanings
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.models.protocols import Detections

CAR = LabelClass("car", ("automobile", "saloon"))
DOG = LabelClass("dog")
LABELS = LabelSet((CAR, DOG))


def found(*rows: tuple[tuple[float, float, float, float], float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], dtype=np.float32),
        np.array([index for _, _, index in rows], dtype=np.int64),
    )


def nobody(phrase: str) -> str | None:
    raise AssertionError(f"{phrase} was asked")


def shifted(by: float) -> tuple[float, float, float, float]:
    return (by, 0.0, by + 100.0, 100.0)


def test_a_class_is_looked_for_by_all_its_words():
    search = Search(LABELS, ["beetle", "dog"])
    assert search.phrases == ("automobile", "saloon", "dog", "beetle")
    assert search.free == ("beetle",)


def test_boxes_of_any_words_above_the_first_bound_are_one_object():
    search = Search(LABELS)
    # IoU 0.81 between the first two, 0.8 exactly between the first and the third
    rows = found((shifted(0), 0.5, 0), (shifted(10.49), 0.4, 2), ((0, 0, 100, 80), 0.3, 2))
    boxes = search.boxes(rows, StageOptions(), nobody, [])
    assert [(one.label, one.score) for one in boxes] == [("car", 0.5), ("dog", pytest.approx(0.3))]


def test_boxes_of_one_class_are_compared_whatever_words_found_them():
    search = Search(LABELS)
    rows = found((shifted(0), 0.5, 0), (shifted(25), 0.4, 1), (shifted(25), 0.3, 2))  # IoU 0.6
    assert [one.phrase for one in search.boxes(rows, StageOptions(), nobody, [])] == ["automobile"]
    apart = found((shifted(0), 0.5, 0), (shifted(25), 0.4, 2))
    assert [one.phrase for one in search.boxes(apart, StageOptions(), nobody, [])] == ["automobile", "dog"]
    both = search.boxes(
        found((shifted(0), 0.5, 0), (shifted(25), 0.4, 1)), StageOptions(box_iou_per_class=0.7), nobody, []
    )
    assert len(both) == 2


def test_a_free_word_is_asked_about_once_and_only_if_it_found_something():
    search, asked = Search(LABELS, ["beetle", "street", "cloud"]), []

    def refine(word: str) -> str | None:
        asked.append(word)
        return {"beetle": "car"}.get(word)

    rows = found((shifted(0), 0.5, 3), (shifted(200), 0.4, 3), (shifted(400), 0.9, 4))
    boxes = search.boxes(rows, StageOptions(), refine, [])
    assert [(one.label, one.phrase, one.box[0]) for one in boxes] == [("car", "beetle", 0), ("car", "beetle", 200)]
    assert asked == ["street", "beetle"]  # the surest first; nothing was found of a cloud


def test_what_is_none_of_the_classes_takes_no_box_from_what_is_one():
    search = Search(LABELS, ["street", "square"])
    rows = found((shifted(0), 0.9, 3), (shifted(1), 0.8, 4), (shifted(2), 0.3, 2))
    boxes = search.boxes(rows, StageOptions(), lambda word: None, [])
    assert [(one.label, one.phrase) for one in boxes] == [("dog", "dog")]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelUnavailable("the server is down"), "the server is down"),
        (InvalidInput("the question is too long"), "the question is too long"),
        (RuntimeError("CUDA"), "RuntimeError; the log of the server says more"),
    ],
)
def test_words_that_nobody_could_sort_are_told_once_and_cost_their_own_boxes_only(error, told):
    def refine(word: str) -> str | None:
        raise error

    said: list[str] = []
    rows = found((shifted(0), 0.5, 0), (shifted(200), 0.4, 3), (shifted(400), 0.9, 4))
    boxes = Search(LABELS, ["beetle", "street"]).boxes(rows, StageOptions(), refine, said)
    assert [one.label for one in boxes] == ["car"]
    assert said == [f"2 of the detector's phrases were not sorted into classes: {told}"]


def test_boxes_that_hold_nothing_are_left_out():
    rows = found(((5, 5, 5, 9), 0.5, 0), ((0, 0, np.nan, 9), 0.5, 0), ((0, 0, 9, 9), np.nan, 0), ((0, 0, 9, 9), 1.2, 0))
    assert [one.score for one in Search(LABELS).boxes(rows, StageOptions(), nobody, [])] == [1.0]
    assert Search(LABELS).boxes(no_detections(), StageOptions(), nobody, []) == []


BEETLE, ROAD, CARS = Source("tag", "beetle", 0.8), Source("tag", "road", 0.7), Source("tag", "cars", 0.9)
SUGGESTED = [
    Suggestion("car", "plausible", 0.9, (CARS, ROAD, Source("language", "model", 0.7))),
    Suggestion("beetle", "plausible", 0.8, (BEETLE,), is_known=False),
]


def test_tags_that_speak_for_a_class_are_worth_a_search_if_they_are_not_its_name():
    assert free_words(SUGGESTED, LABELS, StageOptions()) == {"road": ROAD}
    assert free_words(SUGGESTED, LABELS, StageOptions(pre_refinement=False)) == {"road": ROAD, "beetle": BEETLE}


def test_a_tag_that_turns_out_to_be_a_class_speaks_for_it():
    (car,) = with_meanings(SUGGESTED, {BEETLE: "car"})
    assert [source.text for source in car.sources] == ["cars", "beetle", "model", "road"]
    dog, unknown = with_meanings([SUGGESTED[1]], {ROAD: "dog"})
    assert (dog.label, dog.sources, dog.confidence, unknown.label) == ("dog", (ROAD,), 0.7, "beetle")
