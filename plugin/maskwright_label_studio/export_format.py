"""``--format label-studio``: tasks with predictions, to be imported into another project or another Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from maskwright.export.json_file import JsonListFile
from maskwright.export.records import Dataset, Format, ImageRecord, Rendered, Rows
from maskwright.labels import LabelSet
from maskwright_label_studio.writer import TaskWriter, file_output, label_config

TASKS, CONFIG = "tasks.json", "label-config.xml"
_SECTION = "tasks"


@dataclass(frozen=True)
class LabelStudioFormat:
    """Writes ``tasks.json`` and, to create the project from that it goes into, ``label-config.xml``.

    Both controls hold every mask exactly, so nothing is lost. A task keeps its fields; ``image`` is the address of its
    image at the platform. Of several images of a task, each becomes a task of its own.

    Attributes:
        control: What the regions are drawn with.
        model_version: Of the predictions.
    """

    control: Literal["brush", "bitmask"] = "brush"
    model_version: str = "export"
    name: str = "label-studio"
    wants_image: bool = False

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """One task; see ``Format.render``."""
        writer = TaskWriter(
            file_output(self.control, LabelSet.of(dataset.categories)), model_version=self.model_version
        )
        return Rendered(rows=((_SECTION, writer.task(record.source, record.regions, data=record.data)),))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See ``Format.finish``."""
        written = []
        if dataset.categories:
            (folder / CONFIG).write_text(label_config(self.control, dataset.categories), encoding="utf-8")
            written.append(CONFIG)
        with JsonListFile(folder / TASKS) as file:
            for row in rows(_SECTION):
                file.add(row)
        return (*written, TASKS)


def export_formats() -> Mapping[str, Format]:
    """Formats of ``maskwright export`` that Label Studio brings, by name."""
    return {LabelStudioFormat.name: cast(Format, LabelStudioFormat())}
