"""The thread of a server that keeps the corrections store equal to Label Studio.

Events that wait in the store are looked into about a second after they came, many at once: the tasks that they name
are read through the API. And every known project is compared whole now and then, for what no event told. A project
that cannot be read waits longer and longer, alone: the others go on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from maskwright.errors import Busy, Cancelled, MaskwrightError
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.database import StoreDamaged, StoreUnavailable
from maskwright_label_studio.access import Access
from maskwright_label_studio.behind import BehindRequests
from maskwright_label_studio.hints import NamedByEvents, by_project
from maskwright_label_studio.missing import MISSING_FILE, MissingProjects
from maskwright_label_studio.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, Patience
from maskwright_label_studio.projects import ProjectMemory
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.sync import ProjectMissing, SyncReport, synchronise
from maskwright_label_studio.webhook import PLATFORM_NAME

DEBOUNCE_S = 1.0
MISSING_APART_S = 300.0
"""A project counts as deleted once it was found missing twice with so much time between."""
OWED_EVERY_S = 300.0
"""Seconds between comparisons that are made only because hints were lost, or because strangers' hints ask for one."""
_EVENTS_AT_ONCE = 1000
_EVENTS_KEPT = 2000
_SHARE = 20
_OF_THE_STORE = (Busy, StoreDamaged, StoreUnavailable)

log = logging.getLogger(__name__)


