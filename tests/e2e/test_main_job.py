"""The main job against the real Label Studio: pre-annotated tasks, a mask for a click, nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = {"original_width": 320, "original_height": 240, "image_rotation": 0}


def key_point(x: float, y: float, positive: bool = True, label: str = "Star") -> dict[str, Any]:
    value = {"x": x / 3.2, "y": y / 2.4, "width": 0.3, "labels": [label], "keypointlabels": [label]}
    return {"id": "kp-1", "type": "keypointlabels", "from_name": "kp", "to_name": "image", "origin": "manual",
            "is_positive": positive, "value": value, **SIZE}  # fmt: skip


def rectangle(x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    value = {"x": x0 / 3.2, "y": y0 / 2.4, "width": (x1 - x0) / 3.2, "height": (y1 - y0) / 2.4, "rotation": 0,
             "rectanglelabels": ["Star"]}  # fmt: skip
    return {"id": "re-1", "type": "rectanglelabels", "from_name": "rect", "to_name": "image", "origin": "manual",
            "value": value, **SIZE}  # fmt: skip


def pixels_of(region: dict[str, Any]) -> np.ndarray:
    """The mask as Label Studio's own SDK reads it."""
    shape = (region["original_height"], region["original_width"], 4)
    return np.asarray(decode_rle(region["value"]["rle"])).reshape(shape)[..., 3] > 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture
def star_project(make_project: Callable[..., Any], backend: Any, pictures: ModuleType) -> tuple[Any, np.ndarray]:
    data, truth = pictures.star_on_texture()
    project = make_project({"star.png": data})
    answer = project.connect(backend)
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "CO"
    return project, truth


def test_every_task_gets_a_prediction_with_model_version_and_score(
    make_project: Callable[..., Any], backend: Any, pictures: ModuleType
) -> None:
    star, _ = pictures.star_on_texture()
    cells, _ = pictures.many_blobs()
    project = make_project({"star.png": star, "cells.png": cells, "again.png": star})
    assert project.connect(backend).status_code == 201
    assert project.retrieve_predictions().status_code == 200
    found = project.wait_for_predictions()
    assert {p["task"] for p in found} == {t["id"] for t in project.tasks}
    version = project.api.get("/api/ml/", params={"project": project.id}).json()[0]["model_version"]
    assert {p["model_version"] for p in found} == {version}
    assert all(0 <= p["score"] <= 1 for p in found)
    assert all(p["result"] for p in found), "every picture holds an object that stands out"
    assert project.retrieve_predictions().status_code == 200
    assert len(project.predictions()) == len(found), "asking again must not pile up predictions"


def test_pre_annotation_finds_the_cells_of_a_picture(
    make_project: Callable[..., Any], backend: Any, pictures: ModuleType
) -> None:
    data, truth = pictures.many_blobs(count=30)
    project = make_project({"cells.png": data})
    assert project.connect(backend).status_code == 201
    project.retrieve_predictions()
    (prediction,) = project.wait_for_predictions()
    masks = [pixels_of(region) for region in prediction["result"]]
    found = sum(max((iou(mask, truth == cell) for mask in masks), default=0) > 0.8 for cell in range(1, 31))
    assert found >= 27


def test_a_click_answers_a_mask_of_the_clicked_object(star_project: tuple[Any, np.ndarray]) -> None:
    project, truth = star_project
    answer = project.ask(project.tasks[0]["id"], [key_point(176, 120)])
    (region,) = answer["data"]["result"]
    assert region["from_name"] == "brush"
    assert region["value"]["brushlabels"] == ["Star"]
    assert iou(pixels_of(region), truth) > 0.8


def test_a_box_answers_a_mask_of_the_boxed_object(star_project: tuple[Any, np.ndarray]) -> None:
    project, truth = star_project
    rows, columns = np.nonzero(truth)
    box = rectangle(columns.min() - 4, rows.min() - 4, columns.max() + 5, rows.max() + 5)
    (region,) = project.ask(project.tasks[0]["id"], [box])["data"]["result"]
    assert region["type"] == "brushlabels"
    assert iou(pixels_of(region), truth) > 0.8


def test_an_accepted_region_comes_back_bit_identical_through_the_export(star_project: tuple[Any, np.ndarray]) -> None:
    project, _ = star_project
    task = project.tasks[0]["id"]
    data = project.ask(task, [key_point(176, 120)])["data"]
    accepted = [{k: v for k, v in region.items() if k != "score"} | {"origin": "manual"} for region in data["result"]]
    project.api.post(f"/api/tasks/{task}/annotations/", json={"result": accepted}).raise_for_status()
    exported = project.api.get(f"/api/projects/{project.id}/export", params={"exportType": "JSON"}).json()
    (region,) = exported[0]["annotations"][0]["result"]
    assert region["value"]["rle"] == data["result"][0]["value"]["rle"]


def test_a_task_that_a_person_annotated_is_never_predicted_again(star_project: tuple[Any, np.ndarray]) -> None:
    project, _ = star_project
    task = project.tasks[0]["id"]
    result = project.ask(task, [key_point(176, 120)])["data"]["result"]
    project.api.post(f"/api/tasks/{task}/annotations/", json={"result": result}).raise_for_status()
    project.retrieve_predictions()
    assert all(not p["result"] for p in project.predictions())
    kept = project.api.get(f"/api/tasks/{task}/annotations/").json()
    assert kept[0]["result"][0]["value"] == result[0]["value"]


def test_wrong_credentials_are_refused_when_connecting(
    make_project: Callable[..., Any], backend: Any, pictures: ModuleType
) -> None:
    project = make_project({"star.png": pictures.star_on_texture()[0]})
    answer = project.connect(backend, basic_auth_pass="wrong")
    assert answer.status_code == 400
    assert httpx.get(f"{backend.url}/health").status_code == 401
    body = {"tasks": [], "project": "1.1", "label_config": "<View/>", "params": {}}
    assert httpx.post(f"{backend.url}/predict", json=body, auth=("assistant", "wrong")).status_code == 401


def test_with_an_unreachable_backend_label_studio_stays_usable(
    make_project: Callable[..., Any], start_backend: Callable[..., Any], pictures: ModuleType
) -> None:
    project = make_project({"star.png": pictures.star_on_texture()[0]})
    doomed = start_backend()
    assert project.connect(doomed).status_code == 201
    doomed.process.kill()
    doomed.process.wait(20)
    assert project.api.get(f"/api/projects/{project.id}/next").status_code == 200
    task = project.tasks[0]["id"]
    assert project.ask(task, [key_point(176, 120)]).get("errors")
    project.retrieve_predictions()
    submitted = project.api.post(f"/api/tasks/{task}/annotations/", json={"result": []})
    assert submitted.status_code == 201
