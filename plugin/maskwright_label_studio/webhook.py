"""Events of Label Studio: hints that something changed and, where the sender proved who it is, the correction itself.

Events arrive at least once, in any order, without a delivery id, and without credentials unless ``connect`` gave the
webhook some. What an unproven one says is never believed: only which annotation or task to look at through the API is
kept. The annotator's submit waits for the answer (a second at most), nobody looks at it, and nothing is sent again: so
an event is on the disk before it is answered, and all else happens later. The body holds the project's token; only the
annotation, the prediction in it and the task's data are ever stored, and nothing of it is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.store.records import Event, TaskState
from maskwright_label_studio.stored_tasks import Documents, event_state

PLATFORM_NAME = "label-studio"
"""What the store calls this platform."""

ACTIONS = frozenset(
    {
        "START_TRAINING",
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        # Plural on purpose: this is what is sent, whatever older code listens for.
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "TASKS_DELETED",
        "PROJECT_UPDATED",
    }
)

SUBSCRIBED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "PROJECT_UPDATED")
"""What ``connect`` narrows the webhook to. START_TRAINING is not a webhook event: it always comes."""


@dataclass(frozen=True)
class Incoming:
    """One delivery.

    Attributes:
        event: What it points at.
        state: The annotation in it, complete, if the sender proved who it is; else None.
    """

    event: Event
    state: TaskState | None = None


def read_event(data: bytes, *, authenticated: bool, server_of: Callable[[int], str]) -> Incoming | None:
    """Read the body of an event; None for one that we know nothing of.

    Args:
        data: The JSON text.
        authenticated: Whether it came with the server's credentials.
        server_of: Number of a project -> address of its Label Studio.

    Raises:
        InvalidInput: If it is not an event.
    """
    documents = Documents(data, "the request body")
    action, project = documents.top.get("action"), documents.top.get("project")
    if not isinstance(action, str) or not isinstance(project, dict) or type(project.get("id")) is not int:
        raise InvalidInput("an event needs text under 'action' and a number under 'project.id'")
    if action not in ACTIONS:
        return None
    annotation = documents.top.get("annotation")
    changed = annotation if isinstance(annotation, dict) else project if action == "PROJECT_UPDATED" else {}
    updated_at = changed.get("updated_at")
    event = Event(
        platform=PLATFORM_NAME,
        server=server_of(project["id"]),
        action=action,
        project=project["id"],
        annotations=_numbers(documents.top, "annotation", "annotations"),
        tasks=_numbers(documents.top, "task", "tasks"),
        updated_at=updated_at if isinstance(updated_at, str) and len(updated_at) <= 64 else "",
        authenticated=authenticated,
    )
    return Incoming(event, event_state(documents) if authenticated else None)


def _numbers(document: Mapping[str, Any], single: str, plural: str) -> tuple[int, ...]:
    one, many = document.get(single), document.get(plural)
    items = [one] if isinstance(one, dict) else many if isinstance(many, list) else []
    return tuple(item["id"] for item in items if isinstance(item, dict) and type(item.get("id")) is int)
