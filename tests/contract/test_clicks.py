"""Interactive requests as the real browser sends them."""

from __future__ import annotations

import base64
import copy
import io

import numpy as np
import orjson
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

from maskwright.errors import InvalidInput, Unreachable
from maskwright.masks import Mask
from maskwright_label_studio.body import read_body


def points_of(backend) -> list[tuple[float, float, int]]:
    prompt = backend.oracle.prompts[-1]
    return [(float(x), float(y), int(on)) for (x, y), on in zip(prompt.point_coords, prompt.point_labels, strict=True)]


def test_a_first_click_answers_a_brush_mask_under_the_mask_controls_name(backend, payload):
    (answer,) = backend.results(payload("predict-interactive-ui-keypoint-1"))
    (region,) = answer["result"]
    assert (region["from_name"], region["to_name"], region["type"]) == ("brush", "image", "brushlabels")
    assert region["value"]["brushlabels"] == ["Cat"]
    assert region["value"]["format"] == "rle"
    assert (region["original_width"], region["original_height"], region["image_rotation"]) == (320, 240, 0)
    read = decode_rle(region["value"]["rle"]).reshape(240, 320, 4)[..., 3]
    assert np.array_equal(read > 0, backend.oracle.mask.to_array())
    assert set(np.unique(read)) == {0, 255}


def test_percent_become_pixels(backend, payload):
    backend.results(payload("predict-interactive-ui-keypoint-1"))
    ((x, y, on),) = points_of(backend)
    assert (x, y, on) == (pytest.approx(34.35784851811197 * 3.2), pytest.approx(41.657519209659725 * 2.4), 1)


def test_earlier_points_come_again_with_every_click_and_alt_means_negative(backend, payload):
    backend.results(payload("predict-interactive-ui-keypoint-3"))
    assert [on for *_, on in points_of(backend)] == [1, 1, 0]
    assert len(backend.oracle.prompts) == 1, "the backend is stateless: one request, one prompt"


def test_clicks_of_one_region_share_a_key_so_that_the_last_logits_are_found(backend, payload):
    first, third = payload("predict-interactive-ui-keypoint-1"), payload("predict-interactive-ui-keypoint-3")
    backend.results(first)
    backend.results(third)
    other = copy.deepcopy(first)
    other["tasks"][0]["id"] = 34
    backend.results(other)
    keys = [asked["region_key"] for asked in backend.oracle.asked]
    assert keys[0] == keys[1] != keys[2]


def test_a_rectangle_has_neither_is_positive_nor_plain_labels_and_is_a_box(backend, payload):
    body = payload("predict-interactive-ui-rectangle")
    assert "is_positive" not in body["params"]["context"]["result"][0]
    (answer,) = backend.results(body)
    assert answer["result"][0]["value"]["brushlabels"] == ["Cat"]
    left, top, right, bottom = backend.oracle.prompts[-1].box
    assert (left, top) == (pytest.approx(23.380900109769485 * 3.2), pytest.approx(27.021587998536408 * 2.4))
    assert right - left == pytest.approx(21.95389681668496 * 3.2)
    assert bottom - top == pytest.approx(29.271862422246624 * 2.4)


def test_a_turned_rectangle_is_the_upright_box_around_it(backend, payload):
    body = payload("predict-interactive-ui-rectangle")
    value = body["params"]["context"]["result"][0]["value"]
    value.update(x=50, y=50, width=10, height=20, rotation=90)
    backend.results(body)
    # 32 px wide and 48 px high, turned clockwise by 90 degrees around its first corner (160, 120).
    assert backend.oracle.prompts[-1].box == pytest.approx((112, 120, 160, 152))


def test_points_and_a_box_together_make_one_prompt(backend, payload):
    body = payload("predict-interactive-ui-rectangle")
    click = payload("predict-interactive-ui-keypoint-1")["params"]["context"]["result"][0]
    body["params"]["context"]["result"].append(click)
    backend.results(body)
    assert backend.oracle.prompts[-1].box is not None
    assert len(points_of(backend)) == 1


def test_of_several_labels_and_controls_the_last_prompt_drawn_decides(backend, payload):
    body = payload("predict-interactive-ui-keypoint-3")
    results = body["params"]["context"]["result"]
    dog = copy.deepcopy(results[0])
    dog["value"] |= {"labels": ["Dog"], "keypointlabels": ["Dog"], "x": 80, "y": 20}
    results.append(dog)
    (answer,) = backend.results(body)
    assert answer["result"][0]["value"]["brushlabels"] == ["Dog"]
    assert points_of(backend) == [(pytest.approx(256), pytest.approx(48), 1)]


def test_masks_that_are_drawn_already_are_skipped_so_that_the_time_does_not_grow_with_them(backend, payload, recording):
    body = payload("predict-interactive-ui-keypoint-1")
    brush = recording("region-formats")["regions"]["brush"]
    many = [brush | {"id": f"r{number}"} for number in range(200)]
    body["tasks"][0]["drafts"] = [{"id": 1, "result": many}]
    body["params"]["context"]["result"] = [*many, *body["params"]["context"]["result"]]
    text = orjson.dumps(body)
    read = read_body(text)
    assert len(read.arrays) == 400
    assert len(orjson.dumps(read.document)) < len(text) / 5
    (answer,) = backend.http.post("/predict", data=text, content_type="application/json").json["results"]
    assert len(answer["result"]) == 1
    assert len(points_of(backend)) == 1


