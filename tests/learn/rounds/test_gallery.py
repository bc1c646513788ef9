"""The pictures of a round show what they are about, however small it is and whatever the model made of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskwright.images import decode_image
from maskwright.learn.rounds.gallery import picture
from maskwright.masks import Mask

HEIGHT, WIDTH = 400, 600


def disc(y, x, radius):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    return Mask.from_array(cv2.circle(mask, (x, y), radius, 1, -1))


@pytest.mark.parametrize("radius", [2, 5, 20, 180])
@pytest.mark.parametrize(
    "model", [disc(200, 300, 6), disc(20, 40, 9), Mask.full((HEIGHT, WIDTH)), Mask.empty((HEIGHT, WIDTH))]
)
def test_the_object_fills_a_good_part_of_a_picture_that_is_large_enough_to_see(radius, model):
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    shown = decode_image(picture(black, disc(200, 300, radius), model)).pixels
    assert 240 <= max(shown.shape[:2]) <= 480
    red, green, blue = np.moveaxis(shown.astype(int), 2, 0)
    drawn = (green > red) & (green > blue)
    assert drawn.any(axis=1).sum() > 0.25 * shown.shape[0]
    assert drawn.any(axis=0).sum() > 0.25 * shown.shape[1]


def test_nothing_is_written_over_the_picture():
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    person = disc(200, 300, 10)
    shown = decode_image(picture(black, person, Mask.empty((HEIGHT, WIDTH)))).pixels
    # All that is drawn is one connected thing: the object with its outline.
    count, _ = cv2.connectedComponents(shown.any(axis=2).astype(np.uint8))
    assert count == 2
    assert not shown[0].any()
