from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.assist.suggestion.points import SURE, box_points, brightest, on_image, pixel_window, spread
from maskwright.models.protocols import ImageEmbedding
from maskwright.models.upsample import bilinear_weights, mask_from_logits

SIZE = (60, 80)
YY, XX = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5


def embedding_of(size=SIZE, input_size=None) -> ImageEmbedding:
    return ImageEmbedding({}, size, input_size or size, "v")


def gaussian(x: float, y: float, peak: float, sigma: float = 8.0) -> np.ndarray:
    return (peak * np.exp(-((XX - x) ** 2 + (YY - y) ** 2) / (2 * sigma**2))).astype(np.float32)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return (XX - x) ** 2 + (YY - y) ** 2 <= radius**2


def logits_of(inside: np.ndarray) -> np.ndarray:
    return np.where(inside, np.float32(8), np.float32(-8))


def public_rule(maps: np.ndarray, count: int = 20) -> np.ndarray:
    """As the public code does it, literally: one grey scale for all maps, arg-max, zero, again."""
    grey = (255 * (maps - maps.min()) / (maps.max() - maps.min())).astype(np.uint8)
    points = np.zeros((len(maps), count, 2))
    for one, row in zip(grey, points, strict=True):
        for point in row:
            y, x = np.unravel_index(one.argmax(), one.shape)
            point[:] = x, y
            one[y, x] = 0
    return points


def top20(maps: np.ndarray) -> np.ndarray:
    size = maps.shape[1:]
    return np.stack(box_points("top20", embedding_of(size), maps, [(0, 0, size[1], size[0])] * len(maps), 5))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([1.0, 0.02]))
def test_twenty_brightest_are_those_of_the_public_code(seed, count, weakness):
    rng = np.random.default_rng(seed)
    maps = np.round(rng.normal(size=(count, 7, 9)) * 4).astype(np.float32)
    maps[-1] *= weakness
    if maps.max() > maps.min():
        assert (top20(maps) - 0.5 == public_rule(maps)).all()


def test_of_two_peaks_each_has_its_own_points_and_the_weak_one_keeps_all_twenty():
    strong, weak = top20(np.stack([gaussian(20, 20, 10), gaussian(60, 40, 2)]))
    assert np.hypot(*(strong - (20, 20)).T).max() < 4
    assert np.hypot(*(weak - (60, 40)).T).max() < 8
    assert len(np.unique(strong, axis=0)) == len(np.unique(weak, axis=0)) == 20


def test_twenty_brightest_of_a_plateau_stand_side_by_side_and_spread_ones_do_not():
    plateau = logits_of((XX > 10) & (XX < 50) & (YY > 5) & (YY < 45))
    assert (top20(plateau[None])[0] == [(10.5 + k, 5.5) for k in range(20)]).all()
    few = spread(plateau, 5)
    apart = np.hypot(*(few[:, None] - few[None]).transpose(2, 0, 1))
    assert len(few) == 5
    assert apart[~np.eye(5, dtype=bool)].min() > 5


def test_a_map_that_says_nothing_still_gives_its_points():
    nothing = np.zeros((6, 8), dtype=np.float32)
    assert (brightest(nothing, 0, 0) == [(k % 8 + 0.5, k // 8 + 0.5) for k in range(20)]).all()
    assert (brightest(nothing, 0, 1) == 0.5).all()
    assert len(spread(nothing, 5)) >= 1


@pytest.mark.parametrize(("x", "y", "radius"), [(40, 30, 20), (25.5, 30.5, 9), (60, 20, 3)])
def test_first_spread_point_of_a_disc_is_its_centre(x, y, radius):
    (point,) = box_points("spread", embedding_of(), logits_of(disc(x, y, radius))[None], [(0, 0, 80, 60)], 1)
    assert np.abs(point[0] - (x, y)).max() <= 1


def test_spread_points_lie_in_the_box_in_what_is_sure():
    two = np.maximum(logits_of(disc(20, 30, 12)), np.where(disc(60, 30, 12), np.float32(SURE - 0.1), np.float32(-8)))
    (right,) = box_points("spread", embedding_of(), two[None], [(40, 10, 80, 50)], 5)
    assert (right[:, 0] >= 40).all()  # nothing is sure there: the best of the box stand in
    (left,) = box_points("spread", embedding_of(), two[None], [(0, 0, 80, 60)], 5)
    assert all(disc(20, 30, 12)[int(y), int(x)] for x, y in left)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_spread_points_keep_their_distance_whatever_the_map(seed, count):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(9, 14)).astype(np.float32) * 4
    points = spread(logits, count)
    assert 1 <= len(points) <= count
    assert len(np.unique(points, axis=0)) == len(points)
    ys, xs = points[:, 1].astype(int), points[:, 0].astype(int)
    if (logits >= SURE).any():
        assert (logits[ys, xs] >= SURE).all()


def test_no_points_are_no_points():
    assert [p.shape for p in box_points("none", embedding_of(), np.zeros((2, 4, 4)), [(0, 0, 1, 1)] * 2, 5)] == [
        (0, 2)
    ] * 2
    assert box_points("top20", embedding_of(), np.zeros((0, 4, 4)), [], 5) == []


def test_logits_over_a_window_are_what_the_whole_mask_is_made_of():
    logits = np.random.default_rng(1).normal(size=(15, 20)).astype(np.float32)
    embedding = embedding_of((61, 83), (15, 20))
    whole = on_image(logits, embedding, (0, 0, 83, 61))
    assert (whole > 0).tolist() == mask_from_logits(logits, (61, 83)).to_array().tolist()
    assert np.allclose(on_image(logits, embedding, (7, 11, 30, 50)), whole[11:50, 7:30])


def test_padding_of_a_square_input_is_not_read():
    logits = np.full((16, 16), 5, dtype=np.float32)
    logits[:12] = np.random.default_rng(2).normal(size=(12, 16))
    seen = on_image(logits, embedding_of((30, 40), (768, 1024)), (0, 0, 40, 30))
    rows, columns = bilinear_weights(12, 30).dense(0, 12), bilinear_weights(16, 40).dense(0, 16)
    assert np.allclose(seen, rows @ logits[:12] @ columns.T, atol=1e-5)


@given(*[st.floats(-100, 200)] * 4)
def test_the_window_of_a_box_is_never_empty_and_never_leaves_the_image(a, b, c, d):
    x0, y0, x1, y1 = pixel_window((min(a, c), min(b, d), max(a, c), max(b, d)), SIZE)
    assert 0 <= x0 < x1 <= SIZE[1]
    assert 0 <= y0 < y1 <= SIZE[0]
