"""A backend whose assistant knows the truth, beside a stand-in for Label Studio that does what was recorded of it."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from PIL import Image as PillowImage
from werkzeug.serving import make_server

from maskwright.assist.assistant import InteractiveAnswer
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.preannotate import Preannotation
from maskwright.assist.services import Services
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region
from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.settings import Settings
from maskwright_label_studio import intake
from maskwright_label_studio.intake import ANSWER_S
from maskwright_label_studio.platform import PLATFORM

PAYLOADS = Path(__file__).parent / "payloads"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
SIZE = (240, 320)


def disc(centre: tuple[float, float] = (110, 100), radius: int = 50) -> np.ndarray:
    picture = np.zeros(SIZE, np.uint8)
    cv2.circle(picture, (int(centre[0]), int(centre[1])), radius, 255, -1)
    return picture > 0


def png(pixels: np.ndarray | None = None) -> bytes:
    if pixels is None:
        pixels = np.where(disc()[..., None], (200, 180, 30), (40, 40, 40)).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Oracle:
    """Answers with the true disc, counts what it was asked, and takes as long as a test wants."""

    def __init__(self) -> None:
        self.mask = Mask.from_array(disc())
        self.delay_s = 0.0
        self.fail: Exception | None = None
        self.prompts: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.preannotated: list[dict[str, Any]] = []
        self.warmed: list[str] = []
        self.loads = 0
        self._images: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def is_staged(self, stages: Any) -> bool:
        return False

    def model_version(self, labels: Any, model: str | None = None, *, stages: Any = None) -> str:
        return f"oracle-{labels.content_hash()[:8]}"

    def answer(self, image: Any, prompt: Any, **about: Any) -> InteractiveAnswer:
        self.prompts.append(prompt)
        self.asked.append(about | {"image": image})
        if self.fail:
            raise self.fail
        return InteractiveAnswer(self.mask, 0.9, "inner", None)

    def preannotate(self, image: Any, labels: Any, options: Any, **about: Any) -> Preannotation:
        with self._lock:
            self.preannotated.append(about | {"image": image, "labels": labels, "options": options})
        time.sleep(self.delay_s)
        if self.fail:
            raise self.fail
        region = Region(self.mask, labels.names[0], 0.8, Provenance("preannotation", "inner"))
        return Preannotation((region,), 0.8, "inner")

    def warm(self, load: Callable[[], Any], *, model: str | None = None, key: str | None = None) -> bool:
        load()
        self.warmed.append(key or "")
        return True

    def image(self, key: Any, load: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._images:
                self.loads += 1
                self._images[key] = load()
            return self._images[key]

    def health(self) -> dict[str, Any]:
        return {"model": "oracle"}

    def close(self) -> None:
        pass


@dataclass
class StandIn:
    """Label Studio's API as recorded, without its database."""

    url: str = ""
    project: dict[str, Any] = field(
        default_factory=lambda: {"id": 1, "label_config": "", "model_version": "", "title": "contract"}
    )
    connections: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    annotations: dict[int, list[Any]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    block_local_ip: bool = False
    ssrf_protection: bool = False
    backend_version: str = "oracle-1"
    backend_state: str = "CO"
    image: bytes = field(default_factory=png)
    next_id: int = 0

    def number(self) -> int:
        self.next_id += 1
        return self.next_id

    def register_webhook(self, url: str) -> None:
        if not any(hook["url"] == url for hook in self.webhooks):
            self.webhooks.append(
                {"id": self.number(), "url": url, "project": 1, "send_payload": True, "send_for_all_actions": True,
                 "headers": {}, "is_active": True, "actions": []}
            )  # fmt: skip


def stand_in_app(state: StandIn) -> Flask:
    app = Flask("stand-in-label-studio")
    refusal = (
        {"detail": "The provided URL was not allowed. URLs must use http:// or https://, and must not resolve to local "
                   "or private network addresses when SSRF protection applies.", "status_code": 403}, 403
    )  # fmt: skip

    @app.before_request
    def record() -> Any:
        state.requests.append((request.method, request.full_path.rstrip("?"), request.headers.get("Authorization", "")))
        if request.path.startswith(("/api", "/data")) and request.headers.get("Authorization") != f"Token {TOKEN}":
            return {"detail": "Authentication credentials were not provided."}, 401
        return None

    @app.get("/data/upload/<path:name>")
    def upload(name: str) -> Any:
        if "missing" in name:
            return {}, 404
        return Response(b"not an image" if "broken" in name else state.image, mimetype="image/png")

    @app.get("/api/projects/1/")
    def project() -> Any:
        return state.project

    @app.patch("/api/projects/1/")
    def change_project() -> Any:
        state.project |= request.get_json()
        return state.project

    @app.get("/api/ml/")
    def list_connections() -> Any:
        return state.connections

    @app.post("/api/ml/")
    def make_connection() -> Any:
        body = request.get_json()
        if state.block_local_ip:
            return refusal
        made = {"id": state.number(), **body, "state": state.backend_state, "model_version": state.backend_version}
        state.connections.append(made)
        if not state.project["model_version"]:
            state.project["model_version"] = body["title"]
        if state.ssrf_protection:
            return refusal
        state.register_webhook(body["url"] + "/webhook")
        return made, 201

    @app.patch("/api/ml/<int:number>")
    def change_connection(number: int) -> Any:
        body = request.get_json()
        if "url" not in body or "project" not in body:
            return {"detail": "setup_() missing 2 required positional arguments"}, 500
        (found,) = (c for c in state.connections if c["id"] == number)
        if body.get("title", found["title"]) != found["title"] and state.project["model_version"] == found["title"]:
            state.project["model_version"] = body["title"]
        found.update(body)
        return found

    @app.delete("/api/ml/<int:number>")
    def drop_connection(number: int) -> Any:
        state.connections = [c for c in state.connections if c["id"] != number]
        state.project["model_version"] = ""
        return "", 204

    @app.get("/api/webhooks/")
    def list_webhooks() -> Any:
        return state.webhooks

    @app.post("/api/webhooks/")
    def make_webhook() -> Any:
        if state.ssrf_protection:
            return refusal
        state.webhooks.append({"id": state.number(), **request.get_json()})
        return state.webhooks[-1], 201

    @app.patch("/api/webhooks/<int:number>/")
    def change_webhook(number: int) -> Any:
        (found,) = (hook for hook in state.webhooks if hook["id"] == number)
        found.update(request.get_json())
        return found

    @app.delete("/api/webhooks/<int:number>/")
    def drop_webhook(number: int) -> Any:
        state.webhooks = [hook for hook in state.webhooks if hook["id"] != number]
        return "", 204

    @app.get("/api/tasks")
    def list_tasks() -> Any:
        query = orjson.loads(request.args["query"])
        after = query["filters"]["items"][0]["value"]
        found = [state.tasks[number] for number in sorted(state.tasks) if number > after]
        return {"tasks": found[: int(request.args["page_size"])], "total": len(found)}

    @app.get("/api/tasks/<int:number>/annotations/")
    def list_annotations(number: int) -> Any:
        if number not in state.tasks:
            return {"detail": "Not found."}, 404
        return state.annotations.get(number, [])

    @app.get("/api/predictions/")
    def list_predictions() -> Any:
        return [p for p in state.predictions if str(p["task"]) == request.args["task"]]

    @app.post("/api/predictions/")
    def make_prediction() -> Any:
        state.predictions.append({"id": state.number(), **request.get_json()})
        return state.predictions[-1], 201

    return app


@dataclass
class Backend:
    """Our server under test, with what it leans on."""

    app: Flask
    http: FlaskClient
    oracle: Oracle
    services: Services

    def predict(self, body: dict[str, Any]) -> Any:
        return self.http.post("/predict", json=body)

    def results(self, body: dict[str, Any]) -> list[Any]:
        response = self.predict(body)
        assert response.status_code == 200, response.data
        return response.json["results"]

    def wait_for_jobs(self, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while self.services.jobs.active:
            assert time.monotonic() < deadline, self.services.jobs.jobs()
            time.sleep(0.01)


@pytest.fixture
def payload() -> Callable[[str], dict[str, Any]]:
    """The body of a recorded request, its image replaced by the true picture where a test says so."""

    def load(name: str) -> dict[str, Any]:
        return orjson.loads((PAYLOADS / f"{name}.json").read_bytes())["request"]["body"]

    return load


@pytest.fixture
def recording() -> Callable[[str], dict[str, Any]]:
    return lambda name: orjson.loads((PAYLOADS / f"{name}.json").read_bytes())


@pytest.fixture
def label_studio() -> Iterator[StandIn]:
    state = StandIn()
    server = make_server("127.0.0.1", 0, stand_in_app(state), threaded=True)
    state.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are refused as soon as in service; ask for it after the backend."""
    monkeypatch.setattr(intake, "ANSWER_S", ANSWER_S)


@pytest.fixture
def make_backend(
    tmp_path: Path, label_studio: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Backend]]:
    # What a busy machine does not write within the second in service is written all the same, and it is that which
    # the tests are about.
    monkeypatch.setattr(intake, "ANSWER_S", 30.0)
    made: list[Backend] = []

    def make(**settings: Any) -> Backend:
        given = {
            "home": tmp_path, "label_studio_url": label_studio.url, "label_studio_api_key": TOKEN,
        } | settings  # fmt: skip
        oracle, metrics = Oracle(), Metrics()
        services = Services(Settings(_env_file=None, **given), oracle, BackgroundJobs(), metrics.observe)
        app = create_app(services, metrics, [PLATFORM])
        backend = Backend(app, app.test_client(), oracle, services)
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.app.blueprints["label_studio"].close()
        backend.services.jobs.close()


@pytest.fixture
def backend(make_backend: Callable[..., Backend]) -> Backend:
    return make_backend()


@pytest.fixture
def data_uri() -> str:
    return "data:image/png;base64," + base64.b64encode(png()).decode()


@pytest.fixture
def batch_of(payload: Callable[[str], dict[str, Any]]) -> Callable[[int], dict[str, Any]]:
    """The recorded batch request, stretched to any number of tasks."""

    def make(count: int) -> dict[str, Any]:
        body = payload("predict-batch-two-tasks")
        first = body["tasks"][0]
        body["tasks"] = [
            first | {"id": number, "inner_id": number, "data": {"image": f"/data/upload/1/{number}.png"}}
            for number in range(1, count + 1)
        ]
        return body

    return make
