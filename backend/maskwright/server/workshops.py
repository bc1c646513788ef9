"""The workshop of a process: rounds get at tasks and images through the installed platforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.server.platforms import exporting_platform

if TYPE_CHECKING:
    from maskwright.learn.rounds.workshop import Workshop
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore


def open_workshop(settings: Settings, store: CorrectionsStore) -> Workshop:
    """A workshop over an open store; models are loaded when they are needed."""
    from maskwright.learn.rounds.workshop import Workshop
    from maskwright.models.registry import ModelRegistry

    return Workshop(
        settings,
        store,
        ModelRegistry(settings),
        lambda project: exporting_platform(project.platform).task_reader(project.label_config or None),
        lambda project: exporting_platform(project.platform).image_fetcher(settings, str(project.number)),
    )
