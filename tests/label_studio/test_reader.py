"""Tasks of a JSON export, read: recorded payloads against pixels counted one by one, and what cannot be read."""

from __future__ import annotations

import base64
import copy
import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

from maskwright.annotated import AnnotatedTask
from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright_label_studio.brush import decode_brush, encode_brush
from maskwright_label_studio.reader import LabelStudioReader

PAYLOADS = Path(__file__).parents[1] / "contract" / "payloads"
RECORDED = sorted(path.stem for path in PAYLOADS.glob("export-*.json"))
TWO_TAGS = "export-several-images-two-tags"
"""Its tags are not called like the fields they show."""
CONFIG = '<View><Image name="image" value="$image"/></View>'


def payload(name: str) -> dict[str, Any]:
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def read(task: dict[str, Any], config: str | None = None) -> AnnotatedTask:
    return LabelStudioReader(config)(orjson.dumps(task))


def rectangle(key: str = "r1", **changes: Any) -> dict[str, Any]:
    value = {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": 0, "rectanglelabels": ["Cat"]}
    item = {"id": key, "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "value": value}
    return item | {"original_width": 100, "original_height": 50, "image_rotation": 0} | changes


def task_of(*result: dict[str, Any], **changes: Any) -> dict[str, Any]:
    annotation = {"id": 7, "completed_by": 3, "was_cancelled": False, "result": list(result)}
    task = {"id": 5, "project": 2, "data": {"image": "/data/upload/2/a.png"}, "annotations": [annotation]}
    return task | changes


# --- pixel by pixel ------------------------------------------------------------------------------------------------


def in_polygon(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    inside = False
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def holds(item: dict[str, Any], x: float, y: float) -> bool:
    """Whether a shape holds the point (pixels), from the meaning of Label Studio's numbers alone."""
    value, width, height = item["value"], item["original_width"], item["original_height"]
    if "points" in value:
        return in_polygon(x, y, [(px * width / 100, py * height / 100) for px, py in value["points"]])
    across, down = x - value["x"] * width / 100, y - value["y"] * height / 100
    angle = math.radians(value["rotation"])
    along = across * math.cos(angle) + down * math.sin(angle)
    beside = down * math.cos(angle) - across * math.sin(angle)
    if "radiusX" in value:
        return (along / value["radiusX"] / width * 100) ** 2 + (beside / value["radiusY"] / height * 100) ** 2 <= 1
    return 0 <= along <= value["width"] * width / 100 and 0 <= beside <= value["height"] * height / 100


def expected_pixels(item: dict[str, Any]) -> np.ndarray:
    value, size = item["value"], (item["original_height"], item["original_width"])
    if "rle" in value:
        return decode_rle(value["rle"]).reshape(*size, 4)[:, :, 3] > 0
    if "imageDataURL" in value:
        picture = Image.open(io.BytesIO(base64.b64decode(value["imageDataURL"].partition(",")[2])))
        return np.asarray(picture.convert("RGBA"))[:, :, 3] > 0
    return np.array([[holds(item, x + 0.5, y + 0.5) for x in range(size[1])] for y in range(size[0])])


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_shapes_come_out_to_the_pixel_turned_images_and_exif_included(name, with_config):
    recorded = payload(name)
    config = recorded.get("label_config", CONFIG) if with_config or name == TWO_TAGS else None
    task = read(recorded["task"], config)
    (annotation,) = task.annotations
    assert annotation.kind == "submitted"
    assert annotation.person == "1"
    regions = {region.key: region for found in annotation.regions.values() for region in found}
    items = [item for item in recorded["task"]["annotations"][0]["result"] if item["type"] != "labels"]
    assert list(regions) == [item["id"] for item in items]
    for item in items:
        region = regions[item["id"]]
        assert region.mask.size == (item["original_height"], item["original_width"])
        assert (region.mask.to_array() == expected_pixels(item)).all(), item["type"]
        assert region.provenance.source == "person"
        assert region.provenance.person == "1"


@pytest.mark.parametrize("name", RECORDED)
def test_brush_masks_are_those_of_label_studios_own_png_export(name):
    recorded = payload(name)
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(p)))) > 0 for p in recorded["brush_png"].values()]
    task = read(recorded["task"], recorded.get("label_config", CONFIG))
    brushed = {item["id"] for item in recorded["task"]["annotations"][0]["result"] if "rle" in item["value"]}
    masks = [r.mask.to_array() for found in task.annotations[0].regions.values() for r in found if r.key in brushed]
    assert len(masks) == len(pictures)
    for mask in masks:
        assert any(mask.shape == picture.shape and (mask == picture).all() for picture in pictures)


