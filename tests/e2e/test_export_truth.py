"""What people left in the real Label Studio comes out of its JSON export as Label Studio itself shows it."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import encode_rle
from PIL import Image

from maskwright.annotated import AnnotatedTask
from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright_label_studio.bitmask import encode_bitmask
from maskwright_label_studio.reader import LabelStudioReader

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

WIDTH, HEIGHT = 161, 97
CONTROLS = "".join(
    f'<{kind}Labels name="{kind.lower()}" toName="image" smart="false"><Label value="Cat"/><Label value="Dog"/>'
    f"</{kind}Labels>"
    for kind in ("Brush", "Bitmask", "Polygon", "Rectangle", "Ellipse")
)
CONFIG = f'<View><Image name="image" value="$image"/>{CONTROLS}</View>'
LIST_CONFIG = f'<View><Image name="image" valueList="$pages"/>{CONTROLS}</View>'

Pixels = dict[str, np.ndarray]


def centres() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((HEIGHT, WIDTH))
    return columns + 0.5, rows + 0.5


def turned(value: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres from a shape's anchor, along its own axes."""
    x, y = centres()
    across, down = x - value["x"] * WIDTH / 100, y - value["y"] * HEIGHT / 100
    angle = math.radians(value["rotation"])
    return across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)


def in_rectangle(value: dict[str, float]) -> np.ndarray:
    along, beside = turned(value)
    width, height = value["width"] * WIDTH / 100, value["height"] * HEIGHT / 100
    return (along >= 0) & (along <= width) & (beside >= 0) & (beside <= height)


def in_ellipse(value: dict[str, float]) -> np.ndarray:
    along, beside = turned(value)
    return (along / (value["radiusX"] * WIDTH / 100)) ** 2 + (beside / (value["radiusY"] * HEIGHT / 100)) ** 2 <= 1


def in_polygon(value: dict[str, Any]) -> np.ndarray:
    x, y = centres()
    corners = [(px * WIDTH / 100, py * HEIGHT / 100) for px, py in value["points"]]
    inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside


def soft_strokes(rng: np.random.Generator) -> np.ndarray:
    """Alpha as a browser's brush leaves it: holes, several parts, and edges of every strength."""
    alpha = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for _ in range(6):
        x, y = rng.integers(0, WIDTH - 30), rng.integers(0, HEIGHT - 30)
        alpha[y : y + 25, x : x + 25] = 255
        alpha[y + 8 : y + 14, x + 8 : x + 14] = 0
        alpha[y, x : x + 25] = rng.integers(0, 256, 25)
    return alpha


def drawn(rng: np.random.Generator, prefix: str, rotation: int = 0) -> tuple[list[dict[str, Any]], Pixels]:
    """One region of every kind and the pixels that each of them means."""
    alpha, bits = soft_strokes(rng), rng.random((HEIGHT, WIDTH)) < 0.3
    points = (50 + rng.uniform(-49, 49, (9, 2))).tolist()
    box = {"x": 12.3, "y": 41.7, "width": 40.1, "height": 22.9, "rotation": 0}
    oval = {"x": 47.1, "y": 52.3, "radiusX": 21.7, "radiusY": 33.3, "rotation": 0}
    kinds: list[tuple[str, str, dict[str, Any], np.ndarray]] = [
        ("soft", "brush", {"format": "rle", "rle": encode_rle(np.repeat(alpha.ravel(), 4))}, alpha > 0),
        ("bits", "bitmask", {"imageDataURL": encode_bitmask(Mask.from_array(bits))}, bits),
        ("poly", "polygon", {"points": points, "closed": True}, in_polygon({"points": points})),
        ("box", "rectangle", box, in_rectangle(box)),
        ("turned-box", "rectangle", box | {"rotation": 312.4}, in_rectangle(box | {"rotation": 312.4})),
        ("oval", "ellipse", oval, in_ellipse(oval)),
        ("turned-oval", "ellipse", oval | {"rotation": 27.9}, in_ellipse(oval | {"rotation": 27.9})),
        ("again", "brush", {"format": "rle", "rle": encode_rle(np.repeat(255 - alpha.ravel(), 4))}, alpha < 255),
    ]
    frame = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": rotation}
    result = [
        {"id": prefix + key, "type": f"{kind}labels", "from_name": kind, "to_name": "image", "origin": "manual"}
        | frame
        | {"value": value | {f"{kind}labels": ["Cat"]}}
        for key, kind, value, _ in kinds
    ]
    return result, {prefix + key: pixels for key, _, _, pixels in kinds}


