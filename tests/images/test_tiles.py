"""Tiles cover an image exactly; windows hold the prompt and stay put while it moves a little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.images import crop_window, tile_grid

SIDES = st.integers(1, 700)


@st.composite
def grids(draw):
    halo = draw(st.integers(0, 100))
    # Cores of a few pixels would make hundreds of thousands of tiles.
    return (draw(SIDES), draw(SIDES)), 2 * halo + draw(st.integers(16, 200)), halo


@settings(deadline=None)
@given(grids())
def test_cores_cover_every_pixel_exactly_once(grid):
    size, tile, halo = grid
    covered = np.zeros(size, dtype=np.uint8)
    for piece in tile_grid(size, tile, halo):
        x0, y0, x1, y1 = piece.core
        assert x0 < x1
        assert y0 < y1
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


@settings(deadline=None)
@given(grids())
def test_boxes_have_one_size_and_give_each_core_its_halo(grid):
    (height, width), tile, halo = grid
    for piece in tile_grid((height, width), tile, halo):
        for low, high, length in ((0, 2, width), (1, 3, height)):
            core0, core1, box0, box1 = piece.core[low], piece.core[high], piece.box[low], piece.box[high]
            assert box1 - box0 == min(tile, length)
            assert 0 <= box0 <= core0 < core1 <= box1 <= length
            assert core0 - box0 >= halo or box0 == core0 == 0
            assert box1 - core1 >= halo or box1 == core1 == length


def test_no_more_tiles_than_necessary():
    assert len(tile_grid((1000, 1000), 1000, 100)) == 1
    assert len(tile_grid((1000, 1001), 1000, 100)) == 2
    assert len(tile_grid((1000, 1800), 1000, 100)) == 2
    assert len(tile_grid((1000, 1801), 1000, 100)) == 3


@pytest.mark.parametrize(
    ("size", "tile", "halo"), [((0, 5), 10, 1), ((5, -1), 10, 1), ((5, 5), 0, 0), ((5, 5), 10, 5), ((5, 5), 10, -1)]
)
def test_impossible_grids_are_refused(size, tile, halo):
    with pytest.raises(InvalidInput):
        tile_grid(size, tile, halo)


@st.composite
def prompts(draw):
    height, width, tile = draw(SIDES), draw(SIDES), draw(st.integers(1, 300))
    xs = sorted(draw(st.lists(st.floats(0, width, allow_nan=False), min_size=2, max_size=2)))
    ys = sorted(draw(st.lists(st.floats(0, height, allow_nan=False), min_size=2, max_size=2)))
    return (height, width), (xs[0], ys[0], xs[1], ys[1]), tile


@settings(deadline=None)
@given(prompts())
def test_a_window_holds_the_extent_whenever_one_can(prompt):
    (height, width), (x0, y0, x1, y1), tile = prompt
    window = crop_window((height, width), (x0, y0, x1, y1), tile)
    # In whole pixels the extent can be up to one pixel longer than its corners tell.
    fits = all(
        length <= tile or np.ceil(high) - np.floor(low) <= tile
        for low, high, length in ((x0, x1, width), (y0, y1, height))
    )
    assert (window is not None) == fits
    if window is not None:
        assert window[0] <= x0 <= x1 <= window[2]
        assert window[1] <= y0 <= y1 <= window[3]
        assert (window[2] - window[0], window[3] - window[1]) == (min(tile, width), min(tile, height))
        assert 0 <= window[0] < window[2] <= width
        assert 0 <= window[1] < window[3] <= height


@settings(deadline=None)
@given(prompts(), st.data())
def test_the_pixel_under_a_click_is_inside_its_window(prompt, data):
    (height, width), _, tile = prompt
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x0, y0, x1, y1 = crop_window((height, width), (x, y, x, y), tile)
    assert x0 <= x < x1
    assert y0 <= y < y1


def test_neighbouring_clicks_share_one_window_and_keep_a_quarter_of_context():
    size, tile = (6000, 9000), 2048
    windows = set()
    for x in range(0, 9000, 97):
        x0, _, x1, _ = crop_window(size, (x, 3000, x, 3000), tile)
        assert x - x0 >= tile // 4 - 1 or x0 == 0
        assert x1 - x >= tile // 4 - 1 or x1 == 9000
        windows.add((x0, x1))
    assert len(windows) <= 9
    assert crop_window(size, (4000, 3000, 4000, 3000), tile) == crop_window(size, (4050, 3030, 4060, 3040), tile)


def test_an_extent_beyond_the_border_counts_only_as_far_as_the_image_goes():
    assert crop_window((1000, 1000), (-50, 990, 20, 5000), 100) == (0, 900, 100, 1000)
    assert crop_window((1000, 1000), (2000, -30, 2500, -10), 100) == (900, 0, 1000, 100)


def test_an_extent_longer_than_a_tile_has_no_window():
    assert crop_window((1000, 1000), (100, 100, 400, 120), 200) is None
    assert crop_window((150, 1000), (100, 0, 120, 150), 200) == (0, 0, 200, 150)
