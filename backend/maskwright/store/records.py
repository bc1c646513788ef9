"""What goes into the corrections store and comes out of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from maskwright.annotated import AnnotationKind


@dataclass(frozen=True)
class ProjectRow:
    """A project of a platform as the store knows it.

    Attributes:
        id: The store's own number of it, asked for by the other methods.
        platform: Name of the platform, e.g. ``label-studio``.
        server: Address of its server.
        number: The platform's number of the project.
        title: Its title, or empty.
        label_config: Its labelling configuration, or empty.
        needs_full_sync: Whether hints may have been lost since it was last read whole; true until the first time.
        full_sync_at: When the last complete reading began (ISO 8601), or empty.
    """

    id: int
    platform: str
    server: str
    number: int
    title: str
    label_config: str
    needs_full_sync: bool
    full_sync_at: str


@dataclass(frozen=True)
class Event:
    """A platform's word that something changed: a hint, to be checked with its API.

    Attributes:
        platform: Name of the platform.
        server: Address of its server.
        action: What happened, in the platform's words.
        project: The platform's number of the project, or None if it did not tell.
        annotations: Numbers of the annotations concerned.
        tasks: Numbers of the tasks concerned.
        updated_at: ISO 8601 time of the change as the platform tells it, or empty.
        authenticated: Whether the sender proved who it is; only the others are bounded in number.
    """

    platform: str
    server: str
    action: str
    project: int | None
    annotations: tuple[int, ...] = ()
    tasks: tuple[int, ...] = ()
    updated_at: str = ""
    authenticated: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything but the sender's proof: the same for every delivery of one event."""
        content = [self.platform, self.server, self.action, self.project]
        parts = [*content, list(self.annotations), list(self.tasks), self.updated_at]
        return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class PendingEvent:
    """An event that waits. ``deliveries`` tells how often it had come when it was read."""

    id: int
    deliveries: int
    received_at: str
    event: Event


@dataclass(frozen=True)
class Stored:
    """One state of one annotation or draft.

    Attributes:
        number: The platform's number; drafts are numbered apart from annotations.
        kind: ``submitted``, ``skipped`` or ``draft``.
        person: Who made it as the platform tells it, or None.
        created_at: ISO 8601, or empty.
        updated_at: ISO 8601 time of the last change, or empty; the newest state is the one in force.
        document: The platform's JSON object, complete. What changes by itself with every reading (Label Studio's
            ``created_ago``) should be taken out before, or every reading looks like an edit.
        lead_time: Seconds that the person took, or None.
        proposal_number: The platform's number of the prediction that it began from, or None.
        model_version: That prediction's model version, or None.
    """

    number: int
    kind: AnnotationKind
    person: str | None
    created_at: str
    updated_at: str
    document: bytes = field(repr=False)
    lead_time: float | None = None
    proposal_number: int | None = None
    model_version: str | None = None


@dataclass(frozen=True)
class Proposal:
    """What a model had proposed for a task: the platform's number of the prediction and its JSON object."""

    number: int
    model_version: str
    document: bytes = field(repr=False)
    updated_at: str = ""


@dataclass(frozen=True)
class TaskState:
    """One task with what the platform shows on it, to be stored in one transaction.

    Attributes:
        number: The platform's number of the task.
        data: JSON object of the task's fields, or None if only its annotations are told.
        updated_at: ISO 8601 time of the task's last change, or empty.
        annotations: Annotations and drafts on it.
        proposals: Predictions on it.
        complete: Whether ``annotations`` holds every annotation and draft of the task, and ``proposals`` every
            prediction: others are then buried.
        created_at: ISO 8601 time at which the platform made the task, or empty. Platforms may give the number of a
            deleted task out again; what was erased comes back only as something made since.
    """

    number: int
    data: bytes | None
    updated_at: str = ""
    annotations: tuple[Stored, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    complete: bool = False
    created_at: str = ""


@dataclass(frozen=True)
class Head:
    """The state in force of one annotation or draft.

    Attributes:
        task_number: The platform's number of the task.
        correction_id: The store's number of this very state, for snapshots.
        digest: SHA-256 (hex) of the document.
        stored: The state; its document is empty if it was not asked for.
    """

    task_number: int
    correction_id: int
    digest: str
    stored: Stored


@dataclass(frozen=True)
class ImageFacts:
    """What is known of the file behind an image address.

    Attributes:
        sha256: Of the encoded bytes, hex.
        width: Pixels of the displayed image.
        height: Pixels of the displayed image.
        perceptual_hash: Hex, or None.
    """

    sha256: str
    width: int
    height: int
    perceptual_hash: str | None = None


@dataclass(frozen=True)
class StoreCounts:
    """How much a project holds: what is in force, and all states ever kept."""

    tasks: int
    annotations: int
    drafts: int
    corrections: int
    proposals: int