def test_drafts_and_annotations_of_the_task_are_no_prompts(backend, payload):
    backend.results(payload("predict-interactive-two-points-with-annotation-rest"))
    assert [on for *_, on in points_of(backend)] == [1, 0]
    assert backend.oracle.prompts[-1].box is None
    backend.results(payload("predict-interactive-rectangle-with-draft-rest"))
    assert backend.oracle.prompts[-1].box == pytest.approx((32, 24, 128, 120))


def test_unknown_keys_beside_result_are_ignored(backend, payload):
    body = payload("predict-interactive-two-points-with-annotation-rest")
    assert set(body["params"]["context"]) > {"result"}
    assert backend.results(body)[0]["result"]


def test_every_suggestion_has_a_fresh_id(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    ids = [backend.results(body)[0]["result"][0]["id"] for _ in range(20)]
    assert len(set(ids)) == 20
    assert body["params"]["context"]["result"][0]["id"] not in ids


def test_nothing_found_is_an_empty_result_not_an_error(backend, payload):
    backend.oracle.mask = Mask.empty((240, 320))
    (answer,) = backend.results(payload("predict-interactive-ui-keypoint-1"))
    assert answer["result"] == []
    assert answer["score"] == 0.0
    assert answer["model_version"]


@pytest.mark.parametrize("context", [{"result": []}, {"result": None}])
def test_a_context_without_prompts_is_answered_with_nothing(backend, payload, context):
    body = payload("predict-interactive-ui-keypoint-1")
    body["params"]["context"] = context
    (answer,) = backend.results(body)
    assert answer["result"] == []
    assert backend.oracle.prompts == []


def test_negative_points_alone_find_nothing(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    body["params"]["context"]["result"][0]["is_positive"] = False
    assert backend.results(body)[0]["result"] == []
    assert backend.oracle.prompts == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(InvalidInput("No object at the clicked point"), 400), (Unreachable("the image server does not answer"), 502)],
)
def test_errors_are_plain_4xx_or_5xx_whose_reason_phrase_names_the_fault(backend, payload, error, status):
    """The reason phrase is the only thing that Label Studio passes on; a 200 with errors becomes a generic text."""
    backend.oracle.fail = error
    response = backend.predict(payload("predict-interactive-ui-keypoint-1"))
    assert response.status == f"{status} {error}"
    assert "results" not in response.json


def test_a_missing_image_is_named_in_the_reason_phrase(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    body["tasks"][0]["data"] = {"photo": "x"}
    response = backend.predict(body)
    assert response.status_code == 400
    assert "image" in response.status


def test_an_image_turned_in_the_editor_is_refused_rather_than_answered_wrongly(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    body["params"]["context"]["result"][0]["image_rotation"] = 90
    assert "turn" in backend.predict(body).status


def test_an_annotated_task_still_answers_clicks(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    body["tasks"][0]["is_labeled"] = True
    assert backend.results(body)[0]["result"]


def test_the_version_of_a_click_is_the_one_that_setup_told(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    setup = {"project": body["project"], "schema": body["label_config"]}
    version = backend.http.post("/setup", json=setup).json["model_version"]
    assert backend.results(body)[0]["model_version"] == version


def test_options_survive_a_restart_because_no_setup_precedes_a_click(make_backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    setup = {"project": body["project"], "schema": body["label_config"], "extra_params": {"output": "poly"}}
    make_backend().http.post("/setup", json=setup)
    (answer,) = make_backend().results(body)
    assert answer["result"][0]["type"] == "polygonlabels"


def test_a_bitmask_answer_is_a_png_of_the_images_own_size_on_transparent_ground(backend, payload):
    body = payload("predict-interactive-ui-keypoint-1")
    setup = {"project": body["project"], "schema": body["label_config"], "extra_params": {"output": "bitmask"}}
    backend.http.post("/setup", json=setup)
    (region,) = backend.results(body)[0]["result"]
    url = region["value"]["imageDataURL"]
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (320, 240))
        assert np.array_equal(np.asarray(picture)[..., 3] == 255, backend.oracle.mask.to_array())


def test_a_first_click_in_a_task_with_stored_predictions_warms_the_next_tasks_once(make_backend, label_studio, payload):
    backend = make_backend()
    label_studio.tasks = {n: {"id": n, "data": {"image": f"/data/upload/17/{n}.png"}} for n in range(34, 36)}
    for _ in range(3):
        backend.results(payload("predict-interactive-ui-keypoint-1"))
    backend.wait_for_jobs()
    assert len(backend.oracle.warmed) == 2
    assert sum(path.startswith("/api/tasks?") for _, path, _ in label_studio.requests) == 1
