"""From the context of a click to a prompt."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.masks import Mask
from maskwright_label_studio.bitmask import encode_bitmask
from maskwright_label_studio.body import RequestBody
from maskwright_label_studio.brush import encode_brush
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.context import prompt_group, prompts_from_context

SIZE = (100, 200)
LABELS = '<Label value="Cat"/><Label value="Dog"/>'
CONFIG = parse_config(
    f"""<View><Image name="image" value="$image"/><Image name="pages" valueList="$pages"/>
<BrushLabels name="mask" toName="image" smart="false">{LABELS}</BrushLabels>
<BrushLabels name="stroke" toName="image" smartonly="true">{LABELS}</BrushLabels>
<BitmaskLabels name="pixels" toName="image" smartonly="true">{LABELS}</BitmaskLabels>
<KeyPointLabels name="kp" toName="image,pages" smart="true">{LABELS}</KeyPointLabels>
<RectangleLabels name="rect" toName="image" smart="true">{LABELS}</RectangleLabels>
<PolygonLabels name="poly" toName="image">{LABELS}</PolygonLabels>
<EllipseLabels name="oval" toName="image">{LABELS}</EllipseLabels>
<KeyPoint name="dot" toName="image"/><Labels name="names" toName="image">{LABELS}</Labels>
<TextArea name="phrase" toName="image"/></View>"""
)


def item(name: str, kind: str, value: dict[str, Any], label: str | None = "Cat", **more: Any) -> dict[str, Any]:
    named = {kind: [label]} if label and kind.endswith("labels") else {}
    return {"id": "x", "from_name": name, "to_name": "image", "type": kind, "value": value | named, **more}


def click(x: float, y: float, label: str = "Cat", positive: bool = True, **more: Any) -> dict[str, Any]:
    return item("kp", "keypointlabels", {"x": x, "y": y, "width": 0.2}, label, is_positive=positive, **more)


def box(x: float, y: float, width: float, height: float, label: str = "Cat", **value: Any) -> dict[str, Any]:
    return item("rect", "rectanglelabels", {"x": x, "y": y, "width": width, "height": height, **value}, label)


def read(*items: dict[str, Any]):
    found = prompts_from_context({"result": list(items)}, CONFIG, SIZE)
    assert found is not None
    return found


def test_points_become_pixels_with_their_sign():
    group, prompt = read(click(50, 10), click(25, 50, positive=False))
    assert prompt.point_coords.tolist() == [[100, 10], [50, 50]]
    assert prompt.point_labels.tolist() == [1, 0]
    assert (group.labels, group.image.name, group.item_index) == (("Cat",), "image", None)


def test_a_point_without_is_positive_is_positive():
    bare = click(50, 10)
    del bare["is_positive"]
    assert read(bare)[1].point_labels.tolist() == [1]


def test_points_beyond_the_image_are_moved_to_its_edge():
    assert read(click(-3, 104))[1].point_coords.tolist() == [[0, 100]]


def test_a_box_drawn_beyond_the_image_ends_at_its_edge():
    assert read(box(-10, 50, 60, 90))[1].box == (0, 50, 100, 100)


def test_a_box_of_no_size_means_the_pixel_under_it():
    left, top, right, bottom = read(box(100, 100, 0, 0))[1].box
    assert (right - left, bottom - top) == (1, 1)
    assert right <= 200
    assert bottom <= 100


def test_only_the_last_of_several_boxes_is_in_hand():
    assert read(*(box(n, n, 10, 10) for n in range(50)))[1].box == pytest.approx((98, 49, 118, 59))


def test_200_finished_boxes_of_the_same_label_do_not_join_a_click_elsewhere():
    prompt = read(*(box(60, 60, 10, 10) for _ in range(200)), click(5, 5))[1]
    assert prompt.box is None
    assert len(prompt.point_labels) == 1


def test_a_click_inside_the_last_box_joins_it():
    prompt = read(box(0, 0, 50, 50), click(25, 25), click(49, 49, positive=False))[1]
    assert prompt.box == (0, 0, 100, 50)
    assert prompt.point_labels.tolist() == [1, 0]


def test_prompts_of_another_label_are_another_region():
    group, prompt = read(click(10, 10, "Cat"), box(0, 0, 50, 50, "Cat"), click(80, 80, "Dog"))
    assert group.labels == ("Dog",)
    assert prompt.box is None
    assert len(prompt.point_labels) == 1


def test_finished_regions_of_controls_that_are_not_smart_are_no_prompts():
    finished = item("mask", "brushlabels", {"format": "rle", "rle": "never read"})
    prompt = read(*[finished] * 200, click(10, 10))[1]
    assert prompt.scribbles == ()
    group, _ = read(click(10, 10), *[finished] * 200)
    assert group.control.name == "kp", "a finished mask drawn last does not decide"


def test_the_image_of_a_value_list_is_chosen_by_item_index():
    group, _ = read(
        click(1, 1, to_name="pages", item_index=0), click(2, 2, to_name="pages", item_index=3),
    )  # fmt: skip
    assert (group.image.name, group.item_index) == ("pages", 3)
    assert len(group.items) == 1, "a click on another page is another region"


def test_labels_may_come_from_a_labels_tag_under_the_same_id():
    dot = item("dot", "keypoint", {"x": 10, "y": 10}, None, id="r1")
    name = {"id": "r1", "from_name": "names", "to_name": "image", "type": "labels", "value": {"labels": ["Dog"]}}
    assert read(dot, name)[0].labels == ("Dog",)


def test_multiple_choice_labels_are_all_kept():
    both = click(10, 10)
    both["value"]["keypointlabels"] = ["Cat", "Dog"]
    assert read(both)[0].labels == ("Cat", "Dog")


def painted(points: list[tuple[int, int]], width: int = 7) -> Mask:
    picture = np.zeros(SIZE, np.uint8)
    cv2.polylines(picture, [np.array(points, np.int32)], False, 255, width)
    return Mask.from_array(picture > 0)


@pytest.mark.parametrize("kind", ["brush", "bitmask"])
def test_a_painted_stroke_becomes_a_line_along_it(kind):
    path = [(20, 20), (100, 30), (150, 80)]
    mask = painted(path)
    if kind == "brush":
        stroke = item("stroke", "brushlabels", {"format": "rle", "rle": encode_brush(mask).tolist()})
    else:
        stroke = item("pixels", "bitmasklabels", {"imageDataURL": encode_bitmask(mask)})
    (scribble,) = read(stroke)[1].scribbles
    assert scribble.positive
    assert all(mask.contains(x, y) for x, y in scribble.points)
    ends = {tuple(np.round(scribble.points[i]).astype(int)) for i in (0, -1)}
    assert all(min(np.hypot(x - a, y - b) for a, b in ends) < 10 for x, y in (path[0], path[-1]))
    assert min(np.hypot(*(scribble.points - path[1]).T)) < 5, "the line turns where the stroke did"
    assert 2 <= scribble.radius <= 6


def test_strokes_off_the_object_and_strokes_in_pieces():
    on = item("stroke", "brushlabels", {"rle": encode_brush(painted([(10, 10), (90, 10)])).tolist()})
    pieces = painted([(10, 60), (50, 60)]) | painted([(120, 60), (190, 60)])
    off = item("stroke", "brushlabels", {"rle": encode_brush(pieces).tolist()}, is_positive=False)
    assert [s.positive for s in read(on, off)[1].scribbles] == [True, False, False]


def test_a_polygon_is_a_box_and_a_point_deep_inside():
    points = [[10, 10], [40, 10], [40, 90], [35, 90], [35, 30], [10, 30]]
    prompt = read(item("poly", "polygonlabels", {"points": points, "closed": True}))[1]
    assert prompt.box == pytest.approx((20, 10, 80, 90))
    outline = Mask.from_polygons([np.array(points) * (2, 1)], SIZE)
    (point,) = prompt.point_coords
    assert outline.contains(*point)


def test_an_ellipse_is_the_box_around_it_and_its_inside():
    prompt = read(item("oval", "ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 30, "rotation": 90}))[1]
    # 20 px and 30 px, turned by a right angle.
    assert prompt.box == pytest.approx((70, 30, 130, 70), abs=0.1)
    assert len(prompt.point_coords) == 1


def test_typed_words_are_a_phrase():
    group, prompt = read(click(3, 3), item("phrase", "textarea", {"text": ["a dog", " the cat on the left "]}, None))
    assert prompt.phrase == group.phrase == "the cat on the left"
    assert not prompt.has_spatial


@pytest.mark.parametrize(
    "value", [{"text": ["", " "]}, {"text": []}, {"text": None}, {}, {"text": [3]}, {"text": {"a": 1}}]
)
def test_a_text_area_without_words_is_no_phrase(value):
    assert read(item("phrase", "textarea", value, None))[1].is_empty


@pytest.mark.parametrize("context", [None, {}, {"result": None}, {"result": []}, {"other": 1}])
def test_a_context_without_prompts_is_none(context):
    assert prompt_group(context, CONFIG) is None


def test_regions_that_are_neither_prompts_nor_masks_are_passed_over():
    assert prompt_group({"result": [{"from_name": "choice", "type": "choices", "value": {}}]}, CONFIG) is None


@pytest.mark.parametrize(
    "items",
    [
        "text",
        [1],
        [click(1, 1) | {"value": None}],
        [click(1, 1) | {"value": {"x": "1", "y": 1}}],
        [click(float("nan"), 1)],
        [click(1, True)],
        [box(1, 1, 1, 1) | {"value": {"x": 1}}],
        [click(1, 1) | {"from_name": "nowhere"}],
        [click(1, 1) | {"to_name": "nowhere"}],
        [item("poly", "polygonlabels", {"points": [[1, 1], [2, 2]]})],
        [item("poly", "polygonlabels", {"points": [[1, 1], [2, 2], ["a", 3]]})],
        [item("poly", "polygonlabels", {"points": "abc"})],
        [item("stroke", "brushlabels", {"rle": [1, 2, 300]})],
        [item("stroke", "brushlabels", {"rle": None})],
        [item("stroke", "brushlabels", {"rle": [1, 2, 3]})],
        [item("pixels", "bitmasklabels", {"imageDataURL": 3})],
        [click(1, 1, image_rotation=90)],
    ],
)
def test_malformed_contexts_are_refused_with_a_reason(items):
    with pytest.raises(InvalidInput):
        prompts_from_context({"result": items}, CONFIG, SIZE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
VALUES = st.dictionaries(
    st.sampled_from(["x", "y", "width", "height", "rotation", "points", "rle", "text", "radiusX", "radiusY", "labels"]),
    JSON,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"from_name": st.sampled_from(["kp", "rect", "poly", "oval", "stroke", "phrase", "dot", "names", "?"])},
            optional={"value": VALUES | JSON, "type": JSON, "to_name": st.just("image") | JSON, "id": JSON,
                      "item_index": JSON, "is_positive": JSON, "image_rotation": JSON},
        ), max_size=4,
    )
)  # fmt: skip
def test_whatever_a_context_holds_the_answer_is_a_prompt_or_a_reason(items):
    try:
        group = prompt_group({"result": items}, CONFIG)
        if group is not None:
            group.prompt(SIZE, RequestBody({}))
    except MaskwrightError:
        pass
