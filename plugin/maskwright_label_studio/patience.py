"""Pauses between attempts at something that fails, longer each time, for each thing apart."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0


@dataclass
class _Rest:
    pause: float
    until: float
    told: bool = False


class Patience:
    """Which things rest, and until when. For one thread; others may ask ``any_rests``."""

    def __init__(self) -> None:
        self._rests: dict[Hashable, _Rest] = {}

    def failed(self, what: Hashable) -> float:
        """Let a thing rest; for how many seconds."""
        known = self._rests.get(what)
        pause = FIRST_PAUSE_S if known is None else min(2 * known.pause, LONGEST_PAUSE_S)
        self._rests[what] = _Rest(pause, time.monotonic() + pause)
        return pause

    def succeeded(self, what: Hashable) -> None:
        """Forget its failures."""
        self._rests.pop(what, None)

    def rests(self, what: Hashable) -> bool:
        """Whether its pause is not over yet."""
        known = self._rests.get(what)
        return known is not None and time.monotonic() < known.until

    def any_rests(self) -> bool:
        """Whether anything rests."""
        return any(time.monotonic() < rest.until for rest in list(self._rests.values()))

    def due_in(self) -> float | None:
        """Seconds until the next pause is over, 0 if one is; None when there is none that was not taken."""
        ends = [rest.until for rest in self._rests.values() if not rest.told]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def take_due(self) -> bool:
        """Whether pauses ended since this was asked last."""
        due = [rest for rest in self._rests.values() if not rest.told and time.monotonic() >= rest.until]
        for rest in due:
            rest.told = True
        return bool(due)
