"""Panoptic quality and answers to phrases against cases counted by hand."""

import itertools
import math

import numpy as np
import pytest

from maskwright.learn.semantic.segments import PanopticTally, referring_quality, true_segments
from maskwright.masks import Mask
from maskwright.models.dense.pooling import Segment
from maskwright.regions import Provenance, Region

SIZE = (10, 40)


def box(left, right):
    return Mask.from_box((left, 0, right, 10), SIZE)


def part(left, right, label=0):
    return Segment(box(left, right), label, 1.0)


def measured(truth, found, classes=2):
    tally = PanopticTally(classes)
    tally.add(truth, found)
    return tally.quality()


def test_a_match_a_miss_and_a_false_one():
    truth = [part(0, 10), part(10, 20), part(20, 40, 1)]
    found = [part(0, 8), part(12, 15), part(15, 16), part(20, 40, 1)]
    quality = measured(truth, found)
    assert quality.segmentation[0] == pytest.approx(0.8)
    assert quality.recognition[0] == pytest.approx(1 / (1 + 2 / 2 + 1 / 2))
    assert quality.quality[0] == pytest.approx(0.8 / 2.5)
    assert (quality.quality[1], quality.mean) == (1, pytest.approx((0.32 + 1) / 2))


def test_one_half_is_no_match_and_another_class_is_none_either():
    assert measured([part(0, 10)], [part(0, 5)]).quality[0] == 0
    assert np.isnan(measured([part(0, 10)], [part(0, 5)]).segmentation[0])
    assert measured([part(0, 10)], [part(0, 10, 1)]).quality.tolist() == [0, 0]


def test_what_nobody_outlined_counts_neither_for_nor_against():
    assert measured([part(0, 10)], [part(0, 30)]).quality[0] == 1
    assert measured([part(0, 10)], [part(0, 10), part(20, 30)]).quality[0] == 1
    assert measured([part(0, 10), part(10, 20, 1)], [part(0, 10), part(14, 22)]).quality[0] == pytest.approx(1 / 1.5)


def test_quality_is_segmentation_times_recognition_and_classes_that_are_nowhere_take_no_part():
    rng = np.random.default_rng(0)
    tally = PanopticTally(4)
    for _ in range(20):
        cuts = [np.unique([0, 40, *rng.integers(1, 40, 4)]) for _ in range(2)]
        sides = [
            [part(a, b, int(rng.integers(3))) for a, b in itertools.pairwise(cut)] for cut in cuts
        ]  # fmt: skip
        tally.add(*sides)
    quality = tally.quality()
    np.testing.assert_allclose(quality.quality[:3], (quality.segmentation * quality.recognition)[:3])
    assert np.isnan(quality.quality[3])
    assert quality.mean == pytest.approx(quality.quality[:3].mean())
    assert math.isnan(PanopticTally(2).quality().mean)


def test_images_without_segments_on_a_side():
    assert measured([], [part(0, 10)]).mean != measured([], [part(0, 10)]).mean  # nobody outlined anything: void
    assert measured([part(0, 10)], []).quality[0] == 0


def test_answers_to_phrases():
    found = referring_quality([
        (box(0, 20), box(0, 10)), (box(0, 4), box(0, 4)), (Mask.empty(SIZE), Mask.empty(SIZE)),
        (Mask.empty(SIZE), box(0, 2)),
    ])  # fmt: skip
    assert found.cumulative_iou == pytest.approx((100 + 40) / (200 + 40 + 20))
    assert found.mean_iou == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    assert found.precision == 2 / 4
    assert found.none_accuracy == 0.5
    assert all(math.isnan(value) for value in vars(referring_quality([])).values())


def test_of_what_people_drew_the_smallest_lies_on_top_and_areas_are_one_segment_for_each_class():
    made = Provenance("person")
    drawn = [("road", 0, 40), ("car", 4, 8), ("car", 20, 30), ("sign", 5, 6), ("else", 12, 14), ("road", 30, 40)]
    regions = [Region(box(left, right), label, 1.0, made) for label, left, right in drawn]
    found = true_segments(regions, ["car", "road", "sign"], [True, False, True])
    assert [(one.label, one.mask.area) for one in found] == [(2, 10), (0, 30), (0, 100), (1, 260)]
    assert Mask.empty(SIZE).union(*(one.mask for one in found)) == Mask.full(SIZE)
    assert true_segments([], ["car"], [True]) == ()
