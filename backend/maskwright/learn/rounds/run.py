"""Run rounds: claim, work, and end them, whatever happens on the way.

A round can die at any point. What it came to is kept as it goes: the snapshot and the candidate in its row, training in
a checkpoint, measurements image by image, the held-out part as a note of the project. Who claims it next goes on there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from maskwright.errors import Busy, Cancelled, MaskwrightError, NotFound
from maskwright.learn.rounds.candidates import forget_candidates
from maskwright.learn.rounds.ends import End, forget_work
from maskwright.learn.rounds.heartbeat import Heartbeat
from maskwright.learn.rounds.suggestions import learn_from_suggestions
from maskwright.learn.rounds.work import RoundWork
from maskwright.learn.rounds.workshop import Workshop
from maskwright.store.faults import StoreUnavailable
from maskwright.store.rounds import LeaseLost, Round, RoundState

LEASE_S = 60.0
"""After so many seconds without a word from its process a round is taken over."""

log = logging.getLogger(__name__)


def run_pending(
    workshop: Workshop,
    owner: str,
    *,
    project_id: int | None = None,
    lease_s: float = LEASE_S,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Round]:
    """Claim and run rounds until none waits or ``stopping``; as they ended.

    Args:
        workshop: Where they are run.
        owner: A name that no other process has.
        project_id: Only of this project.
        lease_s: For how long a round stays this process's without a word from it.
        stopping: See :func:`run_round`.
    """
    _tidy(workshop)
    ended = []
    while not stopping() and (claimed := workshop.rounds.claim(owner, lease_s, project_id=project_id)) is not None:
        try:
            ended.append(run_round(claimed, workshop, owner, lease_s=lease_s, stopping=stopping))
        except LeaseLost as error:
            log.warning("round %d of project %d: %s", claimed.number, _number(workshop, claimed), error)
    return ended


def run_round(
    claimed: Round,
    workshop: Workshop,
    owner: str,
    *,
    lease_s: float = LEASE_S,
    progress: Callable[[dict[str, Any]], None] = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    stopping: Callable[[], bool] = lambda: False,
) -> Round:
    """Run a round that ``owner`` has claimed, to its end.

    Args:
        claimed: From ``RoundStore.claim``.
        workshop: Where it is run.
        owner: Who claimed it.
        lease_s: For how long it stays the owner's without a word from it.
        progress: Told of every step, as it is kept in ``Round.progress``.
        cancelled: Whether whoever started it here wants it cancelled; asked often.
        stopping: Whether this process is to end: the round is then given back, and whoever claims it next goes on from
            the last checkpoint.

    Returns:
        The round as it ended: promoted, refused, not enough data, failed or cancelled; queued if given back.

    Raises:
        LeaseLost: If another process has taken it over; nothing was written since.
        MaskwrightError: If the database does not answer; the round is taken over when the lease has run out.
    """
    rounds = workshop.rounds
    beat = Heartbeat(rounds, claimed.id, owner, lease_s, told=progress, asked=cancelled, stopping=stopping)
    report: dict[str, Any] = dict(claimed.metrics)
    name, began = f"round {claimed.number} of project {_number(workshop, claimed)}", time.monotonic()
    log.info("%s begins (%s, attempt %d)", name, claimed.trigger, claimed.attempts)
    try:
        with beat:
            end = RoundWork(claimed, workshop, owner, beat, report).run()
    except Cancelled:
        if beat.lost:
            raise LeaseLost("the round was taken over by another process, or ended, while it ran here") from None
        if beat.is_left:
            log.info("%s is left to the next worker after %.0f s", name, time.monotonic() - began)
            rounds.advance(claimed.id, owner, RoundState.TRAINING, metrics=report)
            return rounds.release(claimed.id, owner)
        end = End(RoundState.CANCELLED, "cancelled")
    except (LeaseLost, Busy, StoreUnavailable):
        raise  # locked or gone for a while: that must cost an attempt, not the round
    except MaskwrightError as error:
        end = End(RoundState.FAILED, str(error))
    except Exception as error:
        log.exception("%s failed", name)
        end = End(RoundState.FAILED, f"it failed ({type(error).__name__}); the log of who ran it tells more")
    if end.state is RoundState.PROMOTED and end.verdict is not None:
        ended, _ = rounds.promote(claimed.id, owner, reason=end.reason, verdict=end.verdict, metrics=report)
    else:
        ended = rounds.finish(
            claimed.id, owner, end.state, reason=end.reason, verdict=end.verdict, metrics=report or None
        )
    log.info("%s: %s after %.0f s. %s", name, ended.state, time.monotonic() - began, ended.reason)
    forget_work(workshop.folder(ended.project_id, ended.number))
    forget_candidates(workshop, ended.project_id)
    learn_from_suggestions(workshop, ended.project_id)
    return ended


def _number(workshop: Workshop, one: Round) -> int:
    """What the platform calls the project."""
    return workshop.store.project_row(one.project_id).number


def _tidy(workshop: Workshop) -> None:
    """Delete the images of rounds that were given up after their process had died."""
    for folder in workshop.settings.home.glob("rounds/*/*/images"):
        try:
            one = workshop.rounds.get(int(folder.parts[-3]), int(folder.parts[-2]))
        except (ValueError, NotFound):
            continue
        if not one.state.is_active:
            forget_work(folder.parent)
