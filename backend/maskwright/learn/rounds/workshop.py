"""What a round needs of the process that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.annotated import TaskReader
from maskwright.images import Window
from maskwright.labels import LabelSet
from maskwright.models.uri import parse_model_uri
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.records import ProjectRow
from maskwright.store.rounds import RoundStore
from maskwright.store.served import ServedRegister

if TYPE_CHECKING:
    from maskwright.export.image_sources import ImageFetcher
    from maskwright.models.registry import ModelRegistry


HELD_OUT, TRAINED, MACHINE = "held-out", "trained", "machine-annotations"
"""Notes of a project: its ``Parts``; keys of all images that rounds have trained on; the tasks that the machine
annotated itself, each with its annotation."""


@dataclass(frozen=True, eq=False)
class Workshop:
    """Where rounds are run; ``server.workshops.open_workshop`` makes one.

    Attributes:
        settings: Of the process.
        store: The corrections.
        registry: Base models and their adapters.
        reader: Gives what reads the task documents of a project.
        images: Gives what fetches the images of a project.
        labels: Gives the classes of a project.
        model: Gives the base model URI that a project asks for in its set-up, or None for that of the settings.
        window: Gives the value range in which a project's images with more than 8 bits per sample are shown.
    """

    settings: Settings
    store: CorrectionsStore
    registry: ModelRegistry
    reader: Callable[[ProjectRow], TaskReader]
    images: Callable[[ProjectRow], ImageFetcher]
    labels: Callable[[ProjectRow], LabelSet]
    model: Callable[[ProjectRow], str | None] = lambda project: None
    window: Callable[[ProjectRow], Window | None] = lambda project: None

    @property
    def rounds(self) -> RoundStore:
        """The rounds of all projects."""
        return RoundStore(self.store.database)

    @property
    def served(self) -> ServedRegister:
        """What all projects serve."""
        return ServedRegister(self.store.database)

    @property
    def notes(self) -> ProjectNotes:
        """Small documents of all projects."""
        return ProjectNotes(self.store.database)

    def base(self, project: ProjectRow) -> str:
        """The canonical URI of the base model on which a project learns."""
        asked = parse_model_uri(self.model(project) or self.settings.model)
        return str(replace(asked, adapter=None, classes=None))

    def folder(self, project_id: int, number: int) -> Path:
        """Where a round keeps its files; see :func:`round_folder`."""
        return round_folder(self.settings.home, project_id, number)


def round_folder(home: Path, project_id: int, number: int) -> Path:
    """Where a round keeps its checkpoint, its measurements and its gallery (``*.png``).

    Args:
        home: Of the settings.
        project_id: The store's own number of the project.
        number: The round's number within the project.
    """
    return home / "rounds" / str(project_id) / str(number)
