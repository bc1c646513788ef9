import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.base.augment import cropped_mask, turn_colours
from maskwright.learn.base.collect import packed
from maskwright.learn.base.cutouts import trimmed
from maskwright.learn.base.drawn import draw_scene
from maskwright.learn.base.pasting import Canvas, Pasted
from maskwright.learn.base.photographs import Photograph, crop, whole_object
from maskwright.learn.base.preview import outlined
from maskwright.learn.base.sampling import Sample


def box(height: int, width: int, alpha: int = 255) -> tuple[np.ndarray, np.ndarray]:
    return np.full((height, width, 3), 200, np.uint8), np.full((height, width), alpha, np.uint8)


@given(x=st.integers(-30, 130), y=st.integers(-30, 130), h=st.integers(1, 60), w=st.integers(1, 60))
def test_what_is_pasted_is_seen_where_it_was_put_and_nowhere_else(x, y, h, w):
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    canvas.paste(Pasted(*box(h, w), x, y), 0.0, 0.0, np.random.default_rng(0))
    seen = canvas.owner == 0
    assert (canvas.image[:, :, 0] == np.where(seen, 200, 0)).all()
    rows, columns = range(y - h // 2, y - h // 2 + h), range(x - w // 2, x - w // 2 + w)
    assert seen.sum() == sum(0 <= r < 100 for r in rows) * sum(0 <= c < 100 for c in columns)


def test_a_thing_behind_another_keeps_what_is_visible():
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    rng = np.random.default_rng(0)
    canvas.paste(Pasted(*box(60, 60), 50, 50), 0.3, 0.4, rng)
    canvas.paste(Pasted(*box(10, 100), 50, 50), 0.3, 0.4, rng)
    behind, before = canvas.visible(0.35)
    assert (behind.sum(), before.sum()) == (3000, 1000)
    assert not (behind & before).any()
    canvas.cover(*box(100, 100))
    assert canvas.visible(0.35) == []


def test_a_faint_rim_is_not_part_of_the_mask():
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8))
    canvas.paste(Pasted(*box(20, 20, alpha=100), 50, 50), 0.0, 0.0, np.random.default_rng(0))
    assert canvas.visible(0.1) == []


def test_cutouts_are_things_and_not_pictures_lines_or_crumbs():
    rgba = np.full((60, 60, 4), 255, np.uint8)
    assert trimmed(rgba) is None, "a full rectangle"
    rgba[:, :, 3] = 0
    assert trimmed(rgba) is None, "nothing"
    rgba[10:50, 10:50, 3] = 255
    rgba[13:47, 13:47, 3] = 0
    assert trimmed(rgba) is None, "an outline"
    ys, xs = np.indices((60, 60))
    rgba[:, :, 3] = ((ys - 30) ** 2 + (xs - 30) ** 2 < 400) * 255
    found = trimmed(rgba)
    assert found is not None
    assert found.alpha.shape == found.colour.shape[:2] == (39, 39)


@given(data=st.data(), height=st.integers(8, 40), width=st.integers(8, 40))
def test_cropping_a_mask_at_its_own_size_is_cutting_it_out(data, height, width):
    left, top = data.draw(st.integers(0, width - 4)), data.draw(st.integers(0, height - 4))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 2, (height, width)).astype(np.uint8) * 255
    part = cropped_mask(mask, (left, top, right, bottom), bottom - top, right - left)
    assert (part == (mask[top:bottom, left:right] > 0)).all()


@given(seed=st.integers(0, 500), scale=st.sampled_from([0.5, 1.0, 0.37]))
def test_a_crop_and_its_masks_show_the_same_place(seed, scale):
    image = np.zeros((120, 180, 3), np.uint8)
    image[30:90, 40:120] = 255
    grid = np.zeros((round(120 * scale), round(180 * scale)), np.uint8)
    grid[round(30 * scale) : round(90 * scale), round(40 * scale) : round(120 * scale)] = 255
    part, regions = crop(np.random.default_rng(seed), Photograph(image, ("box",), (grid,)), 256)
    assert max(part.shape[:2]) == 256
    for name, mask in regions:
        assert name == "box"
        bright = part[:, :, 0] > 127
        assert (mask & bright).sum() > 0.9 * (mask | bright).sum()


def test_only_whole_things_are_pasted_elsewhere():
    mask = np.zeros((100, 100), np.uint8)
    mask[20:60, 20:60] = 255
    assert whole_object("left giraffe", mask)
    assert not whole_object("left ear", mask)
    assert not whole_object("cow", np.roll(mask, -20, axis=0)), "cut by the edge"
    mask[80:90, 80:90] = 255
    assert not whole_object("cow", mask), "in two pieces"


def test_colours_that_are_not_turned_stay():
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    assert np.abs(turn_colours(image, 1.0).astype(int) - image).max() <= 1
    assert np.ptp(turn_colours(image, 0.0).astype(int), axis=2).max() <= 1


def test_packing_annotations_twice_gives_the_same_bytes(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"p1": {"source": "b", "sha256": "1"}, "p0": {"source": "a", "sha256": "2"}}))
    (masks / "p1.json").write_text(json.dumps([{"name": "cat", "size": [2, 2], "counts": [1, 3]}]))
    content, photographs, regions = packed(manifest, masks)
    assert (photographs, regions) == (2, 1)
    assert packed(manifest, masks)[0] == content
    (masks / "p1.json").write_text("[{}]")
    with pytest.raises(InvalidInput, match=r"p1\.json: not a list of regions"):
        packed(manifest, masks)
    (masks / "p7.json").write_text("[]")
    with pytest.raises(InvalidInput, match=r"p7\.json: no such photograph"):
        packed(manifest, masks)


def test_a_drawn_scene_numbers_every_pixel():
    photograph = np.random.default_rng(0).uniform(0, 255, (200, 200, 3))
    image, number, areas = draw_scene(np.random.default_rng(1), [photograph])
    assert image.shape[:2] == number.shape
    assert number.min() >= 0
    assert areas >= 1


def test_the_preview_outlines_masks():
    mask = np.zeros((100, 200), dtype=bool)
    mask[20:80, 40:160] = True
    tile = outlined(Sample(np.full((100, 200, 3), 90, np.uint8), (mask,), "x"))
    assert (tile == (255, 0, 0)).all(axis=2).any()
