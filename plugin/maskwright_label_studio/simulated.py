"""Label Studio's part in a simulated project: its requests to the server, in the form that was recorded of it.

There is no Label Studio behind it. Tasks, predictions and annotations live here, and the server sees what it would see
of a person in a browser: ``/setup`` with every page, ``/predict`` for a task that opens and for every click with all
earlier clicks on the object, and a webhook with credentials for what is submitted. Images are local files.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from maskwright.errors import Unreachable
from maskwright.labels import LabelSet
from maskwright.learn.clicker import Click
from maskwright.regions import Region
from maskwright_label_studio.results import results_to_regions
from maskwright_label_studio.templates import DEFAULT_TEMPLATE, render_template
from maskwright_label_studio.webhook import PLATFORM_NAME

SERVER = "http://simulated.invalid"
"""Address of the Label Studio that is not there; nothing is ever asked of it, since no key for it is known."""
_BORN = datetime(2026, 1, 1, tzinfo=UTC)
_TIMEOUT_S = 100.0
_IMAGE, _MASK, _CLICK = "image", "mask", "click"
"""Names in the template."""


@dataclass
class _Opened:
    """A task in the browser.

    Attributes:
        prediction: As Label Studio stores it, or None where the server gave none.
        items: Result items by region id: proposed ones and answers to clicks.
    """

    number: int
    prediction: dict[str, Any] | None
    items: dict[str, dict[str, Any]]


class SimulatedProject:
    """A project of a Label Studio that is played; a ``learn.simulate.annotator.LabellingClient``.

    Args:
        url: Of the server.
        credentials: User and password for it.
        number: Of the project.
        labels: Its classes.
        images: By task number, the path of its image below the server's ``local_files_root``, and its (H, W).

    Attributes:
        platform: What the store calls the platform.
        server: Address under which the store keeps the project.
        label_config: Its labelling configuration.
    """

    platform: str = PLATFORM_NAME
    server: str = SERVER

    def __init__(
        self,
        url: str,
        credentials: tuple[str, str],
        number: int,
        labels: LabelSet,
        images: Mapping[int, tuple[str, tuple[int, int]]],
    ) -> None:
        self.number, self.label_config = number, render_template(DEFAULT_TEMPLATE, labels)
        self._images = images
        self._http = httpx.Client(base_url=url, auth=credentials, timeout=_TIMEOUT_S, trust_env=False)
        self._opened: _Opened | None = None

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def connect(self) -> str:
        """Load the project's page; the model version that the server tells.

        Raises:
            Unreachable: If the server does not answer as it should; so do the other methods.
        """
        body = {
            "project": self._key, "schema": self.label_config, "hostname": SERVER, "access_token": "",
            "extra_params": None,
        }  # fmt: skip
        return str(self._post("/setup", body).get("model_version"))

    def source(self, task: int) -> str:
        """The image value of a task."""
        return f"/data/local-files/?d={quote(self._images[task][0])}"

    def open(self, task: int) -> list[Region]:
        """See ``LabellingClient.open``."""
        self._opened = _Opened(task, None, {})
        (answer,) = self._predict(None)
        if answer:
            self._opened.prediction = {
                "id": task, "task": task, "project": self.number, **answer, "created_at": _now(), "updated_at": _now(),
            }  # fmt: skip
        return self._regions(answer["result"] if answer else [])

    def click(self, task: int, clicks: Sequence[Click], label: str) -> Region | None:
        """See ``LabellingClient.click``; ``task`` is the one that is open."""
        height, width = self._images[task][1]
        points = [
            {
                "id": f"click-{number}", "type": "keypointlabels", "from_name": _CLICK, "to_name": _IMAGE,
                "origin": "manual", "original_width": width, "original_height": height, "image_rotation": 0,
                "is_positive": click.label == 1,
                "value": {
                    "x": (click.x + 0.5) * 100 / width, "y": (click.y + 0.5) * 100 / height, "width": 0.25,
                    "labels": [label], "keypointlabels": [label],
                },
            }
            for number, click in enumerate(clicks)
        ]  # fmt: skip
        (answer,) = self._predict({"result": points})
        return next(iter(self._regions(answer.get("result", []))), None)

    def submit(self, task: int, regions: Sequence[Region], lead_seconds: float) -> None:
        """See ``LabellingClient.submit``; ``task`` is the one that is open."""
        assert self._opened is not None, "open the task first"
        prediction = self._opened.prediction
        annotation = {
            "id": task, "task": task, "project": self.number, "completed_by": 1, "updated_by": 1,
            "created_at": _now(), "updated_at": _now(), "draft_created_at": None, "lead_time": lead_seconds,
            "was_cancelled": False, "ground_truth": False, "unique_id": secrets.token_hex(16), "last_action": None,
            "result": [self._finished(region) for region in regions], "result_count": len(regions),
            "prediction": prediction or {}, "parent_prediction": task if prediction else None,
            "parent_annotation": None, "import_id": None, "bulk_created": False, "last_created_by": None,
        }  # fmt: skip
        task_document = self._task() | {"is_labeled": True, "total_annotations": 1, "updated_at": _now()}
        self._send("ANNOTATION_CREATED", {"annotation": annotation, "task": task_document})
        self._opened = None

    def start_training(self) -> None:
        """Press the button."""
        self._send("START_TRAINING", {})

    @property
    def _key(self) -> str:
        return f"{self.number}.{int(_BORN.timestamp())}"

    def _predict(self, context: dict[str, Any] | None) -> list[Any]:
        assert self._opened is not None, "open the task first"
        prediction = self._opened.prediction
        task = self._task() | {"annotations": [], "predictions": [prediction] if prediction else []}
        if context is None:
            task["is_labeled"] = False
        else:
            task["drafts"] = []
        body = {
            "tasks": [task], "project": self._key, "label_config": self.label_config,
            "params": {"login": None, "password": None, "context": context},
        }  # fmt: skip
        results = self._post("/predict", body).get("results")
        if not isinstance(results, list) or len(results) != 1:
            raise Unreachable(f"/predict answered one task with {results!r:.80}")
        return results

    def _task(self) -> dict[str, Any]:
        assert self._opened is not None, "open the task first"
        number = self._opened.number
        return {
            "id": number, "inner_id": number, "project": self.number, "data": {_IMAGE: self.source(number)},
            "meta": {}, "created_at": _text(_BORN), "updated_at": _text(_BORN),
            "total_annotations": 0, "cancelled_annotations": 0, "file_upload": None,
        }  # fmt: skip

    def _regions(self, items: Sequence[dict[str, Any]]) -> list[Region]:
        assert self._opened is not None, "open the task first"
        self._opened.items |= {item["id"]: item for item in items}
        return results_to_regions(items)

    def _finished(self, region: Region) -> dict[str, Any]:
        """A region of an annotation: what the browser keeps of the prediction or suggestion that it was."""
        assert self._opened is not None, "open the task first"
        item = {name: value for name, value in self._opened.items[region.key].items() if name != "score"}
        proposed = (self._opened.prediction or {}).get("result", [])
        is_proposed = any(one["id"] == region.key for one in proposed)
        origin = "prediction" if is_proposed else "manual"
        return item | {"origin": origin, "value": item["value"] | {item["type"]: [region.label]}}

    def _send(self, action: str, parts: dict[str, Any]) -> None:
        project = {
            "id": self.number, "title": f"simulated {self.number}", "label_config": self.label_config,
            "created_at": _text(_BORN), "updated_at": _text(_BORN),
        }  # fmt: skip
        self._post("/webhook", {"action": action, **parts, "project": project})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._http.post(
                path, content=orjson.dumps(body), headers={"Content-Type": "application/json"}
            )  # fmt: skip
            if response.is_success and isinstance(found := orjson.loads(response.content), dict):
                return found
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise Unreachable(f"the server does not answer {path}: {error}") from error
        raise Unreachable(f"the server answered {path} with {response.status_code} {response.reason_phrase}")


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _now() -> str:
    return _text(datetime.now(UTC))
