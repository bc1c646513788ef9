"""What is known about the projects that are connected: options and address, as the last /setup told them.

Clicks come without /setup before them, so what it told is kept over restarts: options, address and version in a file
under ``settings.home``. Tokens stay in memory.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from maskwright.errors import InvalidInput
from maskwright.store.artifacts import write_atomically
from maskwright_label_studio.options import DEFAULT_OPTIONS, ProjectOptions

MAX_PROJECTS = 1000
PROJECTS_FILE = "label-studio/projects.json"
"""Where a server keeps what /setup told, below ``settings.home``."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Project:
    """One connected project.

    Attributes:
        key: ``<id>.<unix seconds of creation>`` as Label Studio sends it; unique over time.
        options: Its ``extra_params``.
        hostname: What Label Studio believes its own base URL to be, or empty.
        access_token: Legacy token of the project's creator, or empty. On a default install it does not work.
        model_version: The version that /setup reported last, or empty.
    """

    key: str
    options: ProjectOptions = DEFAULT_OPTIONS
    hostname: str = ""
    access_token: str = field(default="", repr=False)
    model_version: str = ""

    @property
    def id(self) -> int | None:
        """Label Studio's number of the project."""
        number = self.key.partition(".")[0]
        return int(number) if number.isascii() and number.isdigit() else None


class ProjectMemory:
    """The projects of the last /setup requests, least recently set up out. Threads may share it.

    Args:
        file: Where to keep them over restarts, or None.
        limit: Most projects kept.
    """

    def __init__(self, file: Path | None = None, limit: int = MAX_PROJECTS) -> None:
        self._file = file
        self._limit = limit
        self._lock = threading.Lock()
        self._projects: OrderedDict[str, Project] = OrderedDict((p.key, p) for p in self._read())

    def get(self, key: str) -> Project:
        """The project with this key; one with default options if it is not known."""
        with self._lock:
            return self._projects.get(key) or Project(key)

    def known(self, key: str) -> Project | None:
        """The project with this key, or None."""
        with self._lock:
            return self._projects.get(key)

    def of_number(self, number: int) -> list[Project]:
        """The projects with this number, the one that was set up last at the end; servers number apart."""
        return [project for project in self.all() if project.id == number]

    def all(self) -> list[Project]:
        """All known projects, the one that was set up last at the end."""
        with self._lock:
            return list(self._projects.values())

    def remember(self, project: Project) -> None:
        """Keep what /setup told."""
        with self._lock:
            before = self._projects.pop(project.key, None)
            self._projects[project.key] = project
            while len(self._projects) > self._limit:
                self._projects.popitem(last=False)
            if before is None or _lasting(before) != _lasting(project):
                self._write()

    def versions(self) -> list[str]:
        """Versions that projects were told, the most recent first."""
        with self._lock:
            return list(dict.fromkeys(p.model_version for p in reversed(self._projects.values()) if p.model_version))

    def _read(self) -> list[Project]:
        if self._file is None or not self._file.is_file():
            return []
        try:
            return [_from_file(entry) for entry in orjson.loads(self._file.read_bytes())][-self._limit :]
        except (OSError, ValueError, KeyError, TypeError, InvalidInput) as error:
            log.warning("the file of known projects cannot be read (%s); the next page load rebuilds it", error)
            return []

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, orjson.dumps([_lasting(p) for p in self._projects.values()]))
        except (OSError, InvalidInput) as error:
            # Losing it costs options until the next page load, refusing /setup would cost the connection.
            log.warning("the file of known projects cannot be written: %s", error)


def _lasting(project: Project) -> dict[str, Any]:
    return {
        "key": project.key,
        "options": project.options.model_dump(exclude_defaults=True),
        "hostname": project.hostname,
        "model_version": project.model_version,
    }


def _from_file(entry: dict[str, Any]) -> Project:
    options = ProjectOptions.model_validate(entry["options"])
    return Project(str(entry["key"]), options, str(entry["hostname"]), "", str(entry["model_version"]))
