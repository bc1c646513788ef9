"""The workshop of a process: rounds get at tasks and images through the installed platforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.labels import LabelSet
from maskwright.server.platforms import exporting_platform

if TYPE_CHECKING:
    from maskwright.images import Window
    from maskwright.learn.rounds.workshop import Workshop
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore
    from maskwright.store.records import ProjectRow


def open_workshop(settings: Settings, store: CorrectionsStore) -> Workshop:
    """A workshop over an open store; models are loaded when they are needed."""
    from maskwright.learn.rounds.workshop import Workshop
    from maskwright.models.registry import ModelRegistry

    def labels(project: ProjectRow) -> LabelSet:
        platform = exporting_platform(project.platform)
        read = getattr(platform, "label_set", None)
        if not project.label_config:
            return LabelSet(())
        found = LabelSet.of(platform.class_names(project.label_config)) if read is None else read(project.label_config)
        assert isinstance(found, LabelSet)
        return found

    def model(project: ProjectRow) -> str | None:
        told = getattr(exporting_platform(project.platform), "project_model", None)
        found: str | None = None if told is None else told(settings, project.server, project.number)
        return found

    def window(project: ProjectRow) -> Window | None:
        told = getattr(exporting_platform(project.platform), "project_window", None)
        found: Window | None = None if told is None else told(settings, project.server, project.number)
        return found

    return Workshop(
        settings,
        store,
        ModelRegistry(settings),
        reader=lambda project: exporting_platform(project.platform).task_reader(project.label_config or None),
        images=lambda project: exporting_platform(project.platform).image_fetcher(settings, str(project.number)),
        labels=labels,
        model=model,
        window=window,
    )