def annotate(api: httpx.Client, task: int, result: list[dict[str, Any]], **changes: Any) -> int:
    answer = api.post(f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": 3.5} | changes)
    answer.raise_for_status()
    return int(answer.json()["id"])


def export(api: httpx.Client, project: int, kind: str = "JSON") -> bytes:
    answer = api.get(f"/api/projects/{project}/export", params={"exportType": kind, "download_all_tasks": "true"})
    answer.raise_for_status()
    return answer.content


def read_export(api: httpx.Client, project: int, config: str | None) -> dict[str, AnnotatedTask]:
    tasks = [LabelStudioReader(config)(json.dumps(task).encode()) for task in json.loads(export(api, project))]
    return {task.key: task for task in tasks}


def masks_of(task: AnnotatedTask) -> Pixels:
    found: Pixels = {}
    for annotation in task.annotations:
        assert annotation.problems == ()
        for regions in annotation.regions.values():
            found |= {region.key: region.mask.to_array() for region in regions}
    return found


def assert_same(found: Pixels, expected: Pixels) -> None:
    assert set(found) == set(expected)
    for key in expected:
        assert (found[key] == expected[key]).all(), key


@pytest.fixture
def project(make_project: Callable[..., Any], pictures: ModuleType) -> Any:
    data, _ = pictures.star_on_texture(WIDTH, HEIGHT)
    return make_project({"a.png": data, "b.png": data}, CONFIG)


def test_every_kind_of_region_is_read_to_the_pixel_and_brushes_as_in_the_png_export(
    project: Any, api: httpx.Client
) -> None:
    first, second = (task["id"] for task in project.tasks)
    rng = np.random.default_rng(5)
    result, pixels = drawn(rng, "a-")
    sideways, pixels_sideways = drawn(rng, "b-", rotation=90)
    others, pixels_others = drawn(rng, "c-")
    annotate(api, first, result)
    annotate(api, first, sideways)
    annotate(api, second, others)
    annotate(api, second, [], was_cancelled=True)

    for config in (CONFIG, None):
        tasks = read_export(api, project.id, config)
        assert_same(masks_of(tasks[str(first)]), pixels | pixels_sideways)
        assert_same(masks_of(tasks[str(second)]), pixels_others)
        assert [a.kind for a in tasks[str(second)].annotations] == ["submitted", "skipped"]
        assert tasks[str(first)].images[0].size == (HEIGHT, WIDTH)

    archive = zipfile.ZipFile(io.BytesIO(export(api, project.id, "BRUSH_TO_PNG")))
    shown = Counter((np.asarray(Image.open(archive.open(name))) > 0).tobytes() for name in archive.namelist())
    ours = Counter(
        array.tobytes()
        for task in tasks.values()
        for key, array in masks_of(task).items()
        if key[2:] in ("soft", "again")
    )
    assert ours == shown
    assert sum(shown.values()) == 6

    listed = api.get("/api/tasks", params={"project": project.id, "fields": "all"}).json()["tasks"]
    live = {task.key: task for task in (LabelStudioReader(CONFIG)(json.dumps(t).encode()) for t in listed)}
    assert_same(masks_of(live[str(first)]), pixels | pixels_sideways)
    assert [(a.key, a.person, a.updated_at) for a in live[str(first)].annotations] == [
        (a.key, a.person, a.updated_at) for a in tasks[str(first)].annotations
    ], "the interface and the export name people and times alike"


def test_several_images_of_a_task_each_keep_their_own_regions(
    project: Any, make_project: Callable[..., Any], api: httpx.Client
) -> None:
    pages = make_project({}, LIST_CONFIG)
    sources = [task["data"]["image"] for task in project.tasks]
    api.post(f"/api/projects/{pages.id}/import", json=[{"data": {"pages": sources}}]).raise_for_status()
    (task,) = api.get("/api/tasks", params={"project": pages.id}).json()["tasks"]
    rng = np.random.default_rng(6)
    (front, on_front), (back, on_back) = drawn(rng, "f-"), drawn(rng, "b-")
    mixed = [item | {"item_index": page} for pair in zip(front, back, strict=True) for page, item in enumerate(pair)]
    annotate(api, task["id"], mixed)
    for config in (LIST_CONFIG, None):
        (read,) = read_export(api, pages.id, config).values()
        assert [image.source for image in read.images] == sources
        found = {
            place: {r.key: r.mask.to_array() for r in regions} for place, regions in read.annotations[0].regions.items()
        }
        assert_same(found[0], on_front)
        assert_same(found[1], on_back)


def test_what_a_model_proposed_and_what_is_unfinished_is_told_apart(project: Any, api: httpx.Client) -> None:
    task = project.tasks[0]["id"]
    result, pixels = drawn(np.random.default_rng(7), "p-")
    body = {"task": task, "result": result, "model_version": "model-7", "score": 0.5}
    answer = api.post("/api/predictions/", json=body)
    answer.raise_for_status()
    annotate(api, task, result[:2], parent_prediction=answer.json()["id"])
    api.post(f"/api/tasks/{task}/drafts", json={"result": result[2:4], "lead_time": 1.0}).raise_for_status()

    listed = api.get("/api/tasks", params={"project": project.id, "fields": "all"}).json()["tasks"]
    (document,) = [found for found in listed if found["id"] == task]
    read = LabelStudioReader(CONFIG)(json.dumps(document).encode())
    submitted, draft = read.annotations
    assert (submitted.kind, draft.kind) == ("submitted", "draft")
    assert submitted.person == draft.person, "one person, whatever the platform calls them in either place"
    assert submitted.model_version == "model-7"
    assert {r.key: r.mask.to_array().sum() for r in draft.regions[0]} == {
        k: pixels[k].sum() for k in ("p-poly", "p-box")
    }
    (prediction,) = read.predictions
    assert prediction.model_version == "model-7"
    assert len(prediction.regions[0]) == len(result)

    exported = read_export(api, project.id, CONFIG)[str(task)]
    assert [(a.kind, a.person) for a in exported.annotations] == [
        ("submitted", submitted.person),
        ("draft", submitted.person),
    ]
    assert exported.predictions == (), "the export names predictions by number only, so it cannot tell the model"
    assert_same(masks_of(exported), {key: pixels[key] for key in ("p-soft", "p-bits", "p-poly", "p-box")})


def test_other_exports_of_the_same_project_are_named(project: Any, api: httpx.Client) -> None:
    result, _ = drawn(np.random.default_rng(8), "m-")
    annotate(api, project.tasks[0]["id"], result)
    reader = LabelStudioReader()
    minimal = json.loads(export(api, project.id, "JSON_MIN"))[0]
    with pytest.raises(InvalidInput, match="JSON_MIN"):
        reader(json.dumps(minimal).encode())
    archive = zipfile.ZipFile(io.BytesIO(export(api, project.id, "COCO")))
    with pytest.raises(InvalidInput, match="COCO"):
        reader(archive.read("result.json"))
