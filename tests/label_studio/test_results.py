"""Regions to Label Studio's JSON and back."""

from __future__ import annotations

import math

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.results import region_to_result, result_to_region, results_to_regions

CONFIG = parse_config(
    '<View><Image name="image" value="$image"/>'
    + "".join(
        f'<{tag} name="{tag}" toName="image"><Label value="Cat"/><Label value="кот 🐈 &lt;1&gt;"/></{tag}>'
        for tag in ("BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels", "EllipseLabels")
    )
    + "</View>"
)
TAGS = ["BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels", "EllipseLabels"]


def output(tag: str):
    return CONFIG.output_for("image", "Cat", tag)


def through_json(items):
    return orjson.loads(orjson.dumps(items, option=orjson.OPT_SERIALIZE_NUMPY))


@pytest.mark.parametrize("tag", ["BrushLabels", "BitmaskLabels"])
def test_masks_come_back_bit_identical(tag, ring_and_blob, region):
    (item,) = through_json(region_to_result(region(ring_and_blob), output(tag)))
    back = result_to_region(item)
    assert back.mask == ring_and_blob
    assert (back.label, back.score) == ("Cat", 0.75)


@settings(max_examples=50, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_any_mask_comes_back_bit_identical(pixels):
    mask = Mask.from_array(pixels)
    region = Region(mask, "Cat", 0.5, Provenance("interactive"))
    for tag in ("BrushLabels", "BitmaskLabels"):
        items = through_json(region_to_result(region, output(tag)))
        assert [result_to_region(item).mask for item in items] == ([] if mask.is_empty else [mask])


@pytest.mark.parametrize("tag", TAGS)
def test_every_item_has_what_the_server_stores_with_a_region(tag, ring_and_blob, region):
    items = through_json(region_to_result(region(ring_and_blob), output(tag)))
    for item in items:
        assert item["from_name"] == tag
        assert item["to_name"] == "image"
        assert item["type"] == tag.lower()
        assert (item["original_width"], item["original_height"], item["image_rotation"]) == (320, 240, 0)
        assert item["score"] == 0.75
        assert item["value"][tag.lower()] == ["Cat"]
        assert "item_index" not in item
    assert len({item["id"] for item in items}) == len(items)


@pytest.mark.parametrize("tag", TAGS)
def test_the_shapes_are_those_of_the_recorded_regions(tag, ring_and_blob, region):
    keys = {
        "BrushLabels": {"format", "rle"},
        "BitmaskLabels": {"imageDataURL"},
        "PolygonLabels": {"points", "closed"},
        "RectangleLabels": {"x", "y", "width", "height", "rotation"},
        "EllipseLabels": {"x", "y", "radiusX", "radiusY", "rotation"},
    }[tag]
    for item in region_to_result(region(ring_and_blob), output(tag)):
        assert set(item["value"]) == keys | {tag.lower()}


@pytest.mark.parametrize("tag", TAGS)
def test_labels_of_any_unicode_survive(tag, ring_and_blob, region):
    name = "кот 🐈 <1>"
    found = CONFIG.output_for("image", name, tag)
    items = through_json(region_to_result(region(ring_and_blob, name), found))
    assert {result_to_region(item).label for item in items} == {name}


@pytest.mark.parametrize("tag", TAGS)
def test_a_region_of_a_value_list_says_of_which_image(tag, ring_and_blob, region):
    assert all(i["item_index"] == 2 for i in region_to_result(region(ring_and_blob), output(tag), item_index=2))


def test_several_labels_are_written_where_several_were_chosen(ring_and_blob, region):
    (item,) = region_to_result(region(ring_and_blob), output("BrushLabels"), labels=["Cat", "кот 🐈 <1>"])
    assert item["value"]["brushlabels"] == ["Cat", "кот 🐈 <1>"]


@pytest.mark.parametrize("tag", TAGS)
def test_an_empty_mask_has_no_result(tag, region):
    assert region_to_result(region(Mask.empty((10, 10))), output(tag)) == []


@pytest.mark.parametrize("score", [math.nan, -1.0, 7.0])
def test_a_score_is_a_number_from_0_to_1_whatever_came(score, ring_and_blob, region):
    (item,) = region_to_result(region(ring_and_blob, score=score), output("RectangleLabels"))
    assert 0 <= item["score"] <= 1


def test_a_rectangle_is_the_masks_box(ring_and_blob, region):
    (item,) = region_to_result(region(ring_and_blob), output("RectangleLabels"))
    assert result_to_region(item).mask == Mask.from_box(ring_and_blob.box, ring_and_blob.size)


@pytest.mark.parametrize("angle", [0, 30, 45, 60, 90, 135, 170])
@pytest.mark.parametrize("radii", [(60, 25), (25, 60), (40, 40)])
def test_an_ellipse_fits_an_elliptic_mask(angle, radii, region):
    mask = Mask.from_ellipse(150, 110, *radii, angle, (240, 320))
    (item,) = region_to_result(region(mask), output("EllipseLabels"))
    assert result_to_region(item).mask.iou(mask) > 0.98
    assert -45 <= item["value"]["rotation"] <= 45


def test_an_ellipse_of_a_line_or_a_pixel_is_finite(region):
    for box in ((5, 5, 6, 6), (5, 5, 6, 30)):
        (item,) = region_to_result(region(Mask.from_box(box, (40, 50))), output("EllipseLabels"))
        assert all(math.isfinite(v) for k, v in item["value"].items() if k != "ellipselabels")
        assert item["value"]["radiusX"] > 0


@pytest.mark.parametrize("parts", ["split", "bridge"])
def test_a_polygon_answer_keeps_parts_and_holes(parts, ring_and_blob, region, caplog):
    caplog.set_level("INFO")
    options = ProjectOptions(polygon_tolerance=0.5, polygon_parts=parts)
    items = region_to_result(region(ring_and_blob), output("PolygonLabels"), options)
    masks = [result_to_region(item).mask for item in items]
    assert masks[0].union(*masks[1:]).iou(ring_and_blob) > 0.98
    assert all(item["value"]["closed"] for item in items)
    assert "polygon answer: IoU " in caplog.text, "the loss is logged"
    assert (len(items) == 1) == (parts == "bridge")


def test_plain_controls_get_a_companion_that_names_the_label_under_the_same_id(ring_and_blob, region):
    config = parse_config(
        '<View><Image name="image" value="$image"/><Brush name="b" toName="image"/>'
        '<Labels name="l" toName="image"><Label value="Cat"/></Labels></View>'
    )
    items = through_json(region_to_result(region(ring_and_blob), config.output_for("image", "Cat")))
    assert [(i["from_name"], i["type"]) for i in items] == [("b", "brush"), ("l", "labels")]
    assert items[0]["id"] == items[1]["id"]
    (back,) = results_to_regions(items)
    assert (back.mask, back.label) == (ring_and_blob, "Cat")


def test_a_recorded_ellipse_or_turned_rectangle_is_rasterised_as_drawn():
    turned = {
        "type": "rectanglelabels", "original_width": 200, "original_height": 100,
        "value": {"x": 50, "y": 50, "width": 10, "height": 20, "rotation": 90, "rectanglelabels": ["Cat"]},
    }  # fmt: skip
    # 20 px wide, 20 px high, clockwise by 90 degrees around (100, 50): it lies left of the corner and below it.
    assert result_to_region(turned).mask.box == (80, 50, 100, 70)


@pytest.mark.parametrize(
    "damage",
    [
        {"value": None},
        {"value": {}},
        {"original_width": None},
        {"original_height": 10**9},
        {"original_width": "320"},
        {"value": {"format": "rle", "rle": "abc"}},
        {"value": {"format": "rle", "rle": [1, 2, 3]}},
        {"value": {"format": "rle", "rle": [999]}},
        {"type": "bitmasklabels", "value": {"imageDataURL": "data:image/png;base64,AAAA"}},
        {"type": "bitmasklabels", "value": {"imageDataURL": "http://example.org/x.png"}},
        {"type": "polygonlabels", "value": {"points": [[1, 2], [3]]}},
        {"type": "polygonlabels", "value": {"points": [[1, 2], [3, 4], [5, None]]}},
        {"type": "polygonlabels", "value": {"points": [[0, 0]]}},
        {"type": "rectanglelabels", "value": {"x": "1", "y": 1, "width": 1, "height": 1}},
        {"type": "ellipselabels", "value": {"x": 1, "y": 1, "radiusX": None, "radiusY": 1}},
        {"type": "ellipselabels", "value": {"x": 1, "y": 1, "radiusX": 1, "radiusY": 1, "rotation": "up"}},
    ],
)
def test_damaged_regions_are_refused(damage):
    item = {"type": "brushlabels", "original_width": 320, "original_height": 240, "value": {}} | damage
    with pytest.raises(MaskwrightError):
        result_to_region(item)


@pytest.mark.parametrize("kind", ["keypointlabels", "textarea", "choices", "labels", "relation", None])
def test_what_has_no_mask_is_no_region(kind):
    assert result_to_region({"type": kind, "value": {}}) is None


def test_a_bitmask_of_another_size_is_refused(ring_and_blob, region):
    (item,) = region_to_result(region(ring_and_blob), output("BitmaskLabels"))
    with pytest.raises(InvalidInput, match="320 x 240"):
        result_to_region(item | {"original_width": 321})


def test_a_bitmask_of_a_large_image_stays_small(region):
    picture = np.zeros((3000, 4000), np.uint8)
    cv2.circle(picture, (2000, 1500), 700, 255, -1)
    (item,) = region_to_result(region(Mask.from_array(picture > 0)), output("BitmaskLabels"))
    assert len(item["value"]["imageDataURL"]) < 600_000