@pytest.mark.parametrize(
    ("name", "turn"),
    [("export-image-rotated-90", 1), ("export-image-rotated-180", 2), ("export-exif-orientation-6", 0)],
)
def test_turning_the_view_turns_no_coordinates(name, turn):
    """The strokes were made at the same places of the picture as displayed; stored, they are those of the file."""
    ellipse, box, stroke, _, _ = read(payload(name)["task"]).annotations[0].regions[0]
    for region, (left, top, right, bottom) in (
        (ellipse, (0.3, 0.35, 0.7, 0.65)),
        (box, (0.1, 0.3, 0.3, 0.5)),
        (stroke, (0.08, 0.69, 0.32, 0.91)),
    ):
        displayed = np.rot90(region.mask.to_array(), -turn)
        rows, columns = np.nonzero(displayed)
        height, width = displayed.shape
        found = (columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)
        assert found == pytest.approx((left, top, right, bottom), abs=0.02)


def test_rectangles_and_polygons_come_with_the_outline_that_was_drawn():
    turned = payload("export-ellipse-and-turned-shapes")["task"]
    *ellipses, box = read(turned).annotations[0].regions[0]
    assert [region.outlines for region in ellipses] == [(), ()]
    (outline,) = box.outlines
    value = turned["annotations"][0]["result"][2]["value"]
    assert outline.exterior.shape == (4, 2)
    assert outline.exterior[0] == pytest.approx([value["x"] * 2, value["y"] * 1.2])
    assert Mask.from_polygons(box.outlines, box.mask.size) == box.mask
    polygon = read(payload("export-image-rotated-90")["task"]).annotations[0].regions[0][4]
    points = payload("export-image-rotated-90")["task"]["annotations"][0]["result"][4]["value"]["points"]
    assert polygon.outlines[0].exterior == pytest.approx(np.array(points) * (2, 1.2))


def test_several_images_of_a_task_keep_their_regions_apart():
    recorded = payload("export-several-images-value-list")
    for config, name in ((None, "images"), (recorded["label_config"], "image")):
        task = read(recorded["task"], config)
        assert [(image.name, image.index, image.size) for image in task.images] == [
            (name, 0, (120, 200)),
            (name, 1, (100, 160)),
        ]
        assert [image.source for image in task.images] == recorded["task"]["data"]["images"]
        assert {place: len(found) for place, found in task.annotations[0].regions.items()} == {0: 2, 1: 2}

    recorded = payload(TWO_TAGS)
    task = read(recorded["task"], recorded["label_config"])
    assert [(image.name, image.size) for image in task.images] == [("left", (120, 200)), ("right", (100, 160))]
    assert [image.source for image in task.images] == list(recorded["task"]["data"].values())
    labels = {place: [r.label for r in found] for place, found in task.annotations[0].regions.items()}
    assert labels == {0: ["Cat", "Cat"], 1: ["Cat", "Dog"]}
    assert not task.annotations[0].problems


def test_which_of_several_images_was_drawn_on_is_never_guessed():
    with pytest.raises(InvalidInput, match=r"'left', 'right'.*'before', 'after'.*--label-config FILE"):
        read(payload(TWO_TAGS)["task"])
    with pytest.raises(InvalidInput, match="--label-config FILE"):
        read(task_of(rectangle(to_name=""), data={"image": "a.png", "mask": "b.png"}))
    one = read(task_of(rectangle(to_name="left"), rectangle("r2", to_name="right"), data={"x": "a.png"}))
    assert [image.source for image in one.images] == ["a.png"]
    assert len(one.annotations[0].regions[0]) == 2


def test_what_is_drawn_first_or_not_at_all_changes_no_images_place():
    on_a, on_b = rectangle("r1", to_name="a"), rectangle("r2", to_name="b")
    for drawn in ([], [on_a], [on_b], [on_a, on_b], [on_b, on_a]):
        task = read(task_of(*drawn, data={"a": "/data/upload/1/a.png", "b": "/data/upload/1/b.png"}))
        assert [(image.name, image.source) for image in task.images] == [
            ("a", "/data/upload/1/a.png"), ("b", "/data/upload/1/b.png"),
        ]  # fmt: skip
        found = {region.key: place for place, regions in task.annotations[0].regions.items() for region in regions}
        assert found == {item["id"]: "ab".index(item["to_name"]) for item in drawn}


