"""Logits become the same mask as by enlarging them wholly."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maskwright.models.preprocessing import InputFrame
from maskwright.models.upsample import axis_weights, mask_from_logits

SIDE = 1024


def full(logits, original_size, padded=None, input_size=None):
    """The families' own steps over the whole frame: (H, W) float32 logits."""
    values = torch.from_numpy(logits)[None, None]
    if padded is not None:
        values = torch.nn.functional.interpolate(values, (padded, padded), mode="bilinear", align_corners=False)
        values = values[..., : input_size[0], : input_size[1]]
    values = torch.nn.functional.interpolate(values, original_size, mode="bilinear", align_corners=False)
    return values[0, 0].numpy()


def assert_equal_to_full(logits, original_size, padded=None, input_size=None):
    mask = mask_from_logits(logits, original_size, padded=padded, input_size=input_size)
    expected = full(logits, original_size, padded, input_size)
    assert mask.size == original_size
    differ = mask.to_array() != (expected > 0)
    # Rounding differs by some units in the last place of the largest logit that takes part.
    assert not differ[np.abs(expected) > 1e-5 * np.abs(logits).max()].any()
    return int(differ.sum())


def blob(side, rng, count=3):
    """Smooth logits with a few objects, some cut by the border."""
    y, x = np.mgrid[:side, :side]
    out = np.full((side, side), -8.0)
    for _ in range(count):
        cx, cy, radius = rng.uniform([0, 0, 1], [side, side, side / 3])
        out = np.maximum(out, 6 * (1 - np.hypot(x - cx, y - cy) / radius))
    return (out + rng.normal(0, 0.3, out.shape)).astype(np.float32)


@pytest.mark.parametrize(
    "size", [(1, 1), (7, 1023), (1023, 7), (1080, 1920), (3000, 4000), (1, 3000), (64, 64), (1024, 1024)], ids=str
)
@pytest.mark.parametrize("two_steps", [True, False], ids=["padded", "stretched"])
def test_a_mask_equals_the_one_of_the_whole_frame(size, two_steps):
    logits = blob(256, np.random.default_rng(sum(size)))
    steps = {"padded": SIDE, "input_size": InputFrame(SIDE, keep_aspect=True).input_size(size)} if two_steps else {}
    assert assert_equal_to_full(logits, size, **steps) <= 2


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    cells=st.sampled_from([8, 13, 32]),
    two_steps=st.booleans(),
    count=st.integers(0, 3),
)
@example(seed=0, height=1, width=150, cells=8, two_steps=True, count=2)
def test_any_logits_at_any_size_give_the_mask_of_the_whole_frame(seed, height, width, cells, two_steps, count):
    logits = blob(cells, np.random.default_rng(seed), count)
    side = 4 * cells
    steps = {}
    if two_steps:
        steps = {"padded": side, "input_size": InputFrame(side, keep_aspect=True).input_size((height, width))}
    assert_equal_to_full(logits, (height, width), **steps)


@pytest.mark.parametrize("value", [-1.0, 0.0, 3.0, float("nan")])
def test_constant_logits_give_all_or_nothing(value):
    logits = np.full((16, 16), value, np.float32)
    mask = mask_from_logits(logits, (33, 51), padded=64, input_size=(41, 64))
    assert mask.area == (33 * 51 if value > 0 else 0)


def test_logits_in_the_padding_alone_give_an_empty_mask():
    logits = np.full((256, 256), -5, np.float32)
    logits[200:, :] = 5  # below the image: a wide picture fills the upper 144 rows of cells
    assert mask_from_logits(logits, (1080, 1920), padded=SIDE, input_size=(576, 1024)).is_empty


def test_only_the_box_of_positive_cells_is_filled():
    logits = np.full((256, 256), -1e4, np.float32)
    logits[20, 30] = 1e4
    mask = mask_from_logits(logits, (1024, 1024), padded=SIDE, input_size=(1024, 1024))
    left, top, right, bottom = mask.box
    assert 30 * 4 - 4 <= left < right <= 31 * 4 + 4
    assert 20 * 4 - 4 <= top < bottom <= 21 * 4 + 4


@given(st.integers(1, 300), st.integers(1, 3000), st.integers(1, 60))
def test_weights_are_a_mean_of_neighbouring_cells(cells, positions, inside):
    for weights in (
        axis_weights(cells, positions),
        axis_weights(cells, positions, padded=max(cells * 4, inside), inside=inside),
    ):
        assert (weights.weights >= 0).all()
        np.testing.assert_allclose(weights.weights.sum(axis=1), 1, atol=1e-5)
        assert weights.cells.min() >= 0
        assert weights.cells.max() < cells
        assert (np.diff(weights.cells.max(axis=1)) >= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (7, 1023), (480, 640), (3000, 4000), (1024, 1024)], ids=str)
def test_a_click_on_a_one_pixel_target_reaches_the_input_within_half_an_input_pixel_of_it(size):
    # The prompt encoders add half a pixel to what coordinates() gives; a pixel's own area is the target.
    frame = InputFrame(SIDE, keep_aspect=True)
    height, width = size
    new_height, new_width = frame.input_size(size)
    for x, y in ((0, 0), (width - 1, height - 1), (width // 2, height // 3)):
        seen = frame.coordinates(np.array([[x + 0.5, y + 0.5]]), size)[0] + 0.5
        low = np.array([x * new_width / width, y * new_height / height])
        high = np.array([(x + 1) * new_width / width, (y + 1) * new_height / height])
        assert (seen >= low - 0.5 - 1e-4).all()
        assert (seen <= high + 0.5 + 1e-4).all()


@pytest.mark.parametrize("size", [(1024, 1024), (512, 1024), (2048, 1536)], ids=str)
def test_a_target_in_the_image_comes_back_where_it_was(size):
    # One image pixel's cell is lit; the mask is centred on that pixel's place to half a cell, so no frame is shifted.
    frame = InputFrame(SIDE, keep_aspect=True)
    target = np.array([[301.5, 207.5]])
    cell = frame.coordinates(target, size)[0] / 4
    logits = np.full((256, 256), -1.0, np.float32)
    logits[int(cell[1]), int(cell[0])] = 1.0
    mask = mask_from_logits(logits, size, padded=SIDE, input_size=frame.input_size(size))
    left, top, right, bottom = mask.box
    pixels_per_cell = 4 * max(size) / SIDE
    assert abs((left + right) / 2 - target[0, 0]) <= pixels_per_cell / 2 + 1
    assert abs((top + bottom) / 2 - target[0, 1]) <= pixels_per_cell / 2 + 1