class CorrectionsKeeper(BehindRequests):
    """Looks into events and compares projects, in one thread that runs from ``start`` to ``stop``.

    Args:
        settings: Of this process; ``sync_interval_s`` 0 leaves out all comparisons but those that are owed because
            hints were lost.
        store: Opens the store.
        access: Clients of servers.
        projects: What /setup told.
        corrected: Told server and number of a project in which something was found new, changed or deleted.
    """

    def __init__(
        self, settings: Settings, store: Callable[[], CorrectionsStore], access: Access, projects: ProjectMemory,
        corrected: Callable[[str, int], None] = lambda server, number: None,
    ) -> None:  # fmt: skip
        super().__init__("corrections-keeper")
        self._interval = settings.sync_interval_s
        self._store, self._corrected, self._servers = store, corrected, Servers(settings, access, projects)
        self._missing = MissingProjects(settings.home / MISSING_FILE)
        self._patience = Patience()
        # At once: events of an earlier process may wait, and the store had better be open when the first one comes.
        self._events_since = time.monotonic() - DEBOUNCE_S
        self._events_wait = True
        self._pause = 0.0
        self._numbers: dict[str, float] = {"events_looked_into": 0, "comparisons": 0, "failures": 0}
        self._last_comparison: float | None = None
        self._next_comparison = time.monotonic() + (0.0 if self._interval else OWED_EVERY_S)
        self._unproven_at = time.monotonic()

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
                "running": self.is_running,
                "events_waiting": self._events_wait,
                "failing": self._pause > 0 or self._patience.any_rests(),
                "seconds_since_comparison": -1.0 if last is None else time.monotonic() - last,
            }

    def server_of(self, number: int, key: str = "") -> str:
        """Address of the Label Studio that has a project, or a name in its place; see ``Servers.of_project``."""
        return self._servers.of_project(number, key)

    def look_into_events(self) -> int:
        """Read what the waiting events point at, and forget them; how many there were.

        Raises:
            MaskwrightError: The first fault, after every project had its turn; what was not read goes on waiting.
        """
        done, fault = self._look(patiently=False)
        if fault is not None:
            raise fault
        return done

    def compare_all(self) -> None:
        """Compare every known project.

        Raises:
            MaskwrightError: The first fault, after every project had its turn.
        """
        if (fault := self._compare(self._known(), patiently=False)) is not None:
            raise fault

    def _look(self, *, patiently: bool) -> tuple[int, Exception | None]:
        store, done, after = self._store(), 0, 0
        fault: Exception | None = None
        left: Counter[tuple[str, int]] = Counter()
        while True:
            waiting = store.pending_events(_EVENTS_AT_ONCE, after=after, platform=PLATFORM_NAME)
            for named in by_project(waiting):
                where = (named.server, named.number)
                resting = patiently and self._patience.rests(where)
                error = None if resting else self._guarded(where, lambda named=named: self._read(store, named))  # type: ignore[misc]
                fault = fault or error
                if resting or error is not None:
                    left[where] += len(named.events)
                    if left[where] <= _EVENTS_KEPT:
                        continue
                    self._ask_for_comparison(store, *where)  # instead of keeping ever more
                done += store.finish_events(named.events)
                self._count(events_looked_into=len(named.events))
            if len(waiting) < _EVENTS_AT_ONCE:
                return done, fault
            after = waiting[-1].id

    def _compare(self, projects: Iterable[tuple[str, int]], *, patiently: bool) -> Exception | None:
        fault = None
        for where in projects:
            if not (patiently and self._patience.rests(where)):
                fault = self._guarded(where, lambda where=where: self._synchronise(*where)) or fault  # type: ignore[misc]
        return fault

    def _known(self) -> list[tuple[str, int]]:
        rows = self._store().projects(platform=PLATFORM_NAME)
        return sorted({(row.server, row.number) for row in rows} | self._servers.connected())

    def _owed(self) -> list[tuple[str, int]]:
        rows = self._store().projects(platform=PLATFORM_NAME)
        return [(row.server, row.number) for row in rows if row.needs_full_sync]

    def _guarded(self, where: tuple[str, int], work: Callable[[], object]) -> Exception | None:
        """The fault of one project, which then rests; faults of the store, which all share, are raised."""
        try:
            work()
        except ProjectMissing as error:
            log.info("%s", error)
        except (Cancelled, *_OF_THE_STORE):
            raise
        except Exception as error:
            pause = self._patience.failed(where)
            self._count(failures=1)
            if isinstance(error, MaskwrightError):
                log.warning("project %d waits: %s; next attempt in %.0f s", where[1], error, pause)
            else:
                log.exception("project %d waits for %.0f s", where[1], pause)
            return error
        self._patience.succeeded(where)
        return None

    def _read(self, store: CorrectionsStore, named: NamedByEvents) -> None:
        server, number = named.server, named.number
        known = store.find_project(PLATFORM_NAME, server, number)
        # Strangers must not make us copy projects that nobody connected.
        if not named.proven and known is None and not self._servers.is_connected(server, number):
            return
        if not named.whole:
            only = {"tasks": named.tasks, "annotations": named.annotations}
            if self._synchronise(server, number, **only) is None:
                self._ask_for_comparison(store, server, number)
            return
        if named.proven or time.monotonic() >= self._unproven_at:
            began = time.monotonic()
            try:
                if self._synchronise(server, number) is not None:
                    return
            finally:
                if not named.proven:
                    self._unproven_at = self._after(began, OWED_EVERY_S)
        self._ask_for_comparison(store, server, number)

    def _ask_for_comparison(self, store: CorrectionsStore, server: str, number: int) -> None:
        row = store.find_project(PLATFORM_NAME, server, number)
        if row is not None and not row.needs_full_sync:
            store.request_full_sync(row.id)

    def _synchronise(self, server: str, number: int, **only: Iterable[int]) -> SyncReport | None:
        """None if nobody can look: no key is known."""
        client = self._servers.client(server, number)
        if client is None:
            return None
        store = self._store()
        missing_for = self._missing.missing_for(server, number)
        try:
            report = synchronise(
                client, store, number, server=server, cancelled=lambda: self._stopping,
                bury_missing=missing_for is not None and missing_for >= MISSING_APART_S, **only,  # type: ignore[arg-type]
            )  # fmt: skip
        except ProjectMissing:
            self._missing.note(server, number)
            self._ask_for_comparison(store, server, number)
            raise
        if missing_for is not None:
            self._missing.forget(server, number)
        if only and report.failures:
            self._ask_for_comparison(store, server, number)  # the events that named these tasks are forgotten
        self._count(comparisons=not only, failures=len(report.failures))
        if any(counts := (report.new, report.changed, report.deleted)):
            log.info("project %d: %d new, %d changed, %d deleted annotations", number, *counts)
            self._corrected(server, number)
        return report

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (wait := self._due_in()) > 0:
                    self._changed.wait(wait)
                if self._stopping:
                    return
                events, self._events_wait = self._events_wait, False
            try:
                self._turn(events=self._patience.take_due() or events)
                self._pause = 0.0
            except Cancelled:
                return
            except Exception as error:
                self._pause = min(max(2 * self._pause, FIRST_PAUSE_S), LONGEST_PAUSE_S)
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
            self._servers.adopt(self._store())
            self._look(patiently=True)
        began = time.monotonic()
        if began < self._next_comparison:
            return
        try:
            self._compare(self._known() if self._interval else self._owed(), patiently=True)
        finally:
            # A large project on a slow server must not be compared all the time.
            self._next_comparison = self._after(began, self._interval or OWED_EVERY_S)
        with self._changed:
            self._last_comparison = time.monotonic()

    def _after(self, began: float, at_least: float) -> float:
        ended = time.monotonic()
        return ended + max(at_least, _SHARE * (ended - began))

    def _due_in(self) -> float:
        now = time.monotonic()
        waits = [3600.0, self._next_comparison - now]
        if self._events_wait:
            waits.append(self._events_since + DEBOUNCE_S - now)
        if (rested := self._patience.due_in()) is not None and not self._pause:
            waits.append(rested)
        return min(waits)

    def _count(self, **added: float) -> None:
        with self._changed:
            for name, number in added.items():
                self._numbers[name] += number
