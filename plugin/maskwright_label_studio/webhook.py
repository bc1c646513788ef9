"""Events of Label Studio: hints that something changed and, where the sender proved who it is, the correction itself.

Events arrive at least once, in any order, without a delivery id, and without credentials unless ``connect`` gave the
webhook some. What an unproven one says is never believed: only which annotation or task to look at through the API is
kept. The annotator's submit waits for the answer (a second at most), nobody looks at it, and nothing is sent again: so
an event is on the disk before it is answered, and all else happens later. The body holds the project's token; only the
annotation, the prediction in it and the task's data are ever stored, and nothing of it is logged.

Anybody may send one, so what an unproven one costs is bounded: its size, its parts, and the numbers taken out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.errors import InvalidInput, TooLarge
from maskwright.store.records import Event, TaskState
from maskwright.store.times import to_microseconds, to_text
from maskwright_label_studio.body import read_body
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

MAX_UNPROVEN_BYTES = 8 * 1024**2
MAX_UNPROVEN_PARTS = 500_000
"""Lists and objects in it: each of them costs memory, however few bytes it has."""
MAX_NUMBERS = 300
"""An unproven event that names more annotations and tasks is kept without them; its project is then compared."""
_NUMBERS_END = 2**31
_LONGEST_TIME = 64


@dataclass(frozen=True)
class Incoming:
    """One delivery.

    Attributes:
        event: What it points at.
        state: The annotation in it, complete, if the sender proved who it is; else None.
    """

    event: Event
    state: TaskState | None = None


def read_event(data: bytes, *, authenticated: bool, server_of: Callable[[int, str], str]) -> Incoming | None:
    """Read the body of an event; None for one that we know nothing of.

    Args:
        data: The JSON text.
        authenticated: Whether it came with the server's credentials.
        server_of: Number and key (as /setup tells it, or empty) of a project -> address of its Label Studio.

    Raises:
        InvalidInput: If it is not an event.
        TooLarge: If it is larger than events of unproven senders may be.
    """
    documents = Documents(data, "the request body") if authenticated else None
    top = documents.top if documents is not None else _unproven(data)
    action, project = top.get("action"), top.get("project")
    number = project.get("id") if isinstance(project, dict) else None
    if not isinstance(action, str) or not isinstance(project, dict) or type(number) is not int:
        raise InvalidInput("an event needs text under 'action' and a number under 'project.id'")
    if not 0 <= number < _NUMBERS_END:
        raise InvalidInput(f"'project.id' is {number}, which is no number of a project")
    if action not in ACTIONS:
        return None
    annotation = top.get("annotation")
    changed = annotation if isinstance(annotation, dict) else project if action == "PROJECT_UPDATED" else {}
    annotations = _numbers(top, "annotation", "annotations", proven=authenticated)
    tasks = _numbers(top, "task", "tasks", proven=authenticated)
    if not authenticated and len(annotations) + len(tasks) > MAX_NUMBERS:
        annotations = tasks = ()
    event = Event(
        platform=PLATFORM_NAME,
        server=server_of(number, _key(number, project.get("created_at"))),
        action=action,
        project=number,
        annotations=annotations,
        tasks=tasks,
        updated_at=_time(changed.get("updated_at")),
        authenticated=authenticated,
    )
    return Incoming(event, event_state(documents) if documents is not None else None)


def check_unproven_size(nbytes: int) -> None:
    """Refuse a body that is larger than those of unproven senders may be.

    Raises:
        TooLarge: Saying what to do.
    """
    if nbytes > MAX_UNPROVEN_BYTES:
        raise TooLarge(
            f"an event without credentials may have {MAX_UNPROVEN_BYTES // 1024**2} MB at most; 'maskwright connect' "
            "gives Label Studio's webhook the server's credentials. The next comparison brings what it says"
        )


def _unproven(data: bytes) -> dict[str, Any]:
    check_unproven_size(len(data))
    if data.count(b"[") + data.count(b"{") > MAX_UNPROVEN_PARTS:
        raise TooLarge(
            f"an event without credentials may hold {MAX_UNPROVEN_PARTS} lists and objects at most; the next "
            "comparison brings what it says"
        )
    return read_body(data).document


def _numbers(document: Mapping[str, Any], single: str, plural: str, *, proven: bool) -> tuple[int, ...]:
    one, many = document.get(single), document.get(plural)
    items = [one] if isinstance(one, dict) else many if isinstance(many, list) else []
    found = (item["id"] for item in items if isinstance(item, dict) and type(item.get("id")) is int)
    return tuple(number for number in found if proven or 0 <= number < _NUMBERS_END)


def _time(value: Any) -> str:
    """A time, or empty text for what is none: it only tells one event from another."""
    return to_text(_moment(value))


def _key(number: int, created_at: Any) -> str:
    moment = _moment(created_at)
    return f"{number}.{moment // 1_000_000}" if moment else ""


def _moment(value: Any) -> int:
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return 0
    try:
        moment = to_microseconds(value)
        to_text(moment)  # some that can be counted are beyond the years that can be written
    except (InvalidInput, OverflowError):
        return 0
    return moment
