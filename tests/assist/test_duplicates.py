from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.assist.duplicates import CONTAINED, CONTAINED_IOU, distinct, distinct_low_res
from maskwright.masks import Mask
from maskwright.models.protocols import Proposals

SIZE = (24, 30)
boxes = st.tuples(st.integers(0, 28), st.integers(0, 22), st.integers(1, 30), st.integers(1, 24))


def proposals(corners, qualities) -> Proposals:
    masks = tuple(Mask.from_box((x, y, min(x + w, SIZE[1]), min(y + h, SIZE[0])), SIZE) for x, y, w, h in corners)
    return Proposals(masks, np.array(qualities, dtype=np.float32), np.ones(len(masks), dtype=np.float32))


def repeats(a: Mask, b: Mask, duplicate_iou: float) -> bool:
    inside = a.intersection_area(b) / min(a.area, b.area)
    return a.iou(b) >= duplicate_iou or (inside >= CONTAINED and a.iou(b) >= CONTAINED_IOU)


@settings(deadline=None)
@given(st.lists(st.tuples(boxes, st.floats(0.125, 1, width=32)), max_size=12), st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_one_of_each_stays_and_it_is_the_best(items, duplicate_iou):
    given_ones = proposals([box for box, _ in items], [quality for _, quality in items])
    kept = distinct(given_ones, duplicate_iou)
    qualities = kept.predicted_iou.tolist()
    assert qualities == sorted(qualities, reverse=True)
    for i, a in enumerate(kept.masks):
        assert not any(repeats(a, b, duplicate_iou) for b in kept.masks[:i])
    for mask, quality in zip(given_ones.masks, given_ones.predicted_iou, strict=True):
        assert mask in kept.masks or any(
            repeats(mask, other, duplicate_iou) and better >= quality
            for other, better in zip(kept.masks, kept.predicted_iou, strict=True)
        )


@settings(deadline=None)
@given(st.lists(st.tuples(boxes, st.floats(0.125, 1, width=32)), max_size=12), st.sampled_from([0.3, 0.7, 0.9]))
def test_low_resolution_masks_are_told_apart_by_iou_alone(items, duplicate_iou):
    given_ones = proposals([box for box, _ in items], [quality for _, quality in items])
    pixels = np.array([mask.to_array() for mask in given_ones.masks], dtype=bool).reshape(-1, *SIZE)
    kept = distinct_low_res(pixels, given_ones.predicted_iou, duplicate_iou)
    masks = given_ones.masks
    for n, i in enumerate(kept):
        assert all(masks[i].iou(masks[j]) < duplicate_iou for j in kept[:n])
    for i, mask in enumerate(masks):
        assert i in kept or any(mask.iou(masks[j]) >= duplicate_iou for j in kept)


def test_empty_masks_go():
    nothing = Proposals((Mask.empty(SIZE),), np.ones(1, np.float32), np.ones(1, np.float32))
    assert distinct(nothing, 0.7).masks == ()
    assert distinct_low_res(np.zeros((2, 4, 4), bool), np.ones(2, np.float32), 0.7).tolist() == []
    assert distinct_low_res(np.zeros((0, 4, 4), bool), np.ones(0, np.float32), 0.7).tolist() == []


def test_a_part_is_no_duplicate_of_its_whole():
    whole, part = (0, 0, 24, 20), (2, 2, 8, 8)
    assert len(distinct(proposals([whole, part], [0.9, 0.8]), 0.7).masks) == 2
    most = (0, 0, 24, 13)
    assert len(distinct(proposals([whole, most], [0.9, 0.8]), 0.7).masks) == 1
    assert distinct(proposals([whole, most], [0.8, 0.9]), 0.7).predicted_iou.tolist() == [pytest.approx(0.9)]
