"""The real server over a test's project, asked as Label Studio and as a person at the dashboard ask it, and killed."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.services import Services
from maskwright.store.served import Served
from maskwright_label_studio.access import Access
from maskwright_label_studio.body import read_body
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import Project
from maskwright_label_studio.tasks import PredictRequest

_SERVERS = Path(__file__).parents[2] / "e2e" / "conftest.py"
_spec = importlib.util.spec_from_file_location("killed_servers", _SERVERS)
assert _spec is not None
assert _spec.loader is not None
_servers = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _servers
_spec.loader.exec_module(_servers)

CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image"><Label value="thing"/>
</BrushLabels><KeyPointLabels name="click" toName="image" smart="true"><Label value="thing"/></KeyPointLabels></View>"""
BY_HAND = ("promoted by hand", "rolled back")
"""What the store says of versions that a person put into service."""

Answer = tuple[str, tuple[int, ...]]
"""Model version and run lengths of the mask of an answer."""


class ClickServer:
    """``maskwright serve`` as a process, over the home of a project; it runs within the context.

    Args:
        project: A ``Project`` of this folder's conftest.
    """

    def __init__(self, project: Any) -> None:
        self._project = project
        self._key = f"{project.row.number}.1795230189"
        picture = base64.b64encode(next(iter(project.files.values()))).decode()
        self._click = click_body(self._key, f"data:image/png;base64,{picture}")
        # Nothing that the server has kept may help to tell what its answers should be.
        settings = project.settings.model_copy(update={"disk_cache_bytes": 0})
        self._assistant = Assistant(settings, registry=project.workshop.registry)
        self._jobs = BackgroundJobs()
        services = Services(settings, self._assistant, self._jobs, lambda stage, seconds: None)
        self._predictor = Predictor(services, Access(settings))
        self._wholes: dict[str, Answer] = {}

    def __enter__(self) -> ClickServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._assistant.close()
        self._jobs.close()

    def set_up(self) -> None:
        """Tell of the project, once: clicks after a restart come without."""
        setup = {"project": self._key, "schema": CONFIG, "hostname": self._project.row.server, "access_token": ""}
        assert self._http.post("/setup", json=setup).status_code == 200

    def start(self) -> None:
        """Start it, for the first time or after its death."""
        running = _servers.launch_backend(self._project.settings.home, DEVICE="cpu", CPU_THREADS="1")
        self._process, self._url = running.process, running.url
        self._http = httpx.Client(
            base_url=running.url, auth=(running.user, running.password), timeout=100, trust_env=False
        )

    def kill(self) -> None:
        """With SIGKILL."""
        self._process.kill()
        self._process.wait()

    @property
    def is_up(self) -> bool:
        """Whether nobody has killed it."""
        return self._process.poll() is None

    def click(self) -> Answer:
        """What it answers to the click, which is always the same.

        Raises:
            httpx.TransportError: If it dies meanwhile.
        """
        answer = self._http.post("/predict", content=self._click, headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        return _answer(result)

    def whole(self, served: Served | None) -> Answer:
        """What a version answers to the click if all of it is used, and nothing else; None is the base alone."""
        uri = "embedded" if served is None else served.uri
        if uri not in self._wholes:
            project = Project(self._key, ProjectOptions(model=uri))
            self._wholes[uri] = _answer(self._predictor.click(PredictRequest.of(read_body(self._click)), project))
        return self._wholes[uri]

    def change(self) -> Callable[[], bool]:
        """Look at the versions, and get ready to roll back, or to serve round 1 again where the base is in service.

        Returns:
            Sends that form; true if the server said that it is done, false if another version was in service by then.
        """
        versions = self._http.get(f"/projects/{self._project.row.id}/versions")
        fields = dict(re.findall(r'name="(form_token|version)" value="(\w+)"', versions.text))
        action = "rollback" if "version" in fields else "rounds/1/promote"

        def send() -> bool:
            answer = self._http.post(
                f"/projects/{self._project.row.id}/{action}",
                data=fields | {"confirmed": "yes"},
                headers={"Origin": self._url},
            )
            assert answer.status_code == 303 or "in service" in answer.text, answer.text
            return answer.status_code == 303

        return send


def click_body(key: str, image: str) -> bytes:
    """What Label Studio posts for the first click on a task."""
    point = {
        "id": "click-1", "type": "keypointlabels", "from_name": "click", "to_name": "image", "origin": "manual",
        "original_width": 168, "original_height": 112, "image_rotation": 0, "is_positive": True,
        "value": {"x": 16.0, "y": 24.0, "width": 0.25, "labels": ["thing"], "keypointlabels": ["thing"]},
    }  # fmt: skip
    task = {"id": 1, "project": int(key.partition(".")[0]), "data": {"image": image}, "annotations": [], "drafts": []}
    params = {"login": None, "password": None, "context": {"result": [point]}}
    return orjson.dumps({"tasks": [task], "project": key, "label_config": CONFIG, "params": params})


def _answer(result: Any) -> Answer:
    (region,) = result["result"]
    return result["model_version"], tuple(int(number) for number in region["value"]["rle"])
