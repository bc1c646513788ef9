from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.export.formats.seams import ring


def filled(points, size):
    picture = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(picture, [points.astype(np.int32)], 1)
    return picture.astype(bool)


BITMAPS = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda size: hnp.arrays(np.bool_, size))


@settings(max_examples=300, deadline=None)
@given(BITMAPS)
def test_a_ring_covers_every_pixel_of_its_mask(inside):
    if not inside.any():
        return
    points = ring(inside)
    assert len(points) >= 3
    assert (filled(points, inside.shape) | ~inside).all()


@settings(max_examples=300, deadline=None)
@given(BITMAPS)
def test_one_part_with_any_holes_comes_back_exactly(inside):
    count, labels = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
    for part in range(1, min(count, 4)):
        one = labels == part
        assert np.array_equal(filled(ring(one), one.shape), one)


@settings(max_examples=200, deadline=None)
@given(BITMAPS)
def test_seams_between_parts_cost_no_more_than_the_lines_between_them(inside):
    count, _ = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
    if count > 1:
        added = filled(ring(inside), inside.shape) & ~inside
        assert added.sum() <= (count - 2) * sum(inside.shape)


def test_two_squares_are_joined_where_they_are_nearest():
    inside = np.zeros((40, 60), dtype=bool)
    inside[5:15, 5:15] = inside[5:35, 20:40] = True
    added = filled(ring(inside), inside.shape) & ~inside
    assert added.sum() == 5
    assert not added[:, :15].any()
    assert not added[:, 20:].any()


@pytest.mark.parametrize("pixels", [[(0, 0)], [(0, 0), (0, 1)], [(0, 0), (1, 1)], [(0, 0), (2, 2)]])
def test_the_smallest_masks_make_a_line_that_is_read_as_a_polygon(pixels):
    inside = np.zeros((3, 3), dtype=bool)
    inside[tuple(zip(*pixels, strict=True))] = True
    points = ring(inside)
    assert len(points) >= 3
    assert (filled(points, inside.shape) & inside).sum() == len(pixels)
