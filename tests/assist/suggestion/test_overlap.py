from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maskwright.assist.suggestion.overlap import settle_overlaps
from maskwright.masks import Mask

SIZE = (40, 60)
A = Mask.from_ellipse(20, 20, 14, 14, 0, SIZE)
B = Mask.from_ellipse(38, 20, 14, 14, 0, SIZE)
C = Mask.from_ellipse(29, 26, 10, 10, 0, SIZE)


def test_the_surer_of_two_classes_keeps_what_both_hold():
    assert settle_overlaps([A, B], [0.6, 0.4], ["cat", "dog"]) == [A, B - A]


def test_masks_of_one_class_share_pixels():
    assert settle_overlaps([A, B], [0.6, 0.4], ["cat", "cat"]) == [A, B]


def test_of_equally_sure_ones_the_smaller_lies_on_top():
    assert settle_overlaps([A, C], [0.5, 0.5], ["cat", "dog"]) == [A - C, C]


def test_one_mask_of_two_equally_sure_classes_has_one_of_them():
    settled = settle_overlaps([A, A], [0.5, 0.5], ["cat", "dog"])
    assert sorted(one.is_empty for one in settled) == [False, True]
    assert settle_overlaps([A, A], [0.5, 0.5], ["dog", "cat"]) == settled[::-1]


def test_nothing_is_settled_where_nothing_is():
    assert settle_overlaps([], [], []) == []


@given(st.permutations([0, 1, 2]), st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=3, max_size=3),
       st.lists(st.sampled_from("xyz"), min_size=3, max_size=3))  # fmt: skip
def test_three_overlapping_masks_are_settled_the_same_in_any_order(order, scores, groups):
    masks = [A, B, C]
    straight = settle_overlaps(masks, scores, groups)
    shuffled = settle_overlaps(*([sequence[i] for i in order] for sequence in (masks, scores, groups)))
    assert shuffled == [straight[i] for i in order]


@given(st.integers(0, 2**32 - 1))
def test_no_pixel_has_two_classes_and_none_is_lost(seed):
    rng = np.random.default_rng(seed)
    masks = [Mask.from_array(rng.random((6, 7)) < 0.4) for _ in range(4)]
    groups = [0, 0, 1, 2]
    settled = settle_overlaps(masks, rng.choice([0.3, 0.6], 4).tolist(), groups)
    for (one, first), (other, second) in combinations(zip(settled, groups, strict=True), 2):
        assert first == second or one.intersection_area(other) == 0
    assert Mask.empty((6, 7)).union(*settled) == Mask.empty((6, 7)).union(*masks)
