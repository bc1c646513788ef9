"""When a round is due: asked for, after so many new corrections, or after some time; at most one per project."""

from __future__ import annotations

from maskwright.learn.rounds.workshop import Workshop
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.records import ProjectRow
from maskwright.store.rounds import Round


def want_training(store: CorrectionsStore, project_id: int) -> None:
    """Remember that somebody asked for training; durable. The worker queues the round when it next looks."""
    raise NotImplementedError


def queue_round(workshop: Workshop, project: ProjectRow, *, trigger: str, force: bool = False) -> tuple[Round, bool]:
    """Queue a round now.

    Args:
        workshop: Tells base and settings.
        project: Of the store.
        trigger: Why, for the history.
        force: Also if there is nothing new since the last round.

    Returns:
        The round, and whether it is new: False for one that was active already.

    Raises:
        InvalidInput: If there is nothing new to learn from.
    """
    raise NotImplementedError


def queue_due_rounds(workshop: Workshop) -> list[Round]:
    """Queue what is due in every project; the rounds that are new."""
    raise NotImplementedError
