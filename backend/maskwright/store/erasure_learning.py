"""What the learning loop keeps of single tasks and images, and how it is erased with them.

Adapters and class heads that learnt from what is erased stay: nothing in them is a picture or a mask of a person.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select, update

from maskwright.store.project_notes import LABELLED_FEATURES
from maskwright.store.schema_learning import priorities, project_notes, rounds, suggestions
from maskwright.store.states import chunks

_NAMED_TASK = re.compile(r"\btask (\d+)\b")
"""As rounds name tasks in problems and reasons."""


def erase_from_rounds(connection: Connection, project_id: int, task_numbers: Collection[int]) -> list[str]:
    """Take tasks out of the galleries of a project's rounds, and out of what these say of them: addresses, mostly.

    Returns:
        The pictures that show them, relative to the home folder: ``rounds/<project>/<round>/<file>``.
    """
    names = {str(number) for number in task_numbers}
    found: list[str] = []
    query = select(rounds.c.id, rounds.c.number, rounds.c.metrics, rounds.c.reason)
    for row in connection.execute(query.where(rounds.c.project_id == project_id)).all():
        metrics = orjson.loads(row.metrics)
        gallery, problems = metrics.get("gallery") or [], metrics.get("problems") or []
        kept = [one for one in gallery if str(one.get("task")) not in names]
        lost = (str(one.get("file")) for one in gallery if one not in kept)
        found += [f"rounds/{project_id}/{row.number}/{PurePosixPath(file).name}" for file in lost]
        silent = [text for text in problems if not _tells(text, names)]
        values: dict[str, Any] = {}
        if len(kept) < len(gallery) or len(silent) < len(problems):
            values["metrics"] = orjson.dumps({**metrics, "gallery": kept, "problems": silent}).decode()
        if _tells(row.reason, names):
            values["reason"] = "it named a task that was erased since"
        if values:
            connection.execute(update(rounds).where(rounds.c.id == row.id).values(**values))
    return found


def erase_priorities(connection: Connection, project_id: int, task_numbers: Collection[int]) -> None:
    """Drop what is known of how much tasks would teach: embeddings of their images are among it."""
    for part in chunks(sorted(task_numbers)):
        here = priorities.c.project_id == project_id, priorities.c.task_number.in_(part)
        connection.execute(delete(priorities).where(*here))
    erase_from_notes(connection, project_id, {str(number) for number in task_numbers}, LABELLED_FEATURES)


def erase_suggestions(connection: Connection, project_id: int, task_number: int) -> None:
    """Drop the classes that were suggested of a task's image: captions' words are among what speaks for them."""
    here = suggestions.c.project_id == project_id, suggestions.c.task_number == task_number
    connection.execute(delete(suggestions).where(*here))


def erase_from_notes(
    connection: Connection, project_id: int | None, words: Collection[str], name: str | None = None
) -> None:
    """Take addresses, checksums or numbers out of the notes of one project, or of all; of one name, or of all."""
    query = select(project_notes)
    if name is not None:
        query = query.where(project_notes.c.name == name)
    if project_id is not None:
        query = query.where(project_notes.c.project_id == project_id)
    for row in connection.execute(query).all():
        before = orjson.loads(row.value)
        after = _without(before, words)
        if after != before:
            its = project_notes.c.project_id == row.project_id, project_notes.c.name == row.name
            connection.execute(update(project_notes).where(*its).values(value=orjson.dumps(after).decode()))


def _tells(text: str, names: Collection[str]) -> bool:
    return any(name in names for name in _NAMED_TASK.findall(text))


def _without(value: Any, words: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(one, words) for key, one in value.items() if key not in words}
    if isinstance(value, list):
        return [_without(one, words) for one in value if not (isinstance(one, str) and one in words)]
    return value
