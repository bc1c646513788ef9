"""What the server hands to every platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.served import ServedModels
from maskwright.settings import Settings
from maskwright.store.opener import StoreOpener


@dataclass(frozen=True)
class Notice:
    """That something happened in a project which the learning loop may act on.

    Attributes:
        platform: Name of the platform, as the corrections store has it.
        server: Address of its server, as the corrections store has it.
        number: The platform's number of the project.
        action: New corrections are stored; a person asked for a round; its predictions are to be made anew.
    """

    platform: str
    server: str
    number: int
    action: Literal["corrections", "start-training", "refresh"]


@dataclass(frozen=True)
class Services:
    """One process's workers. The server builds and closes them.

    Attributes:
        settings: Of this process.
        assistant: Everything about images.
        jobs: Work that outlasts a request.
        observe: Told a stage's name and its seconds.
        notice: Told what happens in projects; returns at once and raises nothing.
        store: Opens the corrections store of this process.
        served: Which model each project is answered with.
    """

    settings: Settings
    assistant: Assistant
    jobs: BackgroundJobs
    observe: Callable[[str, float], None]
    notice: Callable[[Notice], None] = lambda notice: None
    store: StoreOpener = field(init=False)
    served: ServedModels = field(init=False)

    def __post_init__(self) -> None:
        store = StoreOpener(self.settings)
        object.__setattr__(self, "store", store)
        object.__setattr__(self, "served", ServedModels(self.settings, store.soon))
