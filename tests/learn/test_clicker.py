from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.learn.clicker import Click, click_through, clicked_masks, next_click


def frame(height: int, width: int, *blocks: tuple[int, int, int, int]) -> np.ndarray:
    """Blocks are x1, y1, x2, y2."""
    mask = np.zeros((height, width), dtype=bool)
    for x1, y1, x2, y2 in blocks:
        mask[y1:y2, x1:x2] = True
    return mask


NOTHING = frame(12, 16)


def test_the_first_click_lies_in_the_middle_of_the_object():
    assert next_click(frame(12, 16, (1, 2, 6, 7)), NOTHING, NOTHING) == Click(3, 4, 1)


def test_the_border_of_the_image_is_a_border_of_the_object():
    everything = frame(5, 9, (0, 0, 9, 5))
    # Depth 3 along the middle row from column 2 to 6; the first of them is taken.
    assert next_click(everything, frame(5, 9), frame(5, 9)) == Click(2, 2, 1)


def test_the_deeper_of_missed_and_wrong_is_clicked():
    truth = frame(12, 16, (1, 1, 6, 6), (10, 1, 13, 4))
    assert next_click(truth, frame(12, 16, (10, 1, 13, 4), (9, 8, 12, 11)), NOTHING) == Click(3, 3, 1)
    assert next_click(truth, frame(12, 16, (1, 1, 6, 6), (9, 5, 16, 12)), NOTHING) == Click(12, 8, 0)


def test_where_missed_and_wrong_are_equally_deep_the_click_is_negative():
    truth, mask = frame(12, 16, (1, 1, 4, 4)), frame(12, 16, (8, 6, 11, 9))
    assert next_click(truth, mask, NOTHING) == Click(9, 7, 0)


def test_depth_counts_and_not_area():
    truth = frame(12, 16, (0, 10, 16, 11), (4, 2, 7, 5))
    assert next_click(truth, NOTHING, NOTHING) == Click(5, 3, 1)


def test_no_pixel_is_clicked_twice():
    truth = frame(12, 16, (2, 2, 5, 5))
    taken = frame(12, 16, (3, 3, 4, 4))
    assert next_click(truth, NOTHING, taken) == Click(2, 2, 1)
    made: list[Click] = []

    def blind(clicks):
        made[:] = clicks
        return NOTHING

    assert len(list(clicked_masks(truth, blind))) == 9, "then nothing is left to click on"
    assert len(set(made)) == 9
    assert {(c.x, c.y) for c in made} == {(x, y) for x in (2, 3, 4) for y in (2, 3, 4)}


def test_nothing_is_clicked_where_nothing_is_wrong():
    truth = frame(12, 16, (2, 2, 5, 5))
    assert next_click(truth, truth, NOTHING) is None
    assert click_through(truth, lambda clicks: truth, 5) == [1.0] * 5


def test_clicks_are_sent_at_the_centre_of_their_pixel():
    assert Click(3, 7, 1).at_centre == (3.5, 7.5, 1)


def on_the_whole_frame(truth, mask, taken) -> Click | None:
    """The rules as RITM's clicker.py applies them, on every pixel."""
    depths = []
    for error in (truth & ~mask, mask & ~truth):
        padded = np.pad(error, 1).astype(np.uint8)
        depths.append(cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1] * ~taken)
    positive = depths[0].max() > depths[1].max()
    depth = depths[0] if positive else depths[1]
    y, x = (int(found[0]) for found in np.where(depth == depth.max()))
    return Click(x, y, int(positive)) if depth.max() > 0 else None


@st.composite
def situations(draw):
    """Truth, mask and taken of one frame: noise, or blocks large enough to be deep."""
    shape = draw(st.tuples(st.integers(1, 70), st.integers(1, 70)))
    rows, columns = np.indices(shape)

    def blocks():
        grid = draw(hnp.arrays(np.bool_, (5, 5)))
        return grid[rows * 5 // shape[0], columns * 5 // shape[1]]

    def noise():
        return draw(hnp.arrays(np.bool_, shape, fill=st.just(draw(st.booleans()))))

    truth, mask = (draw(st.sampled_from([blocks, noise]))() for _ in range(2))
    return truth, mask, draw(hnp.arrays(np.bool_, shape, fill=st.just(False)))


@settings(max_examples=150, deadline=None)
@given(situations())
def test_clicks_are_those_of_a_search_over_the_whole_frame(situation):
    assert next_click(*situation) == on_the_whole_frame(*situation)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_clicked_pixel_is_the_farthest_from_everything_outside(truth):
    click = next_click(truth, np.zeros_like(truth), np.zeros_like(truth))
    framed = np.pad(truth, 1)
    outside = np.argwhere(~framed)
    depths = {(int(x) - 1, int(y) - 1): float(np.hypot(*(outside - (y, x)).T).min()) for y, x in np.argwhere(framed)}
    if not depths:
        assert click is None
    else:
        assert click is not None
        assert abs(depths[click.x, click.y] - max(depths.values())) < 1e-5
