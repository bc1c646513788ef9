"""How work behind the requests makes way: it stops when told, and rests while people click."""

from __future__ import annotations

import time
from collections.abc import Callable

from maskwright.errors import Cancelled

QUIET_S = 1.0
"""So long after the last click nobody is taken to wait for the next."""
LONGEST_REST_S = 20.0
"""However busy people are, one step is made in so many seconds: their queue must not grow stale."""
_STEP_S = 0.05


class Pace:
    """Asked between the steps of a long piece of work.

    Args:
        stopping: Whether the work is to end.
        last_click: ``time.monotonic`` of the last click that anybody made.
    """

    def __init__(
        self, stopping: Callable[[], bool] = lambda: False, last_click: Callable[[], float] = lambda: float("-inf")
    ) -> None:
        self.cancelled = stopping
        self._last_click = last_click

    def check(self) -> None:
        """Rest while people click.

        Raises:
            Cancelled: If the work is to end.
        """
        until = time.monotonic() + LONGEST_REST_S
        while time.monotonic() < min(until, self._last_click() + QUIET_S):
            self.wait(_STEP_S)
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Cancelled: If the work is to end.
        """
        until = time.monotonic() + seconds
        while not self.cancelled() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_S))
        if self.cancelled():
            raise Cancelled("the queue is left as it is")