def test_the_newest_submitted_annotation_tells_an_images_size():
    task = task_of()
    task["annotations"] = [
        {"id": n, "updated_at": f"2026-0{month}-01T00:00:00Z", "was_cancelled": skipped, "result": [
            rectangle(original_width=100 * n)
        ]}
        for n, month, skipped in ((1, 1, False), (2, 3, False), (3, 2, False), (4, 4, True))
    ]  # fmt: skip
    task["drafts"] = [{"id": 9, "result": [rectangle(original_width=900)]}]
    task["predictions"] = [{"id": 8, "result": [rectangle(original_width=800)]}]
    assert read(task).images[0].size == (50, 200)
    assert read(task | {"annotations": [], "drafts": []}).images[0].size == (50, 800)
    sizes = [a.regions[0][0].mask.size for a in read(task).annotations]
    assert sizes == [(50, 100), (50, 200), (50, 300), (50, 400), (50, 900)], "each keeps what it was drawn on"


def test_plain_controls_take_their_labels_from_the_companion():
    annotation = read(payload("export-plain-controls")["task"]).annotations[0]
    assert [region.label for region in annotation.regions[0]] == ["Cat", "Dog", "Cat", "Cat", None]
    (problem,) = annotation.problems
    assert "Cat, Dog" in problem
    assert annotation.regions[0][2].key in problem
    names = LabelStudioReader().label_names(orjson.dumps(payload("export-plain-controls")["task"]))
    assert names == ("Cat", "Dog")


def test_brush_strokes_of_a_draft_are_nearly_the_pixels_that_submitting_stores():
    recorded = payload("export-brush-erased")
    final = read(recorded["task"]).annotations[0].regions[0][0].mask
    task = recorded["task"] | {"annotations": [], "drafts": recorded["drafts"]}
    (draft,) = read(task).annotations
    assert (draft.kind, draft.person, draft.key) == ("draft", "1", f"draft-{recorded['drafts'][0]['id']}")
    assert draft.regions[0][0].mask.iou(final) > 0.97


# --- what else a task tells ----------------------------------------------------------------------------------------


def test_who_when_and_how_long_is_kept():
    task = task_of(rectangle())
    task["annotations"][0] |= {
        "created_at": "2026-11-21T02:46:43.910663Z",
        "updated_at": "2026-11-21T03:46:43+01:00",
        "lead_time": 12.5,
        "ground_truth": True,
    }
    (annotation,) = read(task).annotations
    assert annotation.key == "7"
    assert annotation.created_at == "2026-11-21T02:46:43.910663Z"
    assert annotation.updated_at == "2026-11-21T02:46:43.000000Z"
    assert (annotation.lead_time, annotation.is_ground_truth) == (12.5, True)


@pytest.mark.parametrize(
    ("told", "person"),
    [
        (3, "3"),
        ({"id": 3, "email": "ann@example.org", "first_name": "Ann"}, "3"),
        ({"email": "ann@example.org"}, "ann@example.org"),
        ("ann@example.org", "ann@example.org"),
        (None, None),
    ],
)
def test_a_person_is_named_by_number_where_there_is_one(told, person):
    task = task_of(rectangle())
    task["annotations"][0]["completed_by"] = told
    (annotation,) = read(task).annotations
    assert annotation.person == person
    assert annotation.regions[0][0].provenance.person == person


def test_skipped_annotations_and_drafts_are_told_apart():
    task = task_of(rectangle(), drafts=[{"id": 9, "user": "ann@example.org", "result": [rectangle("r2")]}])
    task["annotations"].append({"id": 8, "completed_by": 4, "was_cancelled": True, "result": []})
    read_back = read(task)
    assert [(a.key, a.kind, a.person) for a in read_back.annotations] == [
        ("7", "submitted", "3"),
        ("8", "skipped", "4"),
        ("draft-9", "draft", "ann@example.org"),
    ]


def test_the_prediction_that_an_annotation_began_from_names_its_model():
    prediction = {"id": 11, "model_version": "sam-1", "score": 0.5, "result": [rectangle("p1", score=0.5)]}
    task = task_of(rectangle(), predictions=[prediction])
    task["annotations"][0]["parent_prediction"] = 11
    read_back = read(task)
    assert read_back.annotations[0].model_version == "sam-1"
    (proposed,) = read_back.predictions
    assert (proposed.person, proposed.model_version) == (None, "sam-1")
    assert proposed.regions[0][0].provenance.source == "preannotation"
    assert proposed.regions[0][0].score == 0.5
    task["predictions"] = [11]
    task["annotations"][0]["prediction"] = {"id": 11, "model_version": "sam-2"}
    assert read(task).annotations[0].model_version == "sam-2"
    assert read(task).predictions == ()


