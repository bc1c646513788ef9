"""Label Studio's REST API, as far as we need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from maskwright.errors import NotFound, Unreachable
from maskwright_label_studio.credentials import Credentials
from maskwright_label_studio.transports import (
    ApiError,
    ForeignNotFound,
    GuardedTransport,
    OperatorTransport,
    Transport,
)

__all__ = ["ApiError", "ForeignNotFound", "GuardedTransport", "LabelStudioClient", "OperatorTransport", "Transport"]

_PAGE = 100

PRIVATE_ADDRESS_REMEDY = (
    "Label Studio refuses the backend's private address: start Label Studio with LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false "
    "(for the connection) and LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false (for its webhook), "
    "or give the backend a public address"
)
WEBHOOK_MISSING = (
    "Label Studio makes no webhook to a private address while LABEL_STUDIO_SSRF_PROTECTION_ENABLED is on: set it to "
    "false and connect again; until then corrections reach the backend only when it asks"
)


class LabelStudioClient:
    """The calls we make.

    Args:
        transport: How requests travel.

    Every method raises ``Refused`` (wrong token), ``NotFound``, ``ApiError`` (refused otherwise) or ``Unreachable``.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    def of_operator(cls, base_url: str, api_key: str) -> LabelStudioClient:
        """A client for a server that the operator names, with a legacy or personal access token, or with none.

        Raises:
            InvalidInput: If the token or the URL is malformed.
        """
        return cls(OperatorTransport(base_url, Credentials(api_key, base_url) if api_key else None))

    def get(self, path: str, **params: Any) -> Any:
        """GET a path."""
        return self._transport.send("GET", path, params, None)

    def fetch(self, path: str, **params: Any) -> bytes:
        """GET a path; the JSON text that came, unread."""
        return self._transport.fetch(path, params)

    def post(self, path: str, payload: Any, **params: Any) -> Any:
        """POST a JSON document."""
        return self._transport.send("POST", path, params, payload)

    def patch(self, path: str, payload: Any) -> Any:
        """PATCH with a JSON document."""
        return self._transport.send("PATCH", path, {}, payload)

    def delete(self, path: str) -> None:
        """DELETE a path."""
        self._transport.send("DELETE", path, {}, None)

    def version(self) -> str:
        """Label Studio's release, e.g. ``1.23.2``."""
        return str(self.get("/api/version").get("release", ""))

    def project(self, project_id: int) -> dict[str, Any]:
        """One project."""
        try:
            return dict(self.get(f"/api/projects/{project_id}/"))
        except ForeignNotFound:
            raise
        except NotFound as error:
            raise NotFound(f"Label Studio has no project {project_id}, or the key does not see it") from error

    def projects(self) -> Iterator[dict[str, Any]]:
        """Every project that the token sees."""
        page = 1
        while True:
            answer = self.get("/api/projects/", page=page, page_size=_PAGE)
            yield from answer["results"]
            if not answer.get("next"):
                return
            page += 1

    def lists_project(self, project_id: int) -> bool:
        """Whether the list of projects shows one; says more than a 404 of the project itself.

        Raises:
            Unreachable: If what answers is no list of projects.
        """
        answer = self.get("/api/projects/", ids=project_id)
        found = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise Unreachable("what answers /api/projects/ is not Label Studio's list of projects")
        return any(one.get("id") == project_id for one in found)

    def create_project(self, title: str, label_config: str, **fields: Any) -> dict[str, Any]:
        """Create a project; ``fields`` such as sampling or show_collab_predictions."""
        return dict(self.post("/api/projects/", {"title": title, "label_config": label_config, **fields}))

    def update_project(self, project_id: int, **fields: Any) -> dict[str, Any]:
        """Change fields of a project."""
        return dict(self.patch(f"/api/projects/{project_id}/", fields))

    def task(self, task_id: int) -> dict[str, Any]:
        """One task with annotations and predictions. Label Studio asks its backend first if there are none."""
        return dict(self.get(f"/api/tasks/{task_id}/"))

    def annotations(self, task_id: int) -> list[dict[str, Any]]:
        """Annotations of a task. Label Studio leaves those out by which it was skipped."""
        return list(self.get(f"/api/tasks/{task_id}/annotations/"))

    def tasks(
        self, project_id: int, *, after: int = 0, page_size: int = _PAGE, where: Sequence[Mapping[str, Any]] = ()
    ) -> Iterator[dict[str, Any]]:
        """Tasks of a project in order of id, from the first one above ``after``; fetched page by page.

        ``where`` are more conditions, as ``number_filter`` makes them.

        Pages continue from the last id seen rather than by number, so tasks that come or go meanwhile shift nothing.
        """
        while True:
            conditions = [number_filter("id", "greater", after), *where]
            query = {"filters": {"conjunction": "and", "items": conditions}, "ordering": ["tasks:id"]}
            text = orjson.dumps(query).decode()
            found = self.get("/api/tasks", project=project_id, page_size=page_size, query=text)["tasks"]
            yield from found
            if len(found) < page_size:
                return
            after = max(task["id"] for task in found)

    def whole_task(self, project_id: int, task_id: int) -> dict[str, Any] | None:
        """A task with all its annotations, skipped ones too, and its predictions; None if it was deleted.

        Unlike ``task`` this never makes Label Studio ask its backend.
        """
        query = {"filters": {"conjunction": "and", "items": [number_filter("id", "equal", task_id)]}}
        text = orjson.dumps(query).decode()
        found = self.get("/api/tasks", project=project_id, page_size=1, fields="all", query=text)["tasks"]
        return dict(found[0]) if found else None

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Import tasks (``data`` and maybe ``predictions``); their ids."""
        answer = self.post(f"/api/projects/{project_id}/import", list(tasks), return_task_ids="true")
        return [int(number) for number in answer.get("task_ids", [])]

    def predictions(self, *, task: int | None = None, project: int | None = None) -> list[dict[str, Any]]:
        """Stored predictions of a task or of a project."""
        asked = {"task": task, "project": project}
        return list(self.get("/api/predictions/", **{k: v for k, v in asked.items() if v is not None}))

    def create_prediction(
        self, task_id: int, *, model_version: str, score: float, result: Sequence[Mapping[str, Any]]
    ) -> None:
        """Store a prediction."""
        body = {"task": task_id, "model_version": model_version, "score": score, "result": list(result)}
        self.post("/api/predictions/", body)

    def update_prediction(self, prediction_id: int, **fields: Any) -> None:
        """Change fields of a stored prediction, such as ``score`` or ``result``."""
        self.patch(f"/api/predictions/{prediction_id}/", fields)

    def create_annotation(self, task_id: int, **fields: Any) -> int:
        """Annotate a task (``result`` and maybe ``parent_prediction``, ``lead_time``); the annotation's number."""
        return int(self.post(f"/api/tasks/{task_id}/annotations/", fields)["id"])

    def retrieve_predictions(self, project_id: int) -> None:
        """Make Label Studio ask its backend for all tasks; it waits for the answer, and never tells how it went."""
        selected = {"selectedItems": {"all": True, "excluded": []}}
        self.post("/api/dm/actions", selected, id="retrieve_tasks_predictions", project=project_id)

    def connections(self, project_id: int) -> list[dict[str, Any]]:
        """The project's ML backends. Asking makes Label Studio call /health and /setup of each."""
        return list(self.get("/api/ml/", project=project_id))

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The project's webhooks."""
        return list(self.get("/api/webhooks/", project=project_id))

    def export(self, project_id: int, *, export_type: str = "JSON") -> Any:
        """Annotated tasks with their annotations, masks included."""
        return self.get(f"/api/projects/{project_id}/export", exportType=export_type)


def number_filter(column: str, operator: str, value: float) -> dict[str, Any]:
    """A condition on a column of the data manager, e.g. ``total_annotations`` ``equal`` 0."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": "Number", "value": value}
