from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.models.faces import FaceFinder


@pytest.fixture(scope="module")
def photograph():
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    return lambda name: np.asarray(Image.open(folder / name).convert("RGB"))


def test_a_face_is_boxed(photograph):
    (box,) = FaceFinder().find(photograph("astronaut.png"))
    assert np.abs(box - [176, 65, 274, 163]).max() < 20


def test_a_face_in_a_large_picture_is_boxed_in_its_own_pixels(photograph):
    image = np.asarray(Image.fromarray(photograph("astronaut.png")).resize((1536, 1536)))
    (box,) = FaceFinder().find(image)
    assert np.abs(box / 3 - [176, 65, 274, 163]).max() < 20


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "rocket.jpg", "coins.png"])
def test_there_is_no_face_where_there_is_nobody(photograph, name):
    assert FaceFinder().find(photograph(name)).shape == (0, 4)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5, 2000)])
def test_a_picture_too_small_for_a_face_has_none(size):
    assert FaceFinder().find(np.zeros((*size, 3), dtype=np.uint8)).shape == (0, 4)
