"""Filling polygons by pixel centres, and tracing outlines that fill to the same mask."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks import Mask, Polygon

steady = settings(deadline=None, derandomize=True)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
rings = hnp.arrays(
    np.float64,
    st.tuples(st.integers(3, 12), st.just(2)),
    elements=st.one_of(
        st.integers(-20, 100).map(lambda n: n / 2), st.floats(-1e3, 1e3), st.sampled_from([-1e300, 1e300])
    ),
)


def holds_centre(ring, size):
    """Even-odd rule, pixel by pixel: how many sides a ray from the centre to the top crosses."""
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    inside = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        spans = (np.minimum(x0, x1) <= x) & (x < np.maximum(x0, x1))
        with np.errstate(all="ignore"):
            inside ^= spans & (y0 + (x - x0) * ((y1 - y0) / (x1 - x0)) <= y)
    return inside


@steady
@given(rings.filter(lambda r: np.abs(r).max() < 1e4), sizes)
def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre(ring, size):
    assert np.array_equal(Mask.from_polygons([ring], size).to_array(), holds_centre(ring, size))


@steady
@given(rings, sizes)
def test_any_finite_polygon_fills_without_complaint(ring, size):
    assert Mask.from_polygons([ring], size).size == size


@steady
@given(rings, rings, sizes)
def test_several_polygons_fill_their_union(a, b, size):
    assert Mask.from_polygons([a, b], size) == Mask.from_polygons([a], size) | Mask.from_polygons([b], size)


@steady
@given(rings, sizes, st.integers(-100, 100), st.floats(-50, 50))
def test_polygons_that_share_a_side_share_no_pixel_and_leave_none_out(ring, size, cut, slope):
    far = 1e4
    left, right = (cut / 2 - far * slope, -far), (cut / 2 + far * slope, far)
    west = np.array([(-1e7, -far), left, right, (-1e7, far)])
    east = np.array([left, (1e7, -far), (1e7, far), right])
    a, b = Mask.from_polygons([west], size), Mask.from_polygons([east], size)
    assert (a & b).is_empty
    assert (a | b) == Mask.full(size)


def test_a_square_on_pixel_edges_fills_its_pixels_and_no_other():
    square = [(2, 1), (5, 1), (5, 4), (2, 4)]
    expected = np.zeros((6, 7), dtype=bool)
    expected[1:4, 2:5] = True
    assert np.array_equal(Mask.from_polygons([square], (6, 7)).to_array(), expected)
    assert Mask.from_box((2, 1, 5, 4), (6, 7)) == Mask.from_array(expected)
    assert Mask.from_box((1.6, 0.6, 5.4, 4.4), (6, 7)) == Mask.from_array(expected)


def test_a_large_shape_is_filled_as_by_opencv_but_for_the_line_that_it_draws_around_it():
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.where(np.arange(40) % 2, 90, 45)
    star = np.stack([100 + radius * np.cos(angles), 100 + radius * np.sin(angles)], axis=1).round()
    peer, line = np.zeros((2, 200, 200), np.uint8)
    cv2.fillPoly(peer, [star.astype(np.int32)], 1)
    cv2.polylines(line, [star.astype(np.int32)], isClosed=True, color=1)
    ours = Mask.from_polygons([star + 0.5], (200, 200)).to_array()
    assert np.array_equal(ours & (line == 0), (peer == 1) & (line == 0))


def test_holes_are_left_out():
    outer, hole = [(0, 0), (10, 0), (10, 10), (0, 10)], [(3, 3), (6, 3), (6, 7), (3, 7)]
    mask = Mask.from_polygons([Polygon(outer, (hole,))], (10, 10))
    assert mask == Mask.full((10, 10)) - Mask.from_box((3, 3, 6, 7), (10, 10))


@steady
@given(st.from_type(Mask))
def test_exact_outlines_fill_to_the_same_mask(mask):
    polygons = mask.to_polygons()
    assert Mask.from_polygons(polygons, mask.size) == mask
    parts, _ = cv2.connectedComponents(mask.to_array().astype(np.uint8), connectivity=8)
    assert len(polygons) == parts - 1
    holes, _ = cv2.connectedComponents(
        np.pad(~mask.to_array(), 1, constant_values=True).astype(np.uint8), connectivity=4
    )
    assert sum(len(p.holes) for p in polygons) == holes - 2


@steady
@given(st.from_type(Mask))
def test_every_corner_of_an_exact_outline_is_a_turn_on_the_pixel_grid(mask):
    for polygon in mask.to_polygons():
        for ring in polygon.rings:
            steps = np.roll(ring, -1, axis=0) - ring
            assert np.array_equal(ring, ring.round())
            assert ((steps == 0).sum(axis=1) == 1).all()
            assert ((steps == 0)[:, 0] != np.roll(steps == 0, 1, axis=0)[:, 0]).all()


@steady
@given(st.from_type(Mask), st.floats(0.1, 3))
def test_simpler_outlines_have_fewer_corners_and_keep_every_part(mask, tolerance):
    exact, simple = mask.to_polygons(), mask.to_polygons(tolerance)
    assert len(simple) == len(exact)
    for before, after in zip(exact, simple, strict=True):
        assert len(after.exterior) <= len(before.exterior)
        assert len(after.holes) <= len(before.holes)


def test_a_simplified_outline_stays_within_its_tolerance():
    mask = Mask.from_ellipse(150, 120, 100, 60, 25, (240, 300)) - Mask.from_ellipse(150, 120, 30, 20, 0, (240, 300))
    corners = len(mask.to_polygons()[0].exterior)
    for tolerance in (0.8, 2.0, 5.0):
        (polygon,) = mask.to_polygons(tolerance)
        again = Mask.from_polygons([polygon], mask.size)
        wrong = (again - mask) | (mask - again)
        assert len(polygon.holes) == 1
        assert (wrong - mask.boundary(int(tolerance) + 1) - mask.complement().boundary(int(tolerance) + 1)).is_empty
        assert again.iou(mask) > 1 - 0.02 * tolerance
        assert len(polygon.exterior) <= corners
        corners = len(polygon.exterior)
    assert corners < 30


def test_nested_parts_keep_their_own_holes():
    size = (60, 60)
    rings_of_squares = [Mask.from_box((n, n, 60 - n, 60 - n), size) for n in range(0, 30, 4)]
    mask = Mask.empty(size)
    for number, square in enumerate(rings_of_squares):
        mask = mask - square if number % 2 else mask | square
    polygons = mask.to_polygons()
    assert [len(p.holes) for p in polygons] == [1, 1, 1, 1]
    for polygon in polygons:
        assert polygon.exterior.min() < polygon.holes[0].min() < polygon.holes[0].max() < polygon.exterior.max()
    assert sum((Mask.from_polygons([p], size).area for p in polygons), 0) == mask.area


NOT_RINGS = [
    [],
    "abc",
    [1, 2, 3],
    [(0, 0), (1, 1)],
    [(0, 0, 0)] * 3,
    [(0, 0), (1,), (2, 2)],
    [(0, 0), (1, float("nan")), (2, 2)],
    [(0, 0), (1, float("inf")), (2, 2)],
]


@pytest.mark.parametrize("ring", NOT_RINGS, ids=repr)
def test_what_is_no_polygon_is_refused(ring):
    with pytest.raises(InvalidInput):
        Mask.from_polygons([ring], (5, 5))


def test_an_outline_that_would_take_forever_is_refused():
    zigzag = np.zeros((40_000, 2))
    zigzag[1::2] = (4000, 3000)
    with pytest.raises(TooLarge):
        Mask.from_polygons([zigzag], (3000, 4000))
