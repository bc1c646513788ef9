"""Measures against cases counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskwright.errors import InvalidInput
from maskwright.learn.semantic.confusion import Confusion
from maskwright.learn.semantic.report import SemanticTally

MAPS = arrays.arrays(np.int32, (5, 6), elements=st.integers(-1, 3))


def pixels(*runs):
    """One row: (class, how many) after (class, how many)."""
    return np.concatenate([np.full(count, label, dtype=np.int32) for label, count in runs])[None]


def test_the_case_of_the_specification():
    found = Confusion.of(pixels((0, 6), (1, 6)), pixels((0, 5), (1, 1), (0, 2), (1, 4)), 2)
    assert found.counts.tolist() == [[5, 1, 0], [2, 4, 0]]
    np.testing.assert_allclose(found.ious, [5 / 8, 4 / 7])
    assert found.mean_iou == pytest.approx((5 / 8 + 4 / 7) / 2)
    assert round(found.mean_iou, 3) == 0.598
    assert found.pixel_accuracy == 0.75
    assert found.mean_accuracy == pytest.approx((5 / 6 + 4 / 6) / 2)


def test_a_pixel_that_was_given_no_class_is_wrong():
    found = Confusion.of(pixels((0, 4)), pixels((0, 1), (-1, 2), (255, 1)), 2)
    assert found.counts.tolist() == [[1, 0, 3], [0, 0, 0]]
    assert (found.pixel_accuracy, found.mean_iou) == (0.25, 0.25)


@pytest.mark.parametrize("ignored", [255, -1])
def test_pixels_whose_class_nobody_knows_count_for_nothing(ignored):
    found = Confusion.of(pixels((0, 2), (ignored, 3)), pixels((0, 2), (1, 3)), 2)
    assert found.counts.sum() == 2
    assert (found.mean_iou, found.pixel_accuracy) == (1, 1)


def test_a_class_that_is_nowhere_takes_no_part_in_the_mean_and_one_that_is_only_given_does():
    assert Confusion.of(pixels((0, 4)), pixels((0, 4)), 3).mean_iou == 1
    assert Confusion.of(pixels((0, 4)), pixels((0, 3), (2, 1)), 3).mean_iou == pytest.approx((3 / 4 + 0) / 2)
    assert np.isnan(Confusion.empty(2).mean_iou)
    assert np.isnan(Confusion.empty(2).pixel_accuracy)


def test_maps_of_different_images_are_refused():
    with pytest.raises(InvalidInput, match="of \\(1, 2\\) pixels"):
        Confusion.of(pixels((0, 2)), pixels((0, 3)), 1)


@given(MAPS, MAPS)
def test_each_class_is_measured_as_by_sets_of_pixels(truth, given_map):
    found = Confusion.of(truth, given_map, 3)
    known = (truth >= 0) & (truth < 3)
    for label in range(3):
        shown, got = (truth == label) & known, (given_map == label) & known
        either = (shown | got).sum()
        expected = (shown & got).sum() / either if either else np.nan
        np.testing.assert_equal(found.ious[label], expected)
    right = (truth == given_map)[known].sum()
    np.testing.assert_equal(found.pixel_accuracy, right / known.sum() if known.any() else np.nan)


@given(MAPS, MAPS, st.permutations([0, 1, 2]))
def test_names_do_not_matter(truth, given_map, order):
    renamed = np.array([*order, 3, -1], dtype=np.int32)
    first, second = Confusion.of(truth, given_map, 3), Confusion.of(renamed[truth], renamed[given_map], 3)
    np.testing.assert_equal(first.ious, second.ious[list(order)])


def test_a_data_set_is_measured_by_its_sums_and_images_apart():
    tally = SemanticTally(["road", "sky"])
    tally.add(pixels((0, 6), (1, 6)), pixels((0, 5), (1, 1), (0, 2), (1, 4)))
    tally.add(pixels((0, 2)), pixels((0, 2)))
    report = tally.report(seed=1)
    assert report.mean_iou.mean == pytest.approx((7 / 10 + 4 / 7) / 2)
    assert report.pixel_accuracy.mean == 11 / 14
    assert report.image_mean_iou == pytest.approx(((5 / 8 + 4 / 7) / 2 + 1) / 2)
    assert report.mean_iou.low <= report.mean_iou.mean <= report.mean_iou.high == 1
    assert report.as_json()["classes"][0] == {"name": "road", "iou": 0.7, "recall": 0.875, "pixels": 8}
    assert report.as_json() == tally.report(seed=1).as_json()


def test_a_gain_is_measured_image_by_image():
    better, worse = SemanticTally(["road", "sky"]), SemanticTally(["road", "sky"])
    for k in range(4):
        truth = pixels((0, 4 + k), (1, 6))
        better.add(truth, truth)
        worse.add(truth, pixels((0, 4 + k), (1, 3), (0, 3)))
    gain = better.gain(worse)
    assert 0 < gain.low <= gain.mean <= gain.high
    assert gain.mean == pytest.approx(1 - worse.report().mean_iou.mean)
    assert better.gain(better).high == 0
    with pytest.raises(InvalidInput, match="4 and 0 images"):
        better.gain(SemanticTally(["road", "sky"]))


def test_nothing_to_compare_with_is_said():
    tally = SemanticTally(["road"])
    tally.add(pixels((255, 2)), pixels((0, 2)))
    with pytest.raises(InvalidInput, match="nothing to compare with"):
        tally.report()
    with pytest.raises(InvalidInput, match="no class"):
        SemanticTally([])
