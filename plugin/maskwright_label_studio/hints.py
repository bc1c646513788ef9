"""What the waiting events of one project point at, taken together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from maskwright.store.records import PendingEvent

WHOLE_BEYOND = 300
"""More annotations and tasks than this are not read one by one: the project is compared."""
_WITHOUT_NUMBERS = frozenset({"PROJECT_UPDATED", "START_TRAINING"})


@dataclass
class NamedByEvents:
    """What events of one project, of proven or of unproven senders, point at.

    Attributes:
        server: Where the project is.
        number: The project's number.
        proven: Whether the senders proved who they are.
        tasks: Numbers that they name.
        annotations: Numbers that they name.
        events: The events.
        whole: Whether they name too much, or nothing, so that only a comparison of the project tells.
    """

    server: str
    number: int
    proven: bool
    tasks: set[int] = field(default_factory=set)
    annotations: set[int] = field(default_factory=set)
    events: list[PendingEvent] = field(default_factory=list)
    whole: bool = False

    def add(self, pending: PendingEvent) -> None:
        """Take an event into account."""
        event = pending.event
        self.events.append(pending)
        self.tasks.update(event.tasks)
        self.annotations.update(event.annotations)
        named_nothing = not event.tasks and not event.annotations
        self.whole |= named_nothing and event.action not in _WITHOUT_NUMBERS
        self.whole |= len(self.tasks) + len(self.annotations) > WHOLE_BEYOND


def by_project(waiting: Iterable[PendingEvent]) -> list[NamedByEvents]:
    """Events by project; of each project those of proven senders first, apart from what strangers name."""
    named: dict[tuple[str, int, bool], NamedByEvents] = {}
    for pending in waiting:
        event = pending.event
        key = (event.server, event.project or 0, event.authenticated)
        named.setdefault(key, NamedByEvents(*key)).add(pending)
    return sorted(named.values(), key=lambda one: (one.server, one.number, not one.proven))
