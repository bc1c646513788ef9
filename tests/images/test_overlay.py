"""Overlays show every mask where it is, in the colour of its label."""

from __future__ import annotations

import numpy as np

from maskwright.images import draw_overlay, label_colours
from maskwright.images.overlay import draw_heat
from maskwright.masks import Mask

GREY = np.full((240, 320, 3), 128, dtype=np.uint8)


def test_a_mask_tints_its_pixels_and_nothing_far_from_it():
    mask = Mask.from_box((100, 120, 180, 200), (240, 320))
    drawn = draw_overlay(GREY, [(mask, None, None)], colours={None: (255, 0, 0)})
    inside = drawn[140:180, 120:160]
    assert (inside == inside[0, 0]).all()
    assert inside[0, 0, 0] > 170
    assert inside[0, 0, 1] < 90
    assert (drawn[:100] == 128).all()
    assert (drawn[:, 200:] == 128).all()
    assert (GREY == 128).all(), "the picture given is left alone"


def test_small_regions_stay_visible_on_large_ones_whatever_their_order():
    small, large = Mask.from_box((100, 100, 140, 140), (240, 320)), Mask.from_box((20, 20, 300, 220), (240, 320))
    colours = {"small": (255, 0, 0), "large": (0, 0, 255)}
    for regions in ([(small, "small", None), (large, "large", None)], [(large, "large", None), (small, "small", None)]):
        drawn = draw_overlay(GREY, regions, colours=colours)
        assert drawn[130, 130, 0] > drawn[130, 130, 2]
        assert drawn[200, 200, 2] > drawn[200, 200, 0]


def test_every_label_has_its_own_colour():
    names = [f"class {i}" for i in range(24)]
    colours = np.array(list(label_colours(names * 2).values()), dtype=int)
    assert len(colours) == 24
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    assert apart[~np.eye(24, dtype=bool)].min() > 30


def test_labels_and_scores_are_written_in_any_script_at_any_border():
    names = ["cat", "Gebäude", "дом", "猫", "🐈", "a" * 200, ""]
    boxes = [(0, 0, 30, 30), (290, 0, 320, 30), (0, 210, 30, 240), (290, 210, 320, 240), (150, 100, 170, 120)]
    for name in names:
        regions = [(Mask.from_box(box, (240, 320)), name, 0.5) for box in boxes]
        assert draw_overlay(GREY, regions).shape == GREY.shape
    plain = draw_overlay(GREY, [(Mask.from_box(boxes[4], (240, 320)), None, None)])
    labelled = draw_overlay(GREY, [(Mask.from_box(boxes[4], (240, 320)), "cat", 0.87)], colours=label_colours([None]))
    assert (plain != labelled).any(axis=2).sum() > 100


def test_masks_at_the_border_empty_full_and_tiny_are_drawn():
    size = (5, 7)
    pixels = np.zeros((*size, 3), np.uint8)
    for mask in (Mask.empty(size), Mask.full(size), Mask.from_box((6, 4, 7, 5), size)):
        assert draw_overlay(pixels, [(mask, "x", 1.0)]).shape == (5, 7, 3)
    assert not draw_overlay(pixels, [(Mask.empty(size), "x", 1.0)]).any()


def test_heat_is_red_where_a_map_is_high_and_blue_where_it_is_low_and_the_image_shows_through():
    heat = np.zeros((4, 8), dtype=np.float32)
    heat[:, 4:] = 1
    pixels = GREY.copy()
    pixels[100:110] = 255
    drawn = draw_heat(pixels, heat).astype(int)
    assert drawn.shape == GREY.shape
    assert (drawn[:, 260:, 0] > drawn[:, 260:, 2]).all()
    assert (drawn[:, :60, 2] > drawn[:, :60, 0]).all()
    assert (drawn[105] > drawn[50]).all()
