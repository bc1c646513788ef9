"""A real Label Studio and a real backend process, both on loopback, shared by the tests of this folder."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from maskwright_label_studio.local import LocalLabelStudio, find_executable

BRUSH_CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image" smart="false"><Label value="Star"/></BrushLabels>
  <KeyPointLabels name="kp" toName="image" smart="true" smartonly="true">
    <Label value="Star" model_index="0"/>
  </KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true" smartonly="true"><Label value="Star"/></RectangleLabels>
</View>"""

START_LIMIT_S = 240
USER, PASSWORD = "assistant", secrets.token_urlsafe(12)


def load_sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pictures() -> ModuleType:
    return load_sibling("pictures")


@pytest.fixture(scope="session")
def load_module() -> Callable[[str], ModuleType]:
    """Other files of this folder by name."""
    return load_sibling


@dataclass
class Backend:
    """A ``maskwright serve`` process."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    user: str = USER
    password: str = PASSWORD


def launch_backend(home: Path, **settings: str) -> Backend:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MASKWRIGHT_", "LABEL_STUDIO"))}
    environment |= {"MASKWRIGHT_HOME": str(home), "MASKWRIGHT_USERNAME": USER, "MASKWRIGHT_PASSWORD": PASSWORD}
    environment |= {f"MASKWRIGHT_{k}": v for k, v in settings.items()}
    home.mkdir(parents=True, exist_ok=True)
    log = home / "serve.log"
    command = [str(Path(sys.executable).with_name("maskwright")), "serve", "--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT, text=True, cwd=home)
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            url = found.group(0)
            try:
                if httpx.get(f"{url}/health", auth=(USER, PASSWORD), timeout=2).status_code == 200:
                    return Backend(url, process, log)
            except httpx.TransportError:
                pass
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    process.kill()
    raise AssertionError(f"the backend did not come up:\n{log.read_text()}")


def stop(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLabelStudio]:
    executable = find_executable(None)
    if executable is None:
        pytest.fail("Label Studio is not installed beside this project; run 'make install'")
    # A data folder of a stopped server saves the minute of its first start while a test is being written.
    prepared = os.environ.get("MASKWRIGHT_TEST_LABEL_STUDIO_DATA")
    with LocalLabelStudio(
        tmp_path_factory.mktemp("label-studio"), executable=executable, prepared=Path(prepared) if prepared else None
    ) as server:
        yield server


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory, label_studio: LocalLabelStudio) -> Iterator[Backend]:
    running = launch_backend(
        tmp_path_factory.mktemp("backend"), LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=label_studio.token
    )
    yield running
    assert stop(running.process) == 0, running.log.read_text()[-3000:]


@pytest.fixture
def launch() -> Iterator[Callable[..., Backend]]:
    """Backends with a home of their own choice, which tests may kill."""
    started: list[Backend] = []

    def start(home: Path, **settings: str) -> Backend:
        started.append(launch_backend(home, **settings))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@pytest.fixture(scope="module")
def start_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Backend]]:
    """Backends of a module's own, which its tests may end as they like."""
    started: list[Backend] = []

    def start(**settings: str) -> Backend:
        started.append(launch_backend(tmp_path_factory.mktemp("backend-of-one-module"), **settings))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            stop(running.process)


@pytest.fixture(scope="session")
def api(label_studio: LocalLabelStudio) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=120) as client:
        yield client


@dataclass
class Project:
    """A project with uploaded pictures, driven over Label Studio's REST interface."""

    api: httpx.Client
    id: int
    tasks: list[dict[str, Any]] = field(default_factory=list)
    connection: int | None = None

    def connect(self, backend: Backend, **changes: Any) -> httpx.Response:
        body = {
            "url": backend.url,
            "project": self.id,
            "title": "assistant",
            "is_interactive": True,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": backend.user,
            "basic_auth_pass": backend.password,
        }
        answer = self.api.post("/api/ml/", json=body | changes)
        if answer.status_code == 201:
            self.connection = answer.json()["id"]
        return answer

    def retrieve_predictions(self) -> httpx.Response:
        return self.api.post(
            "/api/dm/actions",
            params={"id": "retrieve_tasks_predictions", "project": self.id},
            json={"selectedItems": {"all": True, "excluded": []}},
        )

    def predictions(self) -> list[dict[str, Any]]:
        answer = self.api.get("/api/predictions/", params={"project": self.id})
        answer.raise_for_status()
        return answer.json()

    def wait_for_predictions(self, seconds: float = 90) -> list[dict[str, Any]]:
        """Predictions once every task has one; what a batch request could not finish in time follows by itself."""
        end = time.monotonic() + seconds
        while True:
            found = self.predictions()
            if {p["task"] for p in found} >= {t["id"] for t in self.tasks} or time.monotonic() > end:
                return found
            time.sleep(1)

    def ask(self, task: int, result: list[dict[str, Any]]) -> dict[str, Any]:
        body = {"task": task, "context": {"result": result}}
        answer = self.api.post(f"/api/ml/{self.connection}/interactive-annotating", json=body)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture
def make_project(api: httpx.Client) -> Callable[..., Project]:
    def make(images: dict[str, bytes], config: str = BRUSH_CONFIG) -> Project:
        answer = api.post("/api/projects/", json={"title": f"test {secrets.token_hex(4)}", "label_config": config})
        answer.raise_for_status()
        project = Project(api, answer.json()["id"])
        for name, data in images.items():
            api.post(f"/api/projects/{project.id}/import", files={"file": (name, data, "image/png")}).raise_for_status()
        listed = api.get("/api/tasks", params={"project": project.id, "page_size": 1000})
        project.tasks = sorted(listed.json()["tasks"], key=lambda t: t["id"])
        assert len(project.tasks) == len(images)
        return project

    return make
