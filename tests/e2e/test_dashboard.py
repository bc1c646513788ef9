"""A person at the dashboard in a real browser: looks, rolls back, promotes, sees a round go on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.server.serve import WebServer, build_services
from maskwright.settings import Settings
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright.store.workers import WorkerRegister

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


@dataclass
class Site:
    url: str
    store: Any
    project: int
    demo: Any


def load_demo() -> Any:
    spec = importlib.util.spec_from_file_location("demo", Path(__file__).parents[1] / "server" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A server over a project with rounds."""
    demo, metrics = load_demo(), Metrics()
    services = build_services(
        Settings(_env_file=None, home=tmp_path / "home", model="classical", offline=True), metrics
    )
    app = create_app(services, metrics, [])
    store = services.store()
    project = demo.seed(tmp_path / "home", store)
    WorkerRegister(store.database).seen("worker-1")
    server = WebServer(app, host="127.0.0.1", port=0, threads=4, max_request_bytes=1 << 20)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Site(server.url, store, project, demo)
    server.stop()
    thread.join(30)
    services.jobs.close()
    services.assistant.close()
    store.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = shutil.which("chromium")
    if executable is None:
        warnings.warn("NO BROWSER TEST: install chromium (Debian's package) to run it", stacklevel=1)
        pytest.skip("chromium is not installed: the browser test did not run")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A page; whatever it asked for elsewhere and complained about fails the test."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    page.on("request", lambda request: request.url.startswith(site.url) or complaints.append(request.url))
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: answer.status >= 400 and complaints.append(f"{answer.status} {answer.url}"))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield page
    page.close()
    assert not complaints


def shows(page: Any, selector: str, count: int) -> None:
    """Waits for so many of them: a click returns before the page that it leads to is there."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_count(count)


def picture(page: Any, name: str, folder: Path) -> None:
    page.screenshot(path=str(Path(os.environ.get("MASKWRIGHT_SCREENSHOTS", folder)) / name))


def test_a_person_looks_around_rolls_back_and_promotes_again(page: Any, site: Site, tmp_path: Path) -> None:
    served = ServedRegister(site.store.database)
    page.goto(site.url)
    page.click("text=Nuclei, histology")
    shows(page, "svg.chart", 2)
    picture(page, "dashboard-project.png", tmp_path)

    page.click("tbody >> text=/^7$/")
    assert "put into service" in page.inner_text("section.verdict")
    shows(page, ".gallery img", 15)
    page.evaluate("Promise.all([...document.images].map(one => { one.loading = 'eager'; return one.decode(); }))")
    picture(page, "dashboard-round.png", tmp_path)

    page.click("nav >> text=Nuclei, histology")
    page.click("text=Queue")
    shows(page, "tbody tr", 50)
    page.click("text=later")
    shows(page, "tbody tr", 20)

    page.click("text=Versions")
    page.click("text=Roll back")
    assert "The version before is in service again" in page.inner_text(".message")
    assert served.current(site.project, "embedded").round_number == 6
    page.locator("tr", has_text="round 7").locator("text=Serve again").click()
    assert served.current(site.project, "embedded").round_number == 7

    refused = page.locator("tr", has_text="Refused:")
    refused.locator("text=Promote").click()
    assert served.current(site.project, "embedded").round_number == 7, "not without the tick"
    refused.locator("input[type=checkbox]").check()
    refused.locator("text=Promote").click()
    page.wait_for_selector(".message")
    assert served.current(site.project, "embedded").round_number == 4


def test_settings_are_changed_in_the_browser(page: Any, site: Site) -> None:
    page.goto(f"{site.url}/projects/{site.project}")
    page.check("input[value=automatic]")
    page.fill("input[name=review_share]", "0.2")
    page.click("text=Save settings")
    assert "kept" in page.inner_text(".message")
    assert page.is_checked("input[value=automatic]")
    assert page.input_value("input[name=review_share]") == "0.2"


def test_a_round_goes_on_and_ends_under_the_eyes_of_a_person(page: Any, site: Site) -> None:
    number = site.demo.begin_round(site.store, site.project)
    rounds = RoundStore(site.store.database)
    page.goto(f"{site.url}/projects/{site.project}/rounds/{number}")
    page.wait_for_selector("text=step 240 of 400")
    round_id = rounds.get(site.project, number).id
    rounds.renew(round_id, "worker-1", 60, {"stage": "training", "step": 380, "steps": 400, "loss": 0.3})
    page.wait_for_selector("text=step 380 of 400")
    page.click("text=Cancel")
    page.wait_for_selector("text=Stopping")
    rounds.finish(round_id, "worker-1", RoundState.CANCELLED, reason="cancelled")
    page.wait_for_selector(f"text=Round {number}", state="visible")
    page.goto(f"{site.url}/projects/{site.project}/rounds/{number}")
    page.wait_for_selector("text=The round was cancelled")


def test_a_round_that_begins_appears_while_a_person_fills_in_the_settings(page: Any, site: Site) -> None:
    page.goto(f"{site.url}/projects/{site.project}")
    page.fill("input[name=group_field]", "scanner")
    assert not page.locator("#progress").is_visible()
    number = site.demo.begin_round(site.store, site.project)
    page.wait_for_selector("text=step 240 of 400")
    assert page.input_value("input[name=group_field]") == "scanner", "the page was not loaded anew"
    rounds = RoundStore(site.store.database)
    rounds.finish(rounds.get(site.project, number).id, "worker-1", RoundState.CANCELLED, reason="cancelled")
    page.wait_for_selector("#progress", state="hidden")
    shows(page, "tbody .badge.cancelled", 1)


def test_pages_are_readable_in_the_dark_and_on_a_narrow_screen(browser: Any, site: Site, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 700, "height": 800}, color_scheme="dark")
    for path in ("", f"/projects/{site.project}", f"/projects/{site.project}/rounds/7"):
        page.goto(site.url + path)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(int(v) for v in colour.strip("rgb()").split(",")) < 200
    picture(page, "dark.png", tmp_path)
    page.close()
