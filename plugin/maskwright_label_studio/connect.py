"""Connecting this backend to a project so that everything works: clicks, queue order, authenticated events.

Repeating it changes nothing but what differs.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.errors import Refused, Unreachable
from maskwright_label_studio.client import PRIVATE_ADDRESS_REMEDY, WEBHOOK_MISSING, ApiError, LabelStudioClient
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.options import parse_options
from maskwright_label_studio.webhook import SUBSCRIBED

_FIRST_TITLE = "maskwright"
_CONNECTED = "CO"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """A working connection.

    Attributes:
        id: Label Studio's number of it.
        model_version: What the backend reported; also its title and the project's model version.
        webhook_id: The webhook, or None where Label Studio refused it.
        warnings: What works less well than it could, each with its remedy.
    """

    id: int
    model_version: str
    webhook_id: int | None
    warnings: tuple[str, ...] = ()


def connect(
    client: LabelStudioClient,
    project_id: int,
    backend_url: str,
    *,
    username: str = "",
    password: str = "",
    extra_params: Mapping[str, Any] | None = None,
    interactive: bool = True,
) -> Connection:
    """Connect a backend to a project, or bring an existing connection up to date.

    The connection's title is the model version and so is the project's: only then are stored predictions shown, asked
    for when missing, and used by uncertainty sampling. The webhook gets the backend's credentials, which Label Studio
    does not give it, and the events that matter.

    Args:
        client: Label Studio, with the token of someone who may change the project.
        project_id: The project.
        backend_url: The backend as Label Studio sees it.
        username: User of the backend's basic auth, or empty.
        password: Its password.
        extra_params: Options of the project, see ``ProjectOptions``; None keeps what an existing connection has.
        interactive: Whether the backend answers clicks.

    Raises:
        InvalidInput: If an option or the labelling configuration does not fit.
        Refused: If Label Studio refuses private addresses, or the token.
        Unreachable: If Label Studio, or the backend as seen from there, does not answer.
        ApiError: If Label Studio refuses otherwise, such as for wrong credentials of the backend.
    """
    url = backend_url.rstrip("/")
    config = parse_config(str(client.project(project_id)["label_config"]))
    if not config.is_blank:
        config.require_outputs()
    wanted: dict[str, Any] = {"url": url, "project": project_id, "is_interactive": interactive}
    wanted |= connection_credentials(username, password)
    if extra_params is not None:
        wanted["extra_params"] = parse_options(dict(extra_params)).model_dump(exclude_unset=True)
    warnings: list[str] = []
    found = _ensured(client, project_id, wanted, warnings)
    version = str(found.get("model_version") or "")
    if found.get("state") != _CONNECTED or not version:
        reason = found.get("error_message") or "it did not answer /health and /setup in time"
        raise Unreachable(f"Label Studio cannot use the backend at {url}: {reason}")
    if found.get("title") != version:
        client.patch(f"/api/ml/{found['id']}", wanted | {"title": version})
    if client.project(project_id).get("model_version") != version:
        client.update_project(project_id, model_version=version)
    webhook_id = _webhook(client, project_id, url, username, password, warnings)
    return Connection(int(found["id"]), version, webhook_id, tuple(dict.fromkeys(warnings)))


def connection_credentials(username: str, password: str) -> dict[str, str]:
    """The backend's credentials as fields of a connection; both empty for none.

    A PATCH that names the method but not the password is refused, and so is one without either where there are any, so
    they travel together every time.
    """
    if not username:
        return {"auth_method": "NONE"}
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": username, "basic_auth_pass": password}


def basic_auth_header(username: str, password: str) -> str:
    """The value of an ``Authorization`` header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _ensured(client: LabelStudioClient, project_id: int, wanted: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """The connection as Label Studio sees it after asking the backend."""
    same, others = _connections(client, project_id, wanted["url"])
    if others and (not same or others[0]["id"] < same[0]["id"]):
        warnings.append(
            f"the project's first backend is {others[0].get('title')!r}, and Label Studio asks the first one only: "
            "delete it to use this one"
        )
    for double in same[1:]:
        client.delete(f"/api/ml/{double['id']}")
    try:
        if same:
            client.patch(f"/api/ml/{same[0]['id']}", wanted)
        else:
            client.post("/api/ml/", wanted | {"title": _FIRST_TITLE})
    except ApiError as error:
        if not error.is_private_address_refusal:
            raise
        # With only one of its two settings off, Label Studio answers 403 and yet keeps the connection.
        warnings.append(WEBHOOK_MISSING)
    same, _ = _connections(client, project_id, wanted["url"])
    if not same:
        raise Refused(PRIVATE_ADDRESS_REMEDY)
    return same[0]


def _connections(
    client: LabelStudioClient, project_id: int, url: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    every = sorted(client.connections(project_id), key=lambda c: int(c["id"]))
    same = [c for c in every if str(c.get("url")).rstrip("/") == url]
    return same, [c for c in every if c not in same]


def _webhook(
    client: LabelStudioClient, project_id: int, url: str, username: str, password: str, warnings: list[str]
) -> int | None:
    address = f"{url}/webhook"
    wanted = {
        "url": address,
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": list(SUBSCRIBED),
        "headers": {"Authorization": basic_auth_header(username, password)} if username else {},
        "is_active": True,
    }
    # Deleted connections leave their webhooks behind, so there may be several.
    same = [hook for hook in client.webhooks(project_id) if hook.get("url") == address]
    for double in same[1:]:
        client.delete(f"/api/webhooks/{double['id']}/")
    try:
        if same:
            return int(client.patch(f"/api/webhooks/{same[0]['id']}/", wanted)["id"])
        return int(client.post("/api/webhooks/", wanted | {"project": project_id})["id"])
    except ApiError as error:
        if not error.is_private_address_refusal:
            raise
        warnings.append(WEBHOOK_MISSING)
        return None


def read_extra_params(text: str | None) -> dict[str, Any] | None:
    """Options as JSON text from a command line.

    Raises:
        InvalidInput: If they are malformed or unknown.
    """
    return None if text is None else parse_options(text).model_dump(exclude_unset=True)
