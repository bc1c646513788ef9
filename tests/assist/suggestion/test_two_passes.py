"""Boxes to masks, by a segmenter that knows the truth but is as unsure about boxes as segmenters are."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.suggestion.two_passes import segment_boxes
from maskwright.masks import Mask

SIZE = (60, 100)


LARGE = Mask.from_box((10, 10, 60, 50), SIZE)
NEIGHBOUR = Mask.from_box((62, 10, 95, 50), SIZE)
TIGHT, WIDE = (10.0, 10.0, 60.0, 50.0), (8.0, 8.0, 80.0, 52.0)


@pytest.fixture
def scene(painted):
    def of(segmenter):
        return segmenter.encode([painted(SIZE, LARGE, NEIGHBOUR)])[0]

    return of


@pytest.mark.parametrize("rule", ["top20", "spread"])
def test_a_box_over_two_objects_gets_the_right_one_only_with_points(box_oracle, scene, rule):
    segmenter = box_oracle()
    (alone,) = segment_boxes(segmenter, scene(segmenter), [WIDE], rule="none", count=5)
    (helped,) = segment_boxes(segmenter, scene(segmenter), [WIDE], rule=rule, count=5)
    assert alone.mask.iou(LARGE) < 0.8
    assert helped.mask == LARGE
    assert not helped.is_first


@pytest.mark.parametrize("rule", ["none", "top20", "spread"])
def test_objects_with_boxes_of_their_own_are_drawn_exactly(box_oracle, scene, rule):
    segmenter = box_oracle()
    boxes = [TIGHT, (62.0, 10.0, 95.0, 50.0)]
    found = segment_boxes(segmenter, scene(segmenter), boxes, rule=rule, count=5)
    assert [one.mask for one in found] == [LARGE, NEIGHBOUR]
    assert len(segmenter.prompts) == (1 if rule == "none" else 2)  # all boxes together, each time
    assert len({one.prompt_hash for one in found}) == 2


@pytest.mark.parametrize(("quality", "expected", "is_first"), [(0.6, LARGE, True), (0.9, NEIGHBOUR, False)])
def test_points_that_lead_elsewhere_are_believed_only_if_the_segmenter_is_surer(
    box_oracle, scene, quality, expected, is_first
):
    class Wandering(box_oracle):
        """With points it answers the neighbour, whatever was asked."""

        def _answer(self, objects, prompt):
            logits, _ = super()._answer(objects, prompt)
            if not len(prompt.point_labels):
                return logits, 0.7
            return np.where(objects == 2, np.float32(8), np.float32(-8)), quality

    segmenter = Wandering()
    (found,) = segment_boxes(segmenter, scene(segmenter), [TIGHT], rule="spread", count=5)
    assert (found.mask, found.is_first, found.agreement) == (expected, is_first, 0)


def test_the_other_boxes_deepest_places_may_be_marked_as_not_part(box_oracle, scene):
    segmenter = box_oracle()
    boxes = [(8.0, 8.0, 97.0, 52.0), (62.0, 10.0, 95.0, 50.0)]
    segment_boxes(segmenter, scene(segmenter), boxes, rule="spread", count=3, negative_points=True)
    outer, inner = segmenter.prompts[1]
    off = outer.point_coords[outer.point_labels == 0]
    assert [NEIGHBOUR.contains(x, y) for x, y in off.tolist()] == [True]
    assert (inner.point_labels == 1).all()


@pytest.mark.parametrize("rule", ["none", "top20", "spread"])
def test_many_boxes_are_asked_for_in_parts_and_get_the_answers_that_they_get_together(
    box_oracle, scene, rule, monkeypatch
):
    boxes = [TIGHT, WIDE, (62.0, 10.0, 95.0, 50.0), (8.0, 8.0, 97.0, 52.0), (20.0, 20.0, 40.0, 40.0)]

    def told(at_once):
        monkeypatch.setattr("maskwright.assist.suggestion.two_passes.AT_ONCE", at_once)
        segmenter = box_oracle()
        found = segment_boxes(segmenter, scene(segmenter), boxes, rule=rule, count=3, negative_points=rule == "spread")
        return [vars(one) for one in found], max(map(len, segmenter.prompts))

    together, most = told(100)
    assert most == len(boxes)
    assert told(2) == (together, 2)


def test_no_boxes_ask_nothing(box_oracle, scene):
    segmenter = box_oracle()
    assert segment_boxes(segmenter, scene(segmenter), [], rule="spread", count=5) == []
    assert segmenter.prompts == []


def test_however_many_boxes_lie_in_one_the_segmenter_is_asked_with_a_bounded_number_of_points(
    box_oracle, scene, monkeypatch
):
    monkeypatch.setattr("maskwright.assist.suggestion.two_passes.MOST_OTHERS", 2)
    segmenter = box_oracle()
    boxes = [(8.0, 8.0, 97.0, 52.0), *((62.0 + x, 10.0, 95.0, 50.0) for x in range(5))]
    segment_boxes(segmenter, scene(segmenter), boxes, rule="spread", count=3, negative_points=True)
    assert max(int((one.point_labels == 0).sum()) for one in segmenter.prompts[1]) == 2
