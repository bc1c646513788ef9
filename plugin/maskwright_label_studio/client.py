"""Label Studio's REST API, as far as we need it.

httpx rather than the SDK's client: the SDK takes seconds to import, hides the bodies of refusals that we explain, and
knows nothing of our guarded transport for addresses that only a request names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
import orjson

from maskwright.errors import InvalidInput, MaskwrightError, NotFound, Refused, Unreachable
from maskwright.store.remote import AccessDenied, FetchPolicy, fetch_bytes, post_json
from maskwright_label_studio.credentials import HOW_TO_GET_A_KEY, Credentials

_TIMEOUT_S = 30.0
_PAGE = 100
_SHOWN = 300
_PRIVATE_ADDRESS_WORDS = ("not allowed", "must not resolve", "reserved", "private network", "banned", "block_local")

PRIVATE_ADDRESS_REMEDY = (
    "Label Studio refuses the backend's private address: start Label Studio with LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false "
    "(for the connection) and LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false (for its webhook), "
    "or give the backend a public address"
)
WEBHOOK_MISSING = (
    "Label Studio makes no webhook to a private address while LABEL_STUDIO_SSRF_PROTECTION_ENABLED is on: set it to "
    "false and connect again; until then corrections reach the backend only when it asks"
)

log = logging.getLogger(__name__)


class ApiError(MaskwrightError):
    """Label Studio answered a request with an error.

    Attributes:
        remote_status: Its HTTP status.
        body: Its answer as text.
    """

    status = 502

    def __init__(self, message: str, remote_status: int, body: str) -> None:
        super().__init__(message)
        self.remote_status = remote_status
        self.body = body

    @property
    def is_private_address_refusal(self) -> bool:
        """Whether Label Studio refused the URL of the backend for being on a private network (1.23.1 and later)."""
        text = self.body.lower()
        return self.remote_status == 403 and any(word in text for word in _PRIVATE_ADDRESS_WORDS)


class Transport(Protocol):
    """Sends requests to one Label Studio."""

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        """GET; the answer as it came, for answers whose masks are not to be read."""
        ...

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        """Send and read the JSON answer; ``payload`` None means no body. None for an empty answer."""
        ...


class OperatorTransport:
    """Requests to the server that the operator configured, with every method and with readable refusals.

    Redirects are not followed: the token stays where it belongs. Without credentials only what is public answers.
    """

    def __init__(self, base_url: str, credentials: Credentials | None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._credentials = credentials
        self._http = httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout_s, trust_env=False)

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        """See ``Transport``."""
        return self._answer("GET", path, params, None)

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        """See ``Transport``."""
        return _parsed(self._answer(method, path, params, payload), path)

    def _answer(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> bytes:
        """The body of the answer; an expired access token is renewed once."""
        headers = self._credentials.headers() if self._credentials else {}
        response = self._sent(method, path, params, payload, headers)
        refused = response.status_code == httpx.codes.UNAUTHORIZED
        if refused and self._credentials and self._credentials.invalidate(headers):
            response = self._sent(method, path, params, payload, self._credentials.headers())
        return self._checked(method, path, response)

    def _sent(
        self, method: str, path: str, params: Mapping[str, Any], payload: Any, headers: dict[str, str]
    ) -> httpx.Response:
        content = None if payload is None else orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
        sent = headers | ({"Content-Type": "application/json"} if content is not None else {})
        try:
            return self._http.request(method, path, params=dict(params) or None, content=content, headers=sent)
        except httpx.HTTPError as error:
            reason = type(error).__name__
            raise Unreachable(f"Label Studio at {self._http.base_url} does not answer: {reason}") from error

    def _checked(self, method: str, path: str, response: httpx.Response) -> bytes:
        status = response.status_code
        if status == httpx.codes.UNAUTHORIZED:
            raise Refused(self._credentials.rejection() if self._credentials else HOW_TO_GET_A_KEY)
        if status == httpx.codes.NOT_FOUND:
            raise NotFound(f"Label Studio has no {path}")
        if response.is_redirect:
            raise Unreachable(f"Label Studio redirects {path}; configure the address that it redirects to")
        if response.is_error:
            what = f"Label Studio answered {method} {path} with {status}: {_detail(response)}"
            raise ApiError(what, status, response.text)
        return response.content


class GuardedTransport:
    """GET and POST to a server that only a request named: judged by the same policy as images from there."""

    def __init__(self, base_url: str, credentials: Credentials, policy: FetchPolicy) -> None:
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._policy = policy

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        """See ``Transport``."""
        try:
            return fetch_bytes(self._url(path, params), self._policy, self._credentials.headers())
        except AccessDenied as error:
            raise Refused(self._credentials.rejection()) from error

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        """See ``Transport``."""
        if method == "GET":
            return _parsed(self.fetch(path, params), path)
        if method != "POST":
            raise InvalidInput(f"{method} is not sent to servers that the operator did not configure")
        plain = orjson.loads(orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY))
        try:
            return post_json(self._url(path, params), plain, self._policy, self._credentials.headers())
        except AccessDenied as error:
            raise Refused(self._credentials.rejection()) from error

    def _url(self, path: str, params: Mapping[str, Any]) -> str:
        return self._base_url + path + (f"?{urlencode(params)}" if params else "")


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
        return dict(self.get(f"/api/projects/{project_id}/"))

    def projects(self) -> Iterator[dict[str, Any]]:
        """Every project that the token sees."""
        page = 1
        while True:
            answer = self.get("/api/projects/", page=page, page_size=_PAGE)
            yield from answer["results"]
            if not answer.get("next"):
                return
            page += 1

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

    def tasks(self, project_id: int, *, after: int = 0, page_size: int = _PAGE) -> Iterator[dict[str, Any]]:
        """Tasks of a project in order of id, from the first one above ``after``; fetched page by page.

        Pages continue from the last id seen rather than by number, so tasks that come or go meanwhile shift nothing.
        """
        while True:
            only_later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            query = {"filters": {"conjunction": "and", "items": [only_later]}, "ordering": ["tasks:id"]}
            text = orjson.dumps(query).decode()
            found = self.get("/api/tasks", project=project_id, page_size=page_size, query=text)["tasks"]
            yield from found
            if len(found) < page_size:
                return
            after = max(task["id"] for task in found)

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


def _parsed(content: bytes, path: str) -> Any:
    if not content:
        return None
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"what answers {path} is not Label Studio: no JSON came") from error


def _detail(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.reason_phrase or "no reason given"
    if not isinstance(body, dict):
        return str(body)[:_SHOWN]
    errors = body.get("validation_errors")
    fields = errors.items() if isinstance(errors, dict) else ()
    parts = [f"{key}: {'; '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in fields]
    return (" ".join(parts) or str(body.get("detail") or "no reason given"))[:_SHOWN]
