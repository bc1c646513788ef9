"""Ellipses and turned rectangles, by the rule that a pixel belongs to the shape that holds its centre."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.masks import Mask, rotated_rectangle

steady = settings(deadline=None, derandomize=True)
places, radii, angles = st.floats(-10, 50), st.floats(0.3, 60), st.floats(-720, 720)


def own_axes(cx, cy, angle_deg, size):
    x, y = np.meshgrid(np.arange(size[1]) + 0.5 - cx, np.arange(size[0]) + 0.5 - cy)
    turn = math.radians(angle_deg)
    return x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)


@steady
@given(places, places, radii, radii, angles)
def test_an_ellipse_holds_the_pixels_whose_centres_lie_in_it(cx, cy, rx, ry, angle):
    size = (37, 41)
    u, v = own_axes(cx, cy, angle, size)
    distance = (u / rx) ** 2 + (v / ry) ** 2
    mask = Mask.from_ellipse(cx, cy, rx, ry, angle, size).to_array()
    clear = np.abs(distance - 1) > 1e-6
    assert np.array_equal(mask[clear], (distance < 1)[clear])


@steady
@given(places, places, radii, radii, angles)
def test_a_turned_rectangle_holds_the_pixels_whose_centres_lie_in_it(cx, cy, width, height, angle):
    size = (37, 41)
    u, v = own_axes(cx, cy, angle, size)
    beyond = np.maximum(np.abs(u) - width / 2, np.abs(v) - height / 2)
    mask = Mask.from_polygons([rotated_rectangle(cx, cy, width, height, angle)], size).to_array()
    clear = np.abs(beyond) > 1e-6
    assert np.array_equal(mask[clear], (beyond < 0)[clear])


def test_a_quarter_turn_swaps_the_radii():
    assert Mask.from_ellipse(20, 15, 12, 5, 90, (30, 40)) == Mask.from_ellipse(20, 15, 5, 12, 0, (30, 40))


def test_angles_turn_clockwise_on_the_screen():
    mask = Mask.from_ellipse(20, 20, 18, 3, 45, (40, 40))
    assert mask.contains(30, 30)
    assert not mask.contains(30, 10)


def test_an_ellipse_without_a_radius_is_empty():
    assert Mask.from_ellipse(5, 5, 0, 3, 0, (10, 10)).is_empty


@pytest.mark.parametrize("numbers", [(math.nan, 5, 1, 1, 0), (5, 5, -1, 1, 0), (5, 5, 1, math.inf, 0)])
def test_an_ellipse_of_impossible_numbers_is_refused(numbers):
    with pytest.raises(InvalidInput):
        Mask.from_ellipse(*numbers, (10, 10))