def test_predictions_can_be_left_unread():
    prediction = {"id": 11, "model_version": "sam-1", "result": [rectangle("p1")]}
    task = task_of(rectangle(), predictions=[prediction])
    task["annotations"][0]["parent_prediction"] = 11
    read_back = LabelStudioReader(CONFIG, with_predictions=False)(orjson.dumps(task))
    assert read_back.predictions == ()
    assert read_back.annotations[0].model_version == "sam-1"


def test_every_region_has_a_key_of_its_own_even_in_files_made_by_hand():
    nameless = rectangle()
    del nameless["id"]
    (annotation,) = read(task_of(rectangle("a"), rectangle("a"), nameless, rectangle("b"))).annotations
    keys = [region.key for region in annotation.regions[0]]
    assert len(set(keys)) == 4
    assert [keys[0], keys[3]] == ["a", "b"]
    assert all(keys)


def test_an_outline_that_was_left_open_is_closed_and_told():
    value = {"points": [[0, 0], [50, 0], [0, 50]], "closed": False, "polygonlabels": ["Cat"]}
    (annotation,) = read(task_of(rectangle("p1", type="polygonlabels", value=value))).annotations
    assert len(annotation.regions[0]) == 1
    assert "region p1" in annotation.problems[0]


@pytest.mark.parametrize("side", [320, 1333, 1920])
def test_an_edge_on_pixel_centres_falls_to_the_same_side_everywhere(side):
    """A centre on an outline belongs to the shape to its right; per cent must not blur that."""
    for edge in range(1, 40):
        left, right = (edge + 0.5) * 100 / side, (edge + 10.5) * 100 / side
        if left * side / 100 != edge + 0.5 or right * side / 100 != edge + 10.5:
            continue
        value = {"points": [[left, 0], [right, 0], [right, 100], [left, 100]], "polygonlabels": ["Cat"]}
        item = rectangle(type="polygonlabels", value=value, original_width=side, original_height=1)
        (region,) = read(task_of(item)).annotations[0].regions[0]
        assert region.mask == Mask.from_box((edge, 0, edge + 10, 1), (1, side))


def test_a_vector_path_is_told_to_be_left_out():
    path = {"id": "v1", "type": "vectorlabels", "to_name": "image", "value": {"vertices": [], "vectorlabels": ["Cat"]}}
    (annotation,) = read(task_of(path, rectangle())).annotations
    assert "region v1" in annotation.problems[0]


def test_what_holds_no_pixels_is_passed_over_in_silence():
    others = [
        {"id": "k", "type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["Cat"]}},
        {"id": "c", "type": "choices", "from_name": "quality", "to_name": "image", "value": {"choices": ["good"]}},
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        rectangle("prompt", is_positive=True),
    ]
    (annotation,) = read(task_of(*others, rectangle())).annotations
    assert [region.key for region in annotation.regions[0]] == ["r1"]
    assert annotation.problems == ()


@pytest.mark.parametrize(
    "broken",
    [
        rectangle("bad", value={"x": "?"}),
        rectangle("bad", value=None),
        rectangle("bad", original_width=None),
        rectangle("bad", type="brushlabels", value={"format": "rle", "rle": [1, 2, 3]}),
        rectangle("bad", type="brushlabels", value={"format": "rle", "rle": [1, [2], 3]}),
        rectangle("bad", type="brushlabels", value={"format": "rle"}),
        rectangle("bad", type="brushlabels", value={"format": "rle", "touches": [{"type": "add"}]}),
        rectangle("bad", type="bitmasklabels", value={"imageDataURL": "data:image/png;base64,AAAA"}),
        rectangle("bad", type="polygonlabels", value={"points": [[0, 0], [5, 5]]}),
        rectangle("bad", value={"x": 10, "y": 10, "width": 0, "height": 5}),
        rectangle("bad", to_name="elsewhere"),
        rectangle("bad", item_index=3),
    ],
)
@pytest.mark.parametrize("padding", ["", "x" * 40_000])
def test_a_region_that_cannot_be_read_costs_only_itself_and_is_named(broken, padding):
    task = task_of(rectangle(), copy.deepcopy(broken), rectangle("r3"))
    task["data"]["note"] = padding
    (annotation,) = read(task, CONFIG).annotations
    assert [region.key for region in annotation.regions[0]] == ["r1", "r3"]
    (problem,) = annotation.problems
    assert problem.startswith("annotation 7, region bad: ")


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"id": 1, "image": "/a.png", "brush": [], "annotator": 1, "annotation_id": 3}, "JSON_MIN"),
        ({"images": [], "annotations": [], "categories": []}, "COCO"),
        ({"data": {"image": "/a.png"}, "predictions": [{"result": []}]}, "predictions"),
        ({"id": 1, "completions": []}, "1.0"),
        ({"some": "thing"}, "'data'"),
        ([], "JSON object"),
    ],
)
def test_other_files_are_named_and_the_right_export_is_told(document, word):
    for method in (LabelStudioReader(), LabelStudioReader().label_names):
        with pytest.raises(InvalidInput, match=word):
            method(orjson.dumps(document))


