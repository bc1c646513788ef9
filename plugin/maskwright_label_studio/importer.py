"""What ``maskwright import`` needs of Label Studio: tasks for a file, or for a project that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.labels import LabelSet
from maskwright.regions import Region
from maskwright.settings import Settings
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.writer import LOCAL_FILES, Kind, TaskWriter, file_output, image_address, label_config

_MOST_TASKS, _MOST_BYTES = 100, 8 * 1024**2
"""Of one request: what Label Studio stores within seconds."""


@dataclass(frozen=True)
class AddressedTasks:
    """Makes tasks of images in a folder; a ``TaskMaker`` of ``maskwright.export.import_work``.

    Attributes:
        writer: Makes the tasks.
        prefix: What comes before the path of an image, see ``image_address``.
    """

    writer: TaskWriter
    prefix: str = LOCAL_FILES

    @property
    def holds_boxes(self) -> bool:
        """Whether a box without a shape can be drawn as what it is."""
        return self.writer.output.control.shape == "rectangle"

    def task(self, relative: str, regions: Sequence[Region]) -> bytes:
        """The JSON text of a task; errors are those of ``TaskWriter.task``."""
        return self.writer.task(image_address(relative, self.prefix), regions)


@dataclass(frozen=True)
class Importer:
    """Makes tasks of images with regions, and sends them where a project was named.

    Attributes:
        maker: Makes the tasks.
        categories: Category id by class name.
        client: Label Studio, or None where a file is written.
        project: The project's number; 0 where a file is written.
    """

    maker: AddressedTasks
    categories: Mapping[str, int]
    client: LabelStudioClient | None = None
    project: int = 0

    @classmethod
    def open(
        cls, settings: Settings, categories: Mapping[str, int], *, control: str = "", kind: Kind = "predictions",
        model_version: str = "import", prefix: str = "", project: str = "",
    ) -> Importer:  # fmt: skip
        """Make one.

        Args:
            settings: Address and key of Label Studio, used where a project is named.
            categories: Category id by class name, in order.
            control: What to draw with; empty means brush, or what the project has that loses least.
            kind: Whether regions become predictions or annotations.
            model_version: Of the predictions.
            prefix: What comes before the path of an image, see ``image_address``; empty means local files.
            project: Number of a project, or empty.

        Raises:
            InvalidInput: If the project, its labelling configuration or the settings do not fit.
            MaskwrightError: If Label Studio does not answer as it should.
        """
        if not project:
            output = file_output(control or "brush", LabelSet.of(categories))
            writer = TaskWriter(output, kind=kind, model_version=model_version)
            return cls(AddressedTasks(writer, prefix or LOCAL_FILES), categories)
        if not project.isascii() or not project.isdigit():
            raise InvalidInput(f"{project!r} is not the number of a Label Studio project")
        key = settings.label_studio_api_key.get_secret_value()
        if not settings.label_studio_url or not key:
            raise InvalidInput("set MASKWRIGHT_LABEL_STUDIO_URL and MASKWRIGHT_LABEL_STUDIO_API_KEY")
        client = LabelStudioClient.of_operator(settings.label_studio_url, key)
        config = str(client.project(int(project))["label_config"])
        writer = TaskWriter.for_config(
            config, list(categories), control=control, kind=kind, model_version=model_version
        )
        return cls(AddressedTasks(writer, prefix or LOCAL_FILES), categories, client, int(project))

    def label_config(self) -> str:
        """A labelling configuration to create a project from that fits the tasks; raises like ``label_config``."""
        return label_config(self.maker.writer.output.control.shape, self.categories)

    def send(self, tasks: Iterable[bytes], sent: Callable[[int], None]) -> None:
        """Import tasks into the project, some at a time.

        Args:
            tasks: What the maker made.
            sent: Told after every request how many tasks it brought.

        Raises:
            MaskwrightError: If Label Studio refuses or does not answer; what was sent before stays there.
        """
        if self.client is None:
            raise InvalidInput("no project was named to send the tasks to")
        total = 0
        for batch in _batches(tasks):
            fragments: list[Any] = [orjson.Fragment(task) for task in batch]
            try:
                self.client.import_tasks(self.project, fragments)
            except MaskwrightError as error:
                if not total:
                    raise
                raise MaskwrightError(
                    f"{error} ({total} tasks are in project {self.project} already; delete them there before importing "
                    "again, or they will be there twice)"
                ) from error
            total += len(batch)
            sent(len(batch))


def _batches(tasks: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for task in tasks:
        if batch and (len(batch) >= _MOST_TASKS or size + len(task) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += len(task)
    if batch:
        yield batch
