"""Run rounds: claim, work, and end them, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable

from maskwright.learn.rounds.workshop import Workshop
from maskwright.store.rounds import Round


def run_pending(
    workshop: Workshop,
    owner: str,
    *,
    project_id: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Round]:
    """Claim and run rounds until none waits or ``stopping``; as they ended. See :func:`run_round`."""
    raise NotImplementedError


def run_round(
    claimed: Round,
    workshop: Workshop,
    owner: str,
    *,
    progress: Callable[[dict[str, object]], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Round:
    """Run a round that ``owner`` has claimed, to its end.

    Args:
        claimed: From ``RoundStore.claim``.
        workshop: Where it is run.
        owner: Who claimed it.
        progress: Told of every step, as it is kept in ``Round.progress``.
        stopping: Whether this process is to end: the round is then left to whoever claims it next, who goes on from
            the last checkpoint.

    Returns:
        The round as it ended: promoted, refused, not enough data, failed or cancelled; still active if stopped.

    Raises:
        LeaseLost: If another process has taken it over; nothing was written since.
    """
    raise NotImplementedError
