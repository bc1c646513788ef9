"""A sample of images is read whatever fails, and what is proposed of it is shown where it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from maskwright.assist.suggestion.label_sets import propose_labels
from maskwright.assist.suggestion.sampling import drawn, find_examples, read_sample
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import ModelUnavailable, NotFound
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Detections, Tag


class Tags:
    name = version = "tags"

    def tags(self, images, *, top=10):
        if images[0].mean() == 0:
            raise ModelUnavailable("too dark")
        return [[Tag("dog", 0.9), Tag("cat", 0.5)] for _ in images]


class Boxes:
    name = version = "boxes"

    def __init__(self, fail=False):
        self.fail, self.asked = fail, []

    def detect(self, image, phrases):
        self.asked.append(tuple(phrases))
        if self.fail:
            raise ModelUnavailable("no detector")
        boxes = np.array([(10, 10, 30, 20), (0, 0, 5, 5), (30, 30, 99, 99)], dtype=np.float32)
        rows = [phrases.index("dog")] * 2 + [phrases.index("cat")] if "cat" in phrases else [phrases.index("dog")] * 2
        return Detections(boxes[: len(rows)], np.array([0.5, 0.4, 0.3][: len(rows)], np.float32), np.array(rows))


def picture(value=200):
    return lambda: Image(np.full((40, 60, 3), value, np.uint8), "ab" * 32, "ab" * 32)


def missing():
    raise NotFound("gone")


IMAGES = [("a", picture()), ("b", missing), ("c", picture()), ("d", picture(0))]


@pytest.fixture
def proposal():
    samples, _ = read_sample(IMAGES, StageModels(tagger=Tags()), StageOptions())
    return propose_labels(samples, LabelSet(()), PromptSet())


def test_a_sample_is_as_large_as_asked_in_order_the_same_each_time_and_fair():
    assert drawn(range(5), 9) == [0, 1, 2, 3, 4]
    assert drawn(iter(range(1000)), 10) == drawn(range(1000), 10) == sorted(drawn(range(1000), 10))
    counts = Counter(item for seed in range(2000) for item in drawn(range(10), 3, seed))
    assert set(counts) == set(range(10))
    assert all(500 < count < 700 for count in counts.values())


def test_an_image_or_a_describer_that_fails_costs_only_itself():
    steps = []
    samples, problems = read_sample(IMAGES, StageModels(tagger=Tags()), StageOptions(), steps.append)
    assert [one.image for one in samples] == ["a", "c", "d"]
    assert [len(one.reading.tags) for one in samples] == [2, 2, 0]
    assert steps == [1, 2, 3, 4]
    assert problems == ["image 'b' was not read: gone", "no tags were read: too dark"]


def test_examples_are_shown_where_the_surest_box_is(proposal):
    crops = {}
    found = find_examples(proposal, dict(IMAGES), Boxes(), lambda *told: crops.__setitem__(told[:2], told[2]))
    dog = next(one for one in found.classes if one.name == "dog")
    assert [(example.image, example.box) for example in dog.examples] == [
        ("a", (10.0, 10.0, 30.0, 20.0)), ("c", (10.0, 10.0, 30.0, 20.0))
    ]  # fmt: skip
    assert crops["dog", 1].shape == (12, 24, 3)
    assert crops["cat", 2].shape[:2] == (17, 37), "boxes end with the picture"


def test_without_a_detector_or_with_one_that_fails_examples_are_whole_images(proposal):
    for detector in (None, Boxes(fail=True)):
        crops = []
        found = find_examples(proposal, dict(IMAGES), detector, lambda *told, kept=crops: kept.append(told[2]))
        assert {crop.shape for crop in crops} == {(40, 60, 3)}
        assert all(example.box is None for one in found.classes for example in one.examples)
        assert len(found.problems) == (detector is not None)
