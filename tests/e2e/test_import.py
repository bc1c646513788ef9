"""A COCO file goes into the real Label Studio as tasks and out again with every mask, class and crowd unchanged."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from maskwright.cli import app
from maskwright.errors import InvalidInput
from maskwright_label_studio.results import results_to_regions

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = (60, 90)


def masks() -> list[np.ndarray]:
    yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (yy - 30) ** 2 + (xx - 25) ** 2 < 300
    ring = disc & ((yy - 30) ** 2 + (xx - 25) ** 2 > 60)
    two = ((xx > 55) & (xx < 62) & (yy > 5) & (yy < 50)) | ((xx > 70) & (xx < 85) & (yy > 30) & (yy < 33))
    return [ring, two]


def rle(mask: np.ndarray) -> dict[str, Any]:
    found = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    Image.new("RGB", SIZE[::-1], (90, 120, 150)).save(folder / "a picture.png")
    ring, two = masks()
    document = {
        "annotations": [
            {"id": 7, "image_id": 3, "category_id": 12, "iscrowd": 0, "segmentation": rle(ring), "score": 0.25},
            {"id": 8, "image_id": 3, "category_id": 5, "iscrowd": 1, "segmentation": rle(two), "score": 0.75},
        ],
        "images": [{"id": 3, "file_name": "a picture.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 12, "name": "nut"}, {"id": 5, "name": "bolt & screw"}],
    }
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def imported(coco: Path, tmp_path: Path, api: httpx.Client) -> Callable[..., tuple[int, dict[str, Any]]]:
    """A project made with the configuration that the import wrote, and its only task."""

    def run(*options: str) -> tuple[int, dict[str, Any]]:
        arguments = ["import", "--from", str(coco / "instances.json"), "--images", str(coco)]
        arguments += ["--out", str(tmp_path / "tasks.json"), "--label-config-out", str(tmp_path / "config.xml")]
        done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        config = (tmp_path / "config.xml").read_text()
        project = api.post("/api/projects/", json={"title": "import", "label_config": config}).raise_for_status().json()
        uploaded = api.post(
            f"/api/projects/{project['id']}/import",
            files={"file": ("a.png", (coco / "a picture.png").read_bytes(), "image/png")},
        ).raise_for_status()
        upload = api.get("/api/tasks", params={"project": project["id"]}).json()["tasks"][0]
        assert uploaded.status_code == 201
        # An uploaded picture stands for the local file, which this server does not serve.
        document = json.loads((tmp_path / "tasks.json").read_text())
        assert document[0]["data"] == {"image": "/data/local-files/?d=a%20picture.png"}
        document[0]["data"]["image"] = upload["data"]["image"]
        api.delete(f"/api/tasks/{upload['id']}/").raise_for_status()
        content = io.BytesIO(json.dumps(document).encode())
        api.post(
            f"/api/projects/{project['id']}/import", files={"file": ("tasks.json", content, "application/json")}
        ).raise_for_status()
        (task,) = api.get("/api/tasks", params={"project": project["id"], "fields": "all"}).json()["tasks"]
        return project["id"], task

    return run


def pixels_of(region: dict[str, Any]) -> np.ndarray:
    shape = (region["original_height"], region["original_width"], 4)
    return np.asarray(decode_rle(region["value"]["rle"])).reshape(shape)[..., 3] > 0


def check(result: list[dict[str, Any]]) -> None:
    ring, two = result
    assert [r["value"]["brushlabels"] for r in result] == [["nut"], ["bolt & screw"]]
    for region, mask in zip(result, masks(), strict=True):
        assert np.array_equal(pixels_of(region), mask)
    assert not ring.get("meta")
    assert two["meta"]["maskwright"] == {"iscrowd": True}


def test_predictions_are_stored_with_their_masks_scores_and_version(imported: Callable[..., Any]) -> None:
    _, task = imported("--model-version", "my model")
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "my model"
    assert prediction["score"] == 0.5
    assert [region["score"] for region in prediction["result"]] == [0.25, 0.75]
    check(prediction["result"])


def test_annotations_come_out_of_the_export_as_they_went_in(imported: Callable[..., Any], api: httpx.Client) -> None:
    project, task = imported("--as", "annotations")
    check(task["annotations"][0]["result"])
    (exported,) = api.get(f"/api/projects/{project}/export", params={"exportType": "JSON"}).json()
    check(exported["annotations"][0]["result"])


def test_what_was_imported_is_exported_as_the_same_coco(
    imported: Callable[..., Any], api: httpx.Client, coco: Path, tmp_path: Path
) -> None:
    project, _ = imported("--as", "annotations")
    tasks = tmp_path / "exported.json"
    tasks.write_bytes(api.get(f"/api/projects/{project}/export", params={"exportType": "JSON"}).content)
    command = ["export", "--from", str(tasks), "--categories", str(coco / "instances.json"), "--workers", "1"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "dataset")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    before = json.loads((coco / "instances.json").read_text())
    after = json.loads((tmp_path / "dataset" / "annotations.json").read_text())
    kept = ("category_id", "iscrowd", "segmentation")
    assert [[a[key] for key in kept] for a in after["annotations"]] == [
        [a[key] for key in kept] for a in before["annotations"]
    ]
    assert {c["id"]: c["name"] for c in after["categories"]} == {c["id"]: c["name"] for c in before["categories"]}


def test_tasks_are_sent_to_a_project_whose_configuration_has_the_classes(
    api: httpx.Client, coco: Path, label_studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_API_KEY", label_studio.token)
    config = """<View><Image name="picture" value="$photo"/><BitmaskLabels name="cells" toName="picture">
      <Label value="nut"/>%s</BitmaskLabels></View>"""
    project = api.post("/api/projects/", json={"title": "import", "label_config": config % ""}).json()["id"]
    arguments = ["import", "--from", str(coco / "instances.json"), "--images", str(coco), "--project", str(project),
                 "--image-url-prefix", "/data/upload/1/"]  # fmt: skip
    with pytest.raises(InvalidInput, match="lacks 1 of the file's classes: 'bolt & screw'"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    changed = {"label_config": config % '<Label value="bolt &amp; screw"/>'}
    api.patch(f"/api/projects/{project}/", json=changed).raise_for_status()
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (task,) = api.get("/api/tasks", params={"project": project, "fields": "all"}).json()["tasks"]
    assert task["data"] == {"photo": "/data/upload/1/a%20picture.png"}
    found = results_to_regions(task["predictions"][0]["result"])
    assert [region.label for region in found] == ["nut", "bolt & screw"]
    assert all(np.array_equal(r.mask.to_array(), mask) for r, mask in zip(found, masks(), strict=True))
    assert api.get(f"/api/projects/{project}/").json()["model_version"] == "import"


@pytest.mark.browser
def test_a_person_who_submits_an_imported_prediction_keeps_its_masks_and_crowds(
    imported: Callable[..., Any], api: httpx.Client, label_studio: Any
) -> None:
    executable = shutil.which("chromium")
    if executable is None:
        warnings.warn("NO BROWSER TEST: install chromium (Debian's package) to run it", stacklevel=1)
        pytest.skip("chromium is not installed: the browser test did not run")
    from playwright.sync_api import sync_playwright

    project, task = imported()
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        page = browser.new_page(viewport={"width": 1500, "height": 1300})
        page.set_default_timeout(60_000)
        page.goto(f"{label_studio.url}/user/login/")
        page.fill("input[name=email]", label_studio.username)
        page.fill("input[name=password]", label_studio.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/user/login" not in url)
        page.goto(f"{label_studio.url}/projects/{project}/data?task={task['id']}")
        page.wait_for_selector("canvas")
        page.wait_for_timeout(2500)
        # The crowd is looked at as well: the panel of details shows what stands in a region's meta.
        page.locator(".lsf-outliner-item, .lsf-tree-node-content-wrapper").last.click()
        page.wait_for_timeout(500)
        page.locator("[data-testid=bottombar-submit-button]").click()
        page.wait_for_timeout(2000)
        browser.close()
    (annotation,) = api.get(f"/api/tasks/{task['id']}/annotations/").json()
    check(annotation["result"])
