"""What the server hands to every platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.settings import Settings


@dataclass(frozen=True)
class Services:
    """One process's workers. The server builds and closes them.

    Attributes:
        settings: Of this process.
        assistant: Everything about images.
        jobs: Work that outlasts a request.
        observe: Told a stage's name and its seconds.
    """

    settings: Settings
    assistant: Assistant
    jobs: BackgroundJobs
    observe: Callable[[str, float], None]
