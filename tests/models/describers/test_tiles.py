import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.models.describers.tiles import tiles, united
from maskwright.models.protocols import Tag


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 30))
def test_tiles_fit_and_cover_every_pixel_once(height, width, longest):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    parts = tiles(image, longest)
    assert all(0 < max(part.shape[:2]) <= longest for part in parts)
    for part in parts:
        part += 1
    assert (image == 1).all()


def test_an_image_that_fits_stays_whole_and_one_above_becomes_quarters():
    assert [part.shape for part in tiles(np.zeros((640, 640, 3), dtype=np.uint8))] == [(640, 640, 3)]
    assert [part.shape[:2] for part in tiles(np.zeros((11, 641, 3), dtype=np.uint8))] == [
        (5, 320), (5, 321), (6, 320), (6, 321),
    ]  # fmt: skip
    assert len(tiles(np.zeros((1281, 100, 3), dtype=np.uint8))) == 10  # of the quarters only the taller is cut again


def test_an_empty_image_has_no_tiles():
    with pytest.raises(InvalidInput):
        tiles(np.zeros((0, 4, 3), dtype=np.uint8))


def test_the_union_keeps_each_word_once_at_its_best():
    parts = [[Tag("cat", 0.5), Tag("dog", 0.4)], [Tag("dog", 0.9)], [], [Tag("sky", 0.5)]]
    assert united(parts, 10) == [Tag("dog", 0.9), Tag("cat", 0.5), Tag("sky", 0.5)]
    assert united(parts, 1) == [Tag("dog", 0.9)]
