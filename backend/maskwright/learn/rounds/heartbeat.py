"""The lease of a running round: renewed beside the work, which learns from it whether to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from maskwright.errors import Cancelled, MaskwrightError
from maskwright.store.rounds import LeaseLost, RoundStore

TOLD_EVERY_S = 2.0
"""Seconds between two writes of the progress: a person watches it, and each is a transaction."""

log = logging.getLogger(__name__)


class Heartbeat:
    """Renews a lease from a thread of its own while it is entered. Threads may share it.

    Args:
        rounds: Where the round is.
        round_id: The store's number of the round.
        owner: Who claimed it.
        lease_s: For how long each renewal holds.
        told: Called with every progress, in the thread that tells it.
        asked: Whether the person who started this process wants the round cancelled.
        stopping: Whether this process is to end, and the round to be left to another.
    """

    def __init__(
        self,
        rounds: RoundStore,
        round_id: int,
        owner: str,
        lease_s: float,
        *,
        told: Callable[[dict[str, Any]], None] = lambda progress: None,
        asked: Callable[[], bool] = lambda: False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rounds, self._round_id, self._owner, self._lease_s = rounds, round_id, owner, lease_s
        self._told, self._asked, self._stopping = told, asked, stopping
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = {}
        self._ended, self._wake = threading.Event(), threading.Event()
        self._cancelling = False
        self.lost = False
        self._held_until = time.monotonic() + lease_s
        self._thread = threading.Thread(target=self._run, name=f"round-{round_id}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()

    def tell(self, stage: str, **progress: Any) -> None:
        """Say how far the round is; see ``Round.progress``. Another stage is written at once."""
        with self._lock:
            is_new = stage != self._progress.get("stage")
            self._progress = {"stage": stage, **progress}
        if is_new:
            self._wake.set()
        self._told(self._progress)

    def steps(self, stage: str, of: int, before: int = 0) -> Callable[[int], None]:
        """What tells the steps of a stage that are done, and raises ``Cancelled`` if the work is to stop.

        Args:
            stage: Its name.
            of: Steps that there are.
            before: Steps that were done otherwise.
        """

        def step(done: int) -> None:
            self.tell(stage, done=before + done, of=of)
            self.check()

        step(0)
        return step

    def cancelled(self) -> bool:
        """Whether the work is to stop, for whatever reason."""
        return self.lost or self._cancelling or self._asked() or self._stopping()

    def check(self) -> None:
        """Raise ``Cancelled`` if the work is to stop."""
        if self.cancelled():
            raise Cancelled("the round was told to stop")

    @property
    def is_left(self) -> bool:
        """Whether the round is left to another process rather than cancelled."""
        return self._stopping() and not (self._cancelling or self._asked())

    def _run(self) -> None:
        while True:
            self._wake.wait(min(TOLD_EVERY_S, self._lease_s / 3))
            self._wake.clear()
            if self._ended.is_set():
                return
            with self._lock:
                progress = dict(self._progress)
            began = time.monotonic()
            try:
                self._cancelling |= self._rounds.renew(self._round_id, self._owner, self._lease_s, progress)
                self._held_until = began + self._lease_s
            except LeaseLost:
                self.lost = True
                return
            except MaskwrightError as error:
                log.warning("the lease of a round could not be renewed: %s", error)
                if time.monotonic() > self._held_until:
                    self.lost = True
                    return
