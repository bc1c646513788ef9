"""Label Studio, the backend and a project with pictures, side by side on this machine: what ``up`` and ``demo`` start.

Every step finds what an earlier run has made, so repeating is harmless.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from maskwright.errors import InvalidInput, Unreachable
from maskwright.labels import LabelSet
from maskwright.models.roles import asks_for_stages, configured
from maskwright.settings import read_settings
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.connect import Connection, connect
from maskwright_label_studio.local import LocalLabelStudio
from maskwright_label_studio.local_backend import PREFERRED_PORT, LocalBackend
from maskwright_label_studio.local_worker import LocalWorker
from maskwright_label_studio.processes import HOST
from maskwright_label_studio.templates import render_template

LABEL_STUDIO_PORT = 8080
PREDICTIONS_LIMIT_S = 900.0
_UPLOAD_TIMEOUT_S = 120.0
_ACTION_TIMEOUT_S = 180.0


class Workbench:
    """The servers, as a context manager that ends them in the right order.

    Args:
        home: Where everything is kept, below ``label-studio`` and ``backend``.
        executable: The ``label-studio`` program; None looks for it.
        label_studio_port: Port to prefer for Label Studio; another one is taken if it is not free.
        backend_port: The same for the backend.
        model: Model URI of the backend; None leaves it to the settings.
        trains: Whether a worker runs beside the backend, so that corrections are learnt from.
        tell: Told in a few words what is going on.
    """

    def __init__(
        self,
        home: Path,
        *,
        executable: Path | None = None,
        label_studio_port: int = LABEL_STUDIO_PORT,
        backend_port: int = PREFERRED_PORT,
        model: str | None = None,
        trains: bool = False,
        tell: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.home, self._tell, self._model, self._backend_port = home, tell, model, backend_port
        self.label_studio = LocalLabelStudio(home / "label-studio", executable=executable, port=label_studio_port)
        self._worker: LocalWorker | None = None
        self._trains, self._stack = trains, ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            first = not self.label_studio.log.exists()
            self._tell("starting Label Studio" + (", the first time takes a minute or two" if first else ""))
            stack.enter_context(self.label_studio)
            settings = {
                "MASKWRIGHT_HOME": str(self.home),
                "MASKWRIGHT_LABEL_STUDIO_URL": self.label_studio.url,
                "MASKWRIGHT_LABEL_STUDIO_API_KEY": self.label_studio.token,
            } | ({"MASKWRIGHT_MODEL": self._model} if self._model else {})  # fmt: skip
            self._tell("starting the backend")
            backend = LocalBackend(self.home / "backend", settings=settings, port=self._backend_port)
            self.backend = stack.enter_context(backend)
            if self._trains:
                self._worker = stack.enter_context(LocalWorker(self.home / "worker", settings=settings))
            self.client = LabelStudioClient.of_operator(self.label_studio.url, self.label_studio.token)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def project(self, title: str, template: str, labels: LabelSet) -> int:
        """The number of the project called ``title``, created from a template if there is none."""
        for found in self.client.projects():
            if found["title"] == title:
                return int(found["id"])
        self._tell(f"creating the project {title!r}")
        config = render_template(template, labels, remarks=asks_for_stages(configured(read_settings())))
        # Uncertainty sampling: the task that the model is least sure of comes first.
        return int(self.client.create_project(title, config, sampling="Uncertainty sampling")["id"])

    def upload(self, project: int, pictures: Sequence[Path]) -> None:
        """Upload those pictures that no task of the project holds yet, told by their names."""
        present = [str(value) for task in self.client.tasks(project) for value in dict(task["data"]).values()]
        missing = [path for path in pictures if not any(_is_upload_of(value, path) for value in present)]
        if not missing:
            return
        self._tell(f"uploading {len(missing)} pictures")
        headers = {"Authorization": f"Token {self.label_studio.token}"}
        with httpx.Client(
            base_url=self.label_studio.url, headers=headers, timeout=_UPLOAD_TIMEOUT_S, trust_env=False
        ) as http:
            for path in missing:
                # One by one: of several files in one request Label Studio would refuse all if it refused one.
                answer = http.post(f"/api/projects/{project}/import", files={"file": (path.name, path.read_bytes())})
                if answer.is_error:
                    raise InvalidInput(f"Label Studio does not take {path.name}: {answer.text[:200]}")

    def connect(self, project: int) -> Connection:
        """Connect the backend to the project, clicks on; what an earlier run connected under another port goes."""
        self._tell("connecting the backend")
        for old in self.client.connections(project):
            if str(old["url"]).startswith(f"http://{HOST}:") and str(old["url"]).rstrip("/") != self.backend.url:
                self.client.delete(f"/api/ml/{old['id']}")
                for hook in self.client.webhooks(project):
                    if str(hook["url"]).startswith(str(old["url"])):
                        self.client.delete(f"/api/webhooks/{hook['id']}/")
        return connect(
            self.client, project, self.backend.url, username=self.backend.username, password=self.backend.password
        )

    def preannotate(self, project: int) -> int:
        """Have every task without an annotation and a prediction of this model version pre-annotated.

        Tasks that people are done with get none of a version that came later, so nobody waits for them.

        Goes the way a person goes, through Label Studio's own action "retrieve predictions". The backend answers it
        within its time limit with what is ready, and sends the rest on its own.

        Raises:
            Unreachable: If some tasks still have none when patience is at its end.
        """
        version = str(self.client.project(project).get("model_version") or "")
        tasks = {int(task["id"]): bool(task["is_labeled"]) for task in self.client.tasks(project)}
        waiting = {number for number, is_done in tasks.items() if not is_done}
        if not (missing := waiting - self._predicted(project, version)):
            return len(tasks)
        self._tell(f"pre-annotating {len(missing)} pictures")
        headers = {"Authorization": f"Token {self.label_studio.token}"}
        with httpx.Client(base_url=self.label_studio.url, headers=headers, trust_env=False) as http:
            http.post(
                "/api/dm/actions", params={"id": "retrieve_tasks_predictions", "project": project},
                json={"selectedItems": {"all": False, "included": sorted(missing)}}, timeout=_ACTION_TIMEOUT_S,
            ).raise_for_status()  # fmt: skip
        deadline = time.monotonic() + PREDICTIONS_LIMIT_S
        while missing := waiting - self._predicted(project, version):
            if time.monotonic() > deadline:
                raise Unreachable(f"{len(missing)} tasks have no prediction yet; see {self.backend.log.name}")
            time.sleep(3.0)
        return len(tasks)

    def predictions(self, project: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(task, its latest prediction of the version in service), in order of tasks."""
        version = self.client.project(project).get("model_version")
        for task in self.client.tasks(project):
            found = [p for p in self.client.predictions(task=int(task["id"])) if p["model_version"] == version]
            if found:
                yield task, max(found, key=lambda p: int(p["id"]))

    def click(self, connection: int, task: int, region: Mapping[str, Any]) -> dict[str, Any]:
        """What the browser gets for one smart region: the prediction that the backend answers.

        Raises:
            Unreachable: If Label Studio reports an error instead.
        """
        body = {"task": task, "context": {"result": [dict(region)]}}
        answer = self.client.post(f"/api/ml/{connection}/interactive-annotating", body)
        if answer.get("errors"):
            raise Unreachable(f"the click was not answered: {answer['errors'][0]}")
        return dict(answer["data"])

    def project_url(self, project: int) -> str:
        """Where a person opens the project."""
        return f"{self.label_studio.url}/projects/{project}/data"

    @property
    def is_running(self) -> bool:
        """Whether all processes live."""
        worker = self._worker is None or self._worker.is_running
        return self.label_studio.is_running and self.backend.is_running and worker

    def _predicted(self, project: int, version: str) -> set[int]:
        found = self.client.predictions(project=project)
        return {int(p["task"]) for p in found if p.get("model_version") == version}


def _is_upload_of(value: str, path: Path) -> bool:
    # Uploads are stored as <8 hex digits>-<name>, with some characters of the name replaced.
    stored = value.rpartition("/")[2].partition("-")[2]
    return bool(stored) and stored == _stored_name(path.name)


def _stored_name(name: str) -> str:
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
