"""What a project's mode means for its pre-annotations: assisted, semi-automatic or automatic.

Assisted shows people everything. Semi-automatic shows only regions whose expected IoU reaches the project's threshold,
so that what is there may be left alone and people add the rest. Automatic is assisted for people, and ``machine``
annotates tasks by itself.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from maskwright.errors import MaskwrightError
from maskwright.learn.acquisition.calibration import Calibration
from maskwright.learn.rounds.experience import read_calibration
from maskwright.learn.settings import LearningSettings, read_learning
from maskwright.regions import Region
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes
from maskwright_label_studio.projects import MAX_PROJECTS, Project
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.webhook import PLATFORM_NAME

KNOWN_FOR_S = 5.0
"""How long a project's mode is remembered: people who open tasks must not ask the database every time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Mode:
    """A project's mode, with what its threshold is compared to.

    Attributes:
        settings: What the owner chose.
        calibration: From confidence to expected IoU, as the project's corrections taught it.
    """

    settings: LearningSettings = field(default_factory=LearningSettings)
    calibration: Calibration = field(default_factory=Calibration)

    @classmethod
    def of(cls, store: CorrectionsStore, project_id: int) -> Mode:
        """The mode of a project by the store's number of it."""
        notes = ProjectNotes(store.database)
        return cls(read_learning(notes, project_id), read_calibration(notes, project_id))

    def is_sure(self, confidence: float) -> bool:
        """Whether a region of that confidence is accepted without a person."""
        return float(self.calibration(confidence)) >= self.settings.accept_threshold

    @property
    def shows_everything(self) -> bool:
        """Whether people see every region."""
        return self.settings.mode != "semi-automatic"

    def shows(self, region: Region) -> bool:
        """Whether people see the region."""
        return self.shows_everything or self.is_sure(region.score)

    @property
    def signature(self) -> str:
        """Equal for modes that show the same regions."""
        if self.shows_everything:
            return ""
        knots = self.calibration.predicted.tobytes() + self.calibration.expected.tobytes()
        return f"{self.settings.accept_threshold} {hashlib.blake2b(knots, digest_size=8).hexdigest()}"


class Modes:
    """The modes of the projects of a process. Threads may share it.

    Args:
        store: Opens the corrections store.
        servers: Under which names it has projects.
    """

    def __init__(self, store: Callable[[], CorrectionsStore], servers: Servers) -> None:
        self._store, self._servers = store, servers
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Mode]] = {}

    def shown(self, project: Project) -> Callable[[Region], bool]:
        """Which regions people see of a project's pre-annotations.

        While the store cannot be read, the mode of before; everything where none was known.
        """
        with self._lock:
            until, mode = self._known.get(project.key, (0.0, Mode()))
        if time.monotonic() >= until:
            try:
                mode = self._read(project)
            except MaskwrightError as error:
                log.warning("the mode of project %s cannot be read: %s", project.key, error)
            with self._lock:
                self._known.pop(project.key, None)
                self._known[project.key] = (time.monotonic() + KNOWN_FOR_S, mode)
                while len(self._known) > MAX_PROJECTS:  # anybody may send a key
                    del self._known[next(iter(self._known))]
        return mode.shows

    def _read(self, project: Project) -> Mode:
        if project.id is None:
            return Mode()
        store = self._store()
        row = store.find_project(PLATFORM_NAME, self._servers.of(project), project.id)
        return Mode() if row is None else Mode.of(store, row.id)


def is_reviewed(key: str, task: int, share: float) -> bool:
    """Whether a task belongs to the sample that people look at whatever the machine thinks; the same for ever.

    Args:
        key: Of the project; another project has another sample.
        task: The task's number.
        share: Of all tasks, in [0, 1]; a larger share holds every smaller one.
    """
    digest = hashlib.blake2b(f"{key}/{task}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
