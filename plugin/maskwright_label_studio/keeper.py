"""The thread of a server that keeps the corrections store equal to Label Studio.

Events that wait in the store are looked into about a second after they came, many at once: the tasks that they name
are read through the API. And every known project is compared whole now and then, for what no event told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from maskwright.errors import Cancelled, InvalidInput, MaskwrightError, NotFound
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, PendingEvent
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.projects import Project, ProjectMemory
from maskwright_label_studio.sync import SyncReport, synchronise
from maskwright_label_studio.webhook import PLATFORM_NAME

DEBOUNCE_S = 1.0
_EVENTS_AT_ONCE = 1000
_WHOLE_BEYOND = 300
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0
_SHARE = 20
_WITHOUT_NUMBERS = frozenset({"PROJECT_UPDATED", "START_TRAINING"})

log = logging.getLogger(__name__)


@dataclass
class _Named:
    """What the waiting events of one project point at."""

    tasks: set[int] = field(default_factory=set)
    annotations: set[int] = field(default_factory=set)
    events: list[PendingEvent] = field(default_factory=list)
    whole: bool = False
    proven: bool = False

    def add(self, pending: PendingEvent) -> None:
        event = pending.event
        self.events.append(pending)
        self.tasks.update(event.tasks)
        self.annotations.update(event.annotations)
        self.proven |= event.authenticated
        named_nothing = not event.tasks and not event.annotations
        self.whole |= named_nothing and event.action not in _WITHOUT_NUMBERS
        self.whole |= len(self.tasks) + len(self.annotations) > _WHOLE_BEYOND


class CorrectionsKeeper:
    """Looks into events and compares projects, in one thread that runs from ``start`` to ``stop``.

    Args:
        settings: Of this process; ``sync_interval_s`` 0 leaves the comparisons out.
        store: Opens the store.
        access: Clients of servers.
        projects: What /setup told.
    """

    def __init__(
        self, settings: Settings, store: Callable[[], CorrectionsStore], access: Access, projects: ProjectMemory
    ) -> None:
        self._interval = settings.sync_interval_s
        self._operator_url = settings.label_studio_url.rstrip("/")
        self._store, self._access, self._projects = store, access, projects
        self._changed = threading.Condition()
        self._events_since = time.monotonic()  # events of an earlier process may wait
        self._events_wait = True
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pause = 0.0
        self._numbers: dict[str, float] = {"events_looked_into": 0, "comparisons": 0, "failures": 0}
        self._last_comparison: float | None = None
        self._next_comparison = time.monotonic()

    def start(self) -> None:
        """Begin; harmless when it runs."""
        with self._changed:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="corrections-keeper", daemon=True)
                self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread after the page in hand, however often this is called."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def wake(self) -> None:
        """Tell that events wait."""
        with self._changed:
            if not self._events_wait:
                self._events_wait, self._events_since = True, time.monotonic()
                self._changed.notify_all()

    def state(self) -> dict[str, Any]:
        """Numbers for ``/metrics``: how much was done, and how long ago; ``failing`` is 1 while it backs off."""
        with self._changed:
            last = self._last_comparison
            return {
                **self._numbers,
                "running": self._thread is not None and self._thread.is_alive(),
                "events_waiting": self._events_wait,
                "failing": self._pause > 0,
                "seconds_since_comparison": -1.0 if last is None else time.monotonic() - last,
            }

    def server_of(self, number: int) -> str:
        """Address of the Label Studio that has the project of this number: the operator's, else what /setup told."""
        if self._operator_url:
            return self._operator_url
        project = self._projects.of_number(number)
        return project.hostname.rstrip("/") if project is not None else ""

    def look_into_events(self) -> int:
        """Read what the waiting events point at, and forget them; how many there were.

        Raises:
            MaskwrightError: The last fault, after every project had its turn; what was not read goes on waiting.
        """
        store, done, after = self._store(), 0, 0
        fault: MaskwrightError | None = None
        while True:
            waiting = store.pending_events(_EVENTS_AT_ONCE, after=after, platform=PLATFORM_NAME)
            named: dict[tuple[str, int], _Named] = {}
            for pending in waiting:
                event = pending.event
                named.setdefault((event.server, event.project or 0), _Named()).add(pending)
            for (server, number), found in named.items():
                try:
                    ours = self._is_ours(store, server, number, proven=found.proven)
                    if ours and not self._read(server, number, found):
                        continue
                except Cancelled:
                    raise
                except MaskwrightError as error:
                    fault = error  # the other projects must not wait for this one
                    continue
                done += store.finish_events(found.events)
                self._count(events_looked_into=len(found.events))
            if len(waiting) < _EVENTS_AT_ONCE:
                if fault is not None:
                    raise fault
                return done
            after = waiting[-1].id

    def compare_all(self) -> None:
        """Compare every known project.

        Raises:
            MaskwrightError: The last fault, after every project had its turn.
        """
        store = self._store()
        known = {(row.server, row.number) for row in store.projects(platform=PLATFORM_NAME)}
        known |= {(self.server_of(number), number) for number in self._projects.numbers()}
        fault: MaskwrightError | None = None
        for server, number in sorted(known):
            try:
                self._synchronise(server, number)
            except NotFound:
                log.info("project %d is not there (any more)", number)
            except Cancelled:
                raise
            except MaskwrightError as error:
                fault = error
        if fault is not None:
            raise fault

    def _is_ours(self, store: CorrectionsStore, server: str, number: int, *, proven: bool) -> bool:
        """Whether to look: strangers must not make us copy projects that nobody connected."""
        known = proven or self._projects.of_number(number) is not None
        return known or store.find_project(PLATFORM_NAME, server, number) is not None

    def _read(self, server: str, number: int, named: _Named) -> bool:
        """Whether the events are dealt with."""
        try:
            if named.whole:
                return self._synchronise(server, number) is not None
            return self._synchronise(server, number, tasks=named.tasks, annotations=named.annotations) is not None
        except NotFound:
            return True

    def _synchronise(self, server: str, number: int, **only: Iterable[int]) -> SyncReport | None:
        client = self._client(server, number)
        if client is None:
            return None
        report = synchronise(
            client, self._store(), number, server=server, cancelled=lambda: self._stopping, **only  # type: ignore[arg-type]
        )  # fmt: skip
        self._count(comparisons=not only, failures=len(report.failures))
        if report.new or report.changed or report.deleted:
            log.info(
                "project %d: %d new, %d changed, %d deleted annotations",
                number, report.new, report.changed, report.deleted,
            )  # fmt: skip
        return report

    def _client(self, server: str, number: int) -> LabelStudioClient | None:
        if server != self.server_of(number):
            return None  # of a server that was configured before; the key must not go there
        try:
            return self._access.client(self._projects.of_number(number) or Project(str(number)))
        except InvalidInput as error:
            log.warning("Label Studio's address or key is malformed: %s", error)
            return None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (wait := self._due_in()) > 0:
                    self._changed.wait(wait)
                if self._stopping:
                    return
                events, self._events_wait = self._events_wait, False
            try:
                self._turn(events=events)
                self._pause = 0.0
            except Cancelled:
                return
            except Exception as error:
                self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                self._count(failures=1)
                again = time.monotonic() + self._pause
                with self._changed:
                    self._events_wait, self._events_since = True, again
                self._next_comparison = max(self._next_comparison, again)
                if isinstance(error, MaskwrightError):
                    log.warning("corrections wait: %s; next attempt in %.0f s", error, self._pause)
                else:
                    log.exception("corrections wait for %.0f s", self._pause)

    def _turn(self, *, events: bool) -> None:
        if events:
            self.look_into_events()
        if self._interval and time.monotonic() >= self._next_comparison:
            began = time.monotonic()
            try:
                self.compare_all()
            finally:
                ended = time.monotonic()
                # A large project on a slow server must not be compared all the time.
                self._next_comparison = ended + max(self._interval, _SHARE * (ended - began))
            with self._changed:
                self._last_comparison = ended

    def _due_in(self) -> float:
        waits = [3600.0]
        if self._events_wait:
            waits.append(self._events_since + DEBOUNCE_S - time.monotonic())
        if self._interval:
            waits.append(self._next_comparison - time.monotonic())
        return min(waits)

    def _count(self, **added: float) -> None:
        with self._changed:
            for name, number in added.items():
                self._numbers[name] += number
