"""A person in a real browser: log in, open a task, see the pre-annotation, click, see the mask appear."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.templates import render_template

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image" smart="false"><Label value="coffee cup" background="#d4380d"/><Label value="spoon" background="#096dd9"/></BrushLabels>
  <KeyPointLabels name="kp" toName="image" smart="true" smartonly="true"><Label value="coffee cup" background="#d4380d" model_index="0"/><Label value="spoon" background="#096dd9" model_index="1"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true" smartonly="true"><Label value="coffee cup" background="#d4380d"/><Label value="spoon" background="#096dd9"/></RectangleLabels>
</View>"""  # noqa: E501


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, label_studio: Any) -> Iterator[Any]:
    executable = shutil.which("chromium")
    if executable is None:
        warnings.warn("NO BROWSER TEST: install chromium (Debian's package) to run it", stacklevel=1)
        pytest.skip("chromium is not installed: the browser test did not run")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1300})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def log_in(page: Any, server: Any) -> None:
    page.goto(f"{server.url}/user/login/")
    if "/user/login" not in page.url:
        return  # by an earlier test
    page.fill("input[name=email]", server.username)
    page.fill("input[name=password]", server.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/user/login" not in url)


def smart_click(page: Any, x: float, y: float, label: str) -> None:
    """Click at fractions (x, y) of the picture, where no region lies, with the smart key point of ``label``."""
    page.locator("[data-testid=bottombar-auto-annotation-toggle]").check(force=True)
    page.locator("button.lsf-tool_smart:not([aria-label])").last.click()
    page.locator('button.lsf-tool_smart[aria-label="key-point-tool"]').last.click()
    page.locator(".lsf-labels").nth(1).locator(".lsf-label", has_text=label).click()
    page.wait_for_timeout(500)
    box = page.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_a_person_sees_the_pre_annotation_and_gets_a_mask_for_a_click(
    page: Any, label_studio: Any, backend: Any, api: httpx.Client, make_project: Callable[..., Any], tmp_path: Path
) -> None:
    import skimage

    coffee = Path(skimage.__file__).parent / "data" / "coffee.png"
    project = make_project({"coffee.png": coffee.read_bytes()}, CONFIG)
    assert project.connect(backend).status_code == 201
    project.retrieve_predictions()
    (prediction,) = project.wait_for_predictions()
    assert prediction["result"]

    log_in(page, label_studio)
    page.goto(f"{label_studio.url}/projects/{project.id}/data?task={project.tasks[0]['id']}")
    page.wait_for_selector("canvas")
    page.wait_for_selector("[data-testid=bottombar-auto-annotation-toggle]", state="attached")
    page.wait_for_timeout(1500)
    before = page.locator(".lsf-outliner-item, .lsf-tree-node-content-wrapper").count()
    assert before >= len(prediction["result"]), "the task opens with the prediction already in place"

    with page.expect_response(lambda r: "interactive-annotating" in r.url) as waited:
        smart_click(page, 0.62, 0.72, "spoon")
    answer = waited.value.json()
    assert answer["data"]["result"], answer
    page.wait_for_selector("text=/1 suggestion/")
    page.wait_for_timeout(1000)
    target = os.environ.get("MASKWRIGHT_SCREENSHOT", str(tmp_path / "at-work.png"))
    page.screenshot(path=target)
    page.locator(".lsf-auto-accept__action_type_accept").click()
    page.locator("[data-testid=bottombar-submit-button]").click()
    page.wait_for_timeout(1500)
    (annotation,) = api.get(f"/api/tasks/{project.tasks[0]['id']}/annotations/").json()
    kept = {region["id"]: region for region in annotation["result"]}
    suggested = answer["data"]["result"][0]
    assert kept[suggested["id"]]["value"]["rle"] == suggested["value"]["rle"]


def test_a_person_types_what_is_meant_and_reads_why(
    page: Any, label_studio: Any, backend: Any, make_project: Callable[..., Any]
) -> None:
    import skimage

    coins = Path(skimage.__file__).parent / "data" / "coins.png"
    aliases = ("Petri dish", "nematode", "gong", "loupe", "bolo tie", "face powder", "pick")
    labels = LabelSet((LabelClass("coin", aliases), LabelClass("cup")))
    project = make_project({"coins.png": coins.read_bytes()}, render_template("smart-brush", labels, remarks=True))
    assert project.connect(backend, extra_params={"suggestions": {}}).status_code == 201
    project.retrieve_predictions()
    (prediction,) = project.wait_for_predictions()
    drawn = [item for item in prediction["result"] if item["type"] == "brushlabels"]
    assert len(drawn) > 10
    assert all("pixels" in item["meta"]["text"][0] for item in drawn)

    log_in(page, label_studio)
    page.goto(f"{label_studio.url}/projects/{project.id}/data?task={project.tasks[0]['id']}")
    page.wait_for_selector("canvas")
    page.wait_for_selector("text=/coin: confirmed/")
    page.wait_for_selector("[data-testid=bottombar-auto-annotation-toggle]", state="attached")
    page.wait_for_timeout(1500)
    page.locator("[data-testid=bottombar-auto-annotation-toggle]").check(force=True)
    with page.expect_response(lambda r: "interactive-annotating" in r.url) as waited:
        box = page.locator("[placeholder^='the left one']").first
        box.click()
        box.type("the two biggest coins")
        page.keyboard.press("Enter")
    assert len(waited.value.json()["data"]["result"]) == 2
    page.wait_for_selector("text=/2 suggestions/")
