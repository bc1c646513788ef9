from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.learn.metrics import boundary_iou, estimate, iou, resampled_means, size_class
from maskwright.masks import Mask


def test_iou_is_shared_over_all():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert iou(a, b) == 1.0
    a[:2], b[1:3] = True, True
    assert iou(a, b) == 4 / 12
    assert iou(a, np.zeros_like(a)) == 0.0


def paper_boundary(mask: np.ndarray, share: float = 0.02) -> np.ndarray:
    """The reference implementation that Cheng et al. describe: the mask less its erosion inside a frame of zeros."""
    height, width = mask.shape
    dilation = max(1, round(share * (height**2 + width**2) ** 0.5))
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=dilation)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)


@st.composite
def pairs_of_masks(draw):
    shape = draw(st.tuples(st.integers(1, 130), st.integers(1, 130)))
    rows, columns = np.indices(shape)
    grids = [draw(hnp.arrays(np.bool_, (4, 4))) for _ in range(2)]
    return tuple(grid[rows * 4 // shape[0], columns * 4 // shape[1]] for grid in grids)


@settings(max_examples=100, deadline=None)
@given(pairs_of_masks())
def test_boundary_iou_is_that_of_the_paper(pair):
    a, b = pair
    assert boundary_iou(Mask.from_array(a), Mask.from_array(b)) == pytest.approx(
        iou(paper_boundary(a), paper_boundary(b)), abs=1e-12
    )


def test_boundary_iou_sees_what_iou_hardly_notices():
    size = (300, 400)  # diagonal 500, so the boundary is 10 pixels wide
    whole, smaller = Mask.from_box((50, 50, 250, 250), size), Mask.from_box((55, 55, 245, 245), size)
    assert whole.iou(smaller) > 0.9
    rings = [(200**2 - 180**2), (190**2 - 170**2)]
    shared = 190**2 - 180**2
    assert boundary_iou(whole, smaller) == pytest.approx(shared / (sum(rings) - shared))
    assert boundary_iou(whole, whole) == 1.0
    assert boundary_iou(whole, Mask.empty(size)) == 0.0


@pytest.mark.parametrize(
    ("area", "expected"), [(1, "small"), (1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")]
)
def test_sizes_are_those_of_coco(area, expected):
    assert size_class(area) == expected


def test_the_interval_is_as_wide_as_statistics_say():
    values = np.random.default_rng(5).normal(0.6, 0.2, 400)
    found = estimate(values, range(400), seed=0)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert found.low < found.mean < found.high
    assert found == estimate(values, range(400), seed=0)
    assert found != estimate(values, range(400), seed=1)


def test_many_alike_objects_of_one_image_do_not_feign_certainty():
    values = np.random.default_rng(5).normal(0.6, 0.2, 30)
    honest = estimate(values, range(30), seed=0)
    repeated = estimate(np.repeat(values, 10), np.repeat(np.arange(30), 10).tolist(), seed=0)
    assert (repeated.low, repeated.high) == pytest.approx((honest.low, honest.high))


def test_objects_of_a_single_image_still_get_an_interval():
    found = estimate([0.2, 0.4, 0.9, 0.7], ["one.png"] * 4, seed=0)
    assert found.low < found.mean < found.high


def test_equal_seeds_draw_alike_so_that_differences_are_paired():
    values = np.random.default_rng(5).normal(0.6, 0.2, 50)
    difference = resampled_means(values + 0.1, range(50), 3) - resampled_means(values, range(50), 3)
    assert np.allclose(difference, 0.1)
