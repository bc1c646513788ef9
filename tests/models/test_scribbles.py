"""Strokes become few points that keep their shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.models.scribbles import FEWEST_POINTS, MOST_POINTS, scribble_points, with_scribbles_as_points
from maskwright.prompts import Prompt, Scribble

SIZE = (480, 640)


def stroke(*points, positive=True):
    return Scribble(np.array(points, dtype=np.float32).reshape(-1, 2), positive)


@pytest.mark.parametrize("points", [[(5, 6)], [(5, 6), (5, 6), (5, 6)]])
def test_a_dot_is_one_click(points):
    np.testing.assert_array_equal(scribble_points(stroke(*points), SIZE), [[5, 6]])


@pytest.mark.parametrize(("length", "count"), [(3, 3), (150, 3), (300, 5), (600, 9), (630, 10), (5000, 10)])
def test_longer_strokes_get_more_points_at_equal_distances(length, count):
    points = scribble_points(stroke((0, 7), (length / 3, 7), (length, 7)), SIZE)
    np.testing.assert_allclose(points[:, 0], np.linspace(0, length, count), rtol=1e-5)
    assert (points[:, 1] == 7).all()


def test_a_sharp_turn_is_kept():
    points = scribble_points(stroke((10, 10), (10, 210), (110, 210)), SIZE)
    assert np.hypot(*(points - [10, 210]).T).min() < 3
    np.testing.assert_array_equal(points[[0, -1]], [[10, 10], [110, 210]])


def test_negative_strokes_are_negative_points_after_the_clicks():
    prompt = Prompt(np.array([[1, 2]]), np.array([1]), scribbles=(stroke((9, 9), positive=False), stroke((8, 8))))
    points, labels = with_scribbles_as_points(prompt, SIZE)
    np.testing.assert_array_equal(points, [[1, 2], [9, 9], [8, 8]])
    np.testing.assert_array_equal(labels, [1, 0, 1])


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(0, 640, width=32)))
def test_any_stroke_gives_few_points_on_itself_with_its_ends(points):
    found = scribble_points(Scribble(points), SIZE)
    assert len(found) == 1 or FEWEST_POINTS <= len(found) <= MOST_POINTS
    np.testing.assert_allclose(found[0], points[0], atol=1e-3)
    if len(found) > 1:
        np.testing.assert_allclose(found[-1], points[-1], atol=1e-3)
    assert (found >= points.min(axis=0) - 1e-3).all()
    assert (found <= points.max(axis=0) + 1e-3).all()
