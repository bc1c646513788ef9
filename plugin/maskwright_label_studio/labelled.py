"""Vectors that say what the labelled images of a project show: new ones are to be unlike them.

Kept as a note of the project, so that no image is fetched twice for it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from maskwright.learn.acquisition.candidates import no_features
from maskwright.store.project_notes import LABELLED_FEATURES, ProjectNotes

MOST = 1000
"""Labelled tasks that are kept, the newest by number: beyond it, one more changes no order."""

LOOKS = 40
"""Labelled tasks that one pass looks at: those of a project with thousands must not keep the waiting ones waiting."""

Feature = NDArray[np.floating]


class LabelledFeatures:
    """The vectors of a project's labelled tasks under one encoder.

    Args:
        notes: Where they are kept.
        project_id: The store's own number of the project.
        embedding_version: Of the segmenter in service; vectors of another one are forgotten.
    """

    def __init__(self, notes: ProjectNotes, project_id: int, embedding_version: str) -> None:
        self._notes, self._project, self._version = notes, project_id, embedding_version
        kept = notes.get(project_id, LABELLED_FEATURES)
        self._coded: dict[str, str] = {}
        if isinstance(kept, dict) and kept.get("embedding_version") == embedding_version:
            self._coded = dict(kept["tasks"])

    def update(
        self, labelled: Iterable[int], known: Mapping[int, Feature], measure: Callable[[int], Feature | None]
    ) -> None:
        """Hold the newest of these tasks and no others; those that must be looked at, some each time.

        Args:
            labelled: Numbers of all labelled tasks.
            known: Vectors that were measured while tasks waited.
            measure: Looks at a task of which none is known; None where that cannot be.
        """
        wanted = sorted(labelled)[-MOST:]
        before = self._coded
        self._coded = {str(number): before[str(number)] for number in wanted if str(number) in before}
        missing = [number for number in reversed(wanted) if str(number) not in self._coded]
        unseen = [number for number in missing if number not in known][:LOOKS]
        self._coded |= {str(number): _code(known[number]) for number in missing if number in known}
        try:
            for number in unseen:
                if (feature := measure(number)) is not None:
                    self._coded[str(number)] = _code(feature)
        finally:  # what was measured before a person interrupted stays
            if self._coded != before:
                document = {"embedding_version": self._version, "tasks": self._coded}
                self._notes.put(self._project, LABELLED_FEATURES, document)

    def array(self) -> NDArray[np.float32]:
        """(m, d) float32."""
        rows = [np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32) for text in self._coded.values()]
        return np.stack(rows) if rows else no_features()


def _code(feature: Feature) -> str:
    return base64.b64encode(np.asarray(feature, dtype="<f2").tobytes()).decode()
