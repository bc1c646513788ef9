"""How a network sees images: sizes, windows, statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.dense.input_grid import CLIP_MEAN, CLIP_STD, InputGrid, slide

GRID = InputGrid(16, CLIP_MEAN, CLIP_STD)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_windows_cover_every_patch_and_stay_inside(height, width):
    rows, columns = GRID.cells((height, width))
    seen = np.zeros((rows, columns), dtype=int)
    for window in GRID.windows((rows, columns)):
        seen[window] += 1
        assert seen[window].shape == (min(21, rows), min(21, columns))
    assert seen.min() >= 1
    assert max(rows, columns) * 16 <= 2016 + 8


def test_the_shorter_side_is_a_windows_and_windows_step_by_a_third_of_it():
    cells = GRID.cells((480, 640))
    assert cells == (21, 28)
    assert [window[1].start for window in GRID.windows(cells)] == [0, 7]
    assert [window[1].start for window in GRID.windows((21, 30))] == [0, 7, 9]


def test_statistics_and_filter_come_from_the_checkpoint():
    processor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5] * 3, "resample": 2}
    grid = InputGrid.of_checkpoint(8, processor, CLIP_MEAN, CLIP_STD, short_side=8)
    image = np.full((8, 8, 3), 255, dtype=np.uint8)
    np.testing.assert_allclose(grid.pixels(image)[:, 0, 0], [1.8, 1.6, 1.4], atol=1e-6)
    assert grid.resample == 2
    with pytest.raises(ModelUnavailable, match="resample"):
        InputGrid.of_checkpoint(8, {"resample": 77}, CLIP_MEAN, CLIP_STD)
    with pytest.raises(ModelUnavailable, match="image_mean"):
        InputGrid.of_checkpoint(8, {"image_mean": [1]}, CLIP_MEAN, CLIP_STD)


def test_pixels_equal_pillows_bicubic_resizing(picture):
    from PIL import Image

    image = picture(50, 70)
    rows, columns = GRID.cells((50, 70))
    resized = np.asarray(Image.fromarray(image).resize((columns * 16, rows * 16), Image.Resampling.BICUBIC))
    expected = (resized / 255.0 - CLIP_MEAN) / CLIP_STD
    np.testing.assert_allclose(GRID.pixels(image), expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(InvalidInput, match="uint8"):
        GRID.pixels(image)


def test_batches_of_windows_change_nothing(picture):
    image = picture(40, 200)

    def encode(pixels):
        means = pixels.reshape(len(pixels), 3, pixels.shape[2] // 16, 16, -1, 16).mean(axis=(3, 5))
        return np.ascontiguousarray(means.transpose(0, 2, 3, 1))

    one, four = (slide(image, GRID, encode, at_once=n) for n in (1, 4))
    np.testing.assert_array_equal(one, four)
    np.testing.assert_allclose(np.linalg.norm(one, axis=-1), 1, atol=1e-6)
