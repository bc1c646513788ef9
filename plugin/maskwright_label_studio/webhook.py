"""Events of Label Studio, as hints that something changed.

Events arrive at least once, in any order, without a delivery id, and without credentials unless ``connect`` gave the
webhook some. So nothing in them is believed: what is kept is which annotation or task to look at through the API. The
annotator's submit waits for the answer, and the body holds masks and the project's token, so little is read, nothing
is logged whole, and nothing is done before answering.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.errors import InvalidInput

MAX_HINTS = 10_000
_MAX_NUMBERS = 10_000

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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hint:
    """Something to look at through the API.

    Attributes:
        action: What is said to have happened.
        project_id: Where.
        annotations: Numbers of annotations.
        tasks: Numbers of tasks.
        updated_at: Time of the change as the platform writes it, or empty.
        authenticated: Whether the event came with the server's credentials.
    """

    action: str
    project_id: int
    annotations: tuple[int, ...] = ()
    tasks: tuple[int, ...] = ()
    updated_at: str = ""
    authenticated: bool = False

    @classmethod
    def of(cls, document: Mapping[str, Any], *, authenticated: bool) -> Hint | None:
        """Read an event; None for one that we know nothing of.

        Raises:
            InvalidInput: If it is not an event.
        """
        action, project = document.get("action"), document.get("project")
        if not isinstance(action, str) or not isinstance(project, dict) or type(project.get("id")) is not int:
            raise InvalidInput("an event needs text under 'action' and a number under 'project.id'")
        if action not in ACTIONS:
            return None
        annotation = document.get("annotation")
        changed = annotation if isinstance(annotation, dict) else project if action == "PROJECT_UPDATED" else {}
        updated_at = changed.get("updated_at")
        return cls(
            action=action,
            project_id=project["id"],
            annotations=_numbers(document, "annotation", "annotations"),
            tasks=_numbers(document, "task", "tasks"),
            updated_at=updated_at[:64] if isinstance(updated_at, str) else "",
            authenticated=authenticated,
        )


class HintInbox:
    """Hints that wait to be looked at, each once, the oldest out when there are too many. Threads may share it.

    Args:
        limit: Most hints kept.
    """

    def __init__(self, limit: int = MAX_HINTS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._hints: OrderedDict[tuple[Any, ...], Hint] = OrderedDict()
        self._dropped = 0

    def add(self, hint: Hint) -> bool:
        """Keep a hint; False if it waits already. An authenticated repetition replaces an unauthenticated one."""
        key = (hint.action, hint.project_id, hint.annotations, hint.tasks, hint.updated_at)
        with self._lock:
            known = self._hints.get(key)
            if known is not None:
                if hint.authenticated and not known.authenticated:
                    self._hints[key] = hint
                return False
            self._hints[key] = hint
            if len(self._hints) > self._limit:
                self._hints.popitem(last=False)
                self._dropped += 1
                if self._dropped & (self._dropped - 1) == 0:
                    log.warning("%d events were dropped unread; reconcile with the API", self._dropped)
            return True

    def drain(self) -> list[Hint]:
        """Take every hint out, the oldest first."""
        with self._lock:
            hints = list(self._hints.values())
            self._hints.clear()
            return hints

    def __len__(self) -> int:
        with self._lock:
            return len(self._hints)


def _numbers(document: Mapping[str, Any], single: str, plural: str) -> tuple[int, ...]:
    one, many = document.get(single), document.get(plural)
    items = [one] if isinstance(one, dict) else many[:_MAX_NUMBERS] if isinstance(many, list) else []
    return tuple(item["id"] for item in items if isinstance(item, dict) and type(item.get("id")) is int)
