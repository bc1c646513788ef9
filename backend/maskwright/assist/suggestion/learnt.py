"""What a project's images were suggested to show, kept for whoever learns from it; and what was learnt of it."""

from __future__ import annotations

import hashlib
import logging

from maskwright.assist.preannotate import Preannotation
from maskwright.assist.suggestion.records import suggestions_to_json
from maskwright.assist.suggestion.thresholds import ClassThresholds, read_thresholds
from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import InvalidInput
from maskwright.store.database import Database
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.suggestions import Suggestions

THRESHOLDS = "suggestion-thresholds"
"""Note of a project: its ``ClassThresholds``."""

_log = logging.getLogger(__name__)


def support_version(
    detector: str | None,
    dense: str | None,
    classifier: str | None,
    options: StageOptions = StageOptions(),  # noqa: B008
) -> str:
    """8 hex digits of everything that the support of a class depends on, and thresholds hold for.

    Args:
        detector: Version of the detector, or None where there is none.
        dense: Of the dense features, likewise.
        classifier: Of what classifies regions, likewise; only asked where there are no dense features.
        options: The project's.
    """
    described = (options.descriptors, options.multi_scale)
    said = repr((detector, dense or classifier, options.domain, options.check_pixels, *described))
    return hashlib.blake2b(said.encode(), digest_size=4).hexdigest()


def keep_suggestions(
    database: Database, project_id: int, task_number: int, found: Preannotation, support: str = ""
) -> None:
    """Remember what was suggested of a task's image until the same task is predicted again.

    Args:
        database: Of the corrections store.
        project_id: From ``CorrectionsStore.project``.
        task_number: The platform's number of the task.
        found: Of the task's image; of a task of several images, all together.
        support: Of ``support_version``.

    Raises:
        MaskwrightError: If it cannot be kept: no such project, or the database does not answer.
    """
    suggested = suggestions_to_json(found.suggestions)
    Suggestions(database).put(
        project_id, task_number, found.model_version, suggested, found.problems, support_version=support
    )


def learnt_thresholds(notes: ProjectNotes, project_id: int, support: str) -> ClassThresholds:
    """What corrections taught of a project's classes; the defaults where nothing was learnt with these models.

    Args:
        notes: Of the corrections store.
        project_id: The store's own number of the project.
        support: Of ``support_version``.
    """
    try:
        return read_thresholds(notes.get(project_id, THRESHOLDS), support)
    except InvalidInput as error:  # written by something else: the next lesson replaces it
        _log.warning("project %d of the store: %s", project_id, error)
        return ClassThresholds(version=support)