def test_a_task_without_any_image_is_refused_by_name():
    with pytest.raises(InvalidInput, match="'picture'"):
        read(task_of(), '<View><Image name="image" value="$picture"/></View>')
    with pytest.raises(InvalidInput, match="no address of an image"):
        read(task_of(data={"text": "hello"}))


@pytest.mark.parametrize(
    ("data", "source"),
    [
        ({"text": "x", "image": "/data/upload/1/a.png", "thumb": "https://x.org/t.jpg"}, "/data/upload/1/a.png"),
        ({"text": "x", "scan no. 1": "s3://bucket/a/b.tif"}, "s3://bucket/a/b.tif"),
        ({"$undefined$": "/data/local-files/?d=sub/y.png"}, "/data/local-files/?d=sub/y.png"),
        ({"page": "https://x.org/about.html", "url": "https://x.org/picture"}, "https://x.org/picture"),
    ],
)
def test_the_field_with_the_image_is_found_without_a_configuration(data, source):
    task = read(task_of(rectangle(), data=data))
    (place,) = task.annotations[0].regions
    assert task.images[place].source == source
    assert task.images[place].size == (50, 100)
    assert read(task_of(data=data)).images[place].source == source


def test_a_reader_travels_to_other_processes():
    reader = LabelStudioReader(CONFIG)
    assert pickle.loads(pickle.dumps(reader)) == reader
    task = pickle.loads(pickle.dumps(reader(orjson.dumps(task_of(rectangle())))))
    assert task.annotations[0].regions[0][0].mask.area == 20 * 15


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["image", "Cat", "r1", "a.png", ""])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


def places_in(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places_in(child, (*path, key)))]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_whatever_stands_in_a_task_it_is_read_or_refused_by_name(data):
    brush = rectangle(type="brush", value={"format": "rle", "rle": [1, 2], "touches": [{"relativePoints": [1, 2]}]})
    naming = rectangle(type="labels", value={"labels": ["Cat"]})
    oval = rectangle(type="ellipse", value={"x": 50, "y": 50, "radiusX": 5, "radiusY": 5, "rotation": 1})
    lasso = rectangle(type="polygonlabels", value={"points": [[0, 0], [50, 0], [0, 50]], "polygonlabels": ["Cat"]})
    document: Any = task_of(rectangle(), brush, naming, oval, lasso)
    document["drafts"] = [{"id": 1, "result": [rectangle()]}]
    document["predictions"] = [{"id": 1, "model_version": "m", "result": [rectangle()]}]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places_in(document)[1:]))
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = data.draw(ANYTHING)
    reader = LabelStudioReader(data.draw(st.sampled_from([None, CONFIG])))
    try:
        text = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return
    try:
        task = reader(text)
        names = reader.label_names(text)
    except InvalidInput:
        return
    labels = {r.label for a in task.annotations for found in a.regions.values() for r in found if r.label is not None}
    assert labels <= set(names)


# --- codecs --------------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_brush_coco_brush_gives_every_mask_back_exactly(array):
    mask = decode_brush(encode_brush(Mask.from_array(array)), array.shape)
    again = decode_brush(encode_brush(Mask.from_coco(mask.to_coco())), array.shape)
    assert (again.to_array() == array).all()
    assert bytes(encode_brush(again)) == bytes(encode_brush(Mask.from_array(array)))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(hnp.arrays(np.bool_, (23, 31)), st.booleans())
def test_a_brush_region_is_read_from_json_as_it_was_written(array, large):
    value = {"format": "rle", "rle": encode_brush(Mask.from_array(array)).tolist(), "brushlabels": ["Cat"]}
    item = rectangle(type="brushlabels", value=value, original_width=31, original_height=23)
    task = task_of(item, data={"image": "a.png", "note": "x" * 40_000 * large})
    (annotation,) = read(task).annotations
    found = [region.mask.to_array() for region in annotation.regions.get(0, ())]
    assert len(found) == array.any()
    assert all((mask == array).all() for mask in found)
