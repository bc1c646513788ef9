"""What people left on the tasks of a platform: tasks, their images, annotations and regions, whatever the platform.

A platform reads its own documents into these values (``TaskReader``); export, consensus and learning use only them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from maskwright.masks import Size
from maskwright.regions import Region

AnnotationKind = Literal["submitted", "skipped", "draft"]


@dataclass(frozen=True)
class TaskImage:
    """One image of a task.

    Attributes:
        name: What the labelling configuration calls its place, e.g. ``image``.
        index: Its number in a list of images; 0 for a single one.
        source: Its address as the task holds it (path, URL, cloud URI).
        size: (H, W) in pixels of the displayed image, or None where nothing told it.
    """

    name: str
    index: int
    source: str
    size: Size | None = None


@dataclass(frozen=True)
class Annotation:
    """What one person left on one task, or is still drawing.

    Attributes:
        key: The platform's identifier of it.
        person: Identifier of who made it as the platform tells it (number or address), or None.
        kind: Whether it was submitted, skipped (cancelled), or is a draft.
        created_at: ISO 8601 time in UTC, or empty.
        updated_at: ISO 8601 time in UTC of the last change, or empty; later ones supersede earlier ones.
        lead_time: Seconds that the person took, or None.
        model_version: Version of the prediction that it began from, or None.
        is_ground_truth: Whether the platform marks it as the truth.
        regions: Per position in ``AnnotatedTask.images``: the regions in the order of drawing. A position without
            regions may be left out.
        problems: Sentences about parts of it that could not be read; they name the region.
    """

    key: str
    person: str | None
    kind: AnnotationKind
    created_at: str = ""
    updated_at: str = ""
    lead_time: float | None = None
    model_version: str | None = None
    is_ground_truth: bool = False
    regions: Mapping[int, tuple[Region, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnnotatedTask:
    """One task with everything that was left on it.

    Attributes:
        project: The platform's identifier of the project, or empty.
        key: The platform's identifier of the task, unique within the project.
        data: The task's fields, e.g. for splitting or error reports by group.
        images: Its images in the order of the labelling configuration.
        annotations: In the order of the platform.
        predictions: What models had proposed, read like annotations (``person`` None, ``model_version`` set).
    """

    project: str
    key: str
    data: Mapping[str, Any]
    images: tuple[TaskImage, ...]
    annotations: tuple[Annotation, ...]
    predictions: tuple[Annotation, ...] = ()


class TaskReader(Protocol):
    """Reads one task of a platform's export file; a value that can be pickled, for many processes use it at once."""

    def __call__(self, document: bytes) -> AnnotatedTask:
        """Read the JSON text of one task.

        Raises:
            InvalidInput: If the task as a whole cannot be read; single regions that cannot be are told in
                ``Annotation.problems``.
        """
        ...

    def label_names(self, document: bytes) -> tuple[str, ...]:
        """The class names that the task's annotations use, in order of appearance, read without making masks."""
        ...
