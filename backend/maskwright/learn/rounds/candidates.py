"""What rounds learnt and nobody serves: the newest are kept, for a person who wants one all the same."""

from __future__ import annotations

import logging

from sqlalchemy import select

from maskwright.errors import MaskwrightError
from maskwright.learn.rounds.workshop import Workshop
from maskwright.models.uri import parse_model_uri
from maskwright.store.schema_learning import rounds, served_versions

MOST_KEPT = 20
"""Candidates of a project that were neither promoted nor served whose files stay."""

log = logging.getLogger(__name__)


def forget_candidates(workshop: Workshop, project_id: int) -> int:
    """Delete the adapters and class heads of a project's older candidates; returns the number of files.

    Files that anything else names stay: a version that any project serves or served, a round of another project or one
    under way, a model that the settings or a project's set-up pin. Where that cannot be told all stay.

    Args:
        workshop: Where the files lie.
        project_id: The store's own number of the project.
    """
    try:
        pinned = _pinned(workshop)
        old, needed = _candidates(workshop, project_id)
    except MaskwrightError as error:
        log.warning("old candidates stay: %s", error)
        return 0
    count = 0
    for folder, name in old - needed - pinned:
        try:
            (workshop.settings.home / folder / f"{name}.safetensors").unlink()
            count += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("an old candidate cannot be deleted: %s", error)
    return count


_Names = set[tuple[str, str]]
"""(folder, id) of files."""


def _candidates(workshop: Workshop, project_id: int) -> tuple[_Names, _Names]:
    """What older candidates of a project consist of, and what must stay."""
    made = select(rounds.c.project_id, rounds.c.finished_at, rounds.c.adapter, rounds.c.classes)
    with workshop.store.database.read() as connection:
        found = connection.execute(made.order_by(rounds.c.id.desc())).all()
        served = connection.execute(select(served_versions.c.adapter, served_versions.c.classes)).all()
    needed = {name for row in served for name in _names(row.adapter, row.classes)}
    old: _Names = set()
    kept = 0
    for row in found:
        names = _names(row.adapter, row.classes)
        if row.project_id != project_id or row.finished_at is None or kept < MOST_KEPT:
            kept += row.project_id == project_id and not names <= needed
            needed |= names
        else:
            old |= names
    return old, needed


def _pinned(workshop: Workshop) -> _Names:
    asked = {workshop.settings.model, *(workshop.model(project) for project in workshop.store.projects())}
    models = [parse_model_uri(text) for text in asked if text]
    return {name for model in models for name in _names(model.adapter, model.classes)}


def _names(adapter: str | None, classes: str | None) -> _Names:
    return {(folder, name) for folder, name in (("adapters", adapter), ("classes", classes)) if name is not None}
