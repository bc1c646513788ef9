"""Label Studio as a platform of the server: see ``maskwright.server.platforms.Platform``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright.settings import Settings

if TYPE_CHECKING:
    import typer
    from flask import Blueprint

    from maskwright.annotated import TaskReader
    from maskwright.assist.preannotate import Preannotation
    from maskwright.assist.services import Services
    from maskwright.assist.suggestion.stager import ProjectStages
    from maskwright.checks import Finding
    from maskwright.export.image_sources import ImageFetcher
    from maskwright.export.records import Format
    from maskwright.images import Image, Window
    from maskwright_label_studio.client import LabelStudioClient
    from maskwright_label_studio.importer import Importer
    from maskwright_label_studio.options import ProjectOptions
    from maskwright_label_studio.simulated import SimulatedProject

IMAGE_NAME, BRUSH_NAME = "image", "mask"
"""Names of image and control in our templates, which stand-alone prediction files refer to."""


class LabelStudioPlatform:
    """Everything that the server and the commands need to know about Label Studio."""

    name = "label-studio"

    def blueprint(self, services: Services) -> Blueprint:
        """The protocol of an ML backend; only ``/webhook`` answers without credentials."""
        from maskwright_label_studio.protocol import LabelStudioBlueprint

        return LabelStudioBlueprint(services)

    def commands(self) -> typer.Typer | None:
        """``connect``."""
        from maskwright_label_studio.commands import app

        return app

    def checks(self, settings: Settings) -> Iterable[Finding]:
        """What ``maskwright doctor`` says about the configured Label Studio."""
        from maskwright_label_studio.diagnosis import check_label_studio

        return check_label_studio(settings)

    def project_images(self, settings: Settings, project: str) -> Iterator[tuple[str, Callable[[], Image]]]:
        """(name, load) of every image of a project, in order of its tasks.

        Args:
            settings: Address and key of Label Studio.
            project: The project's number.

        Raises:
            InvalidInput: If the number or the settings are missing or malformed.
            MaskwrightError: If Label Studio does not answer as it should.
        """
        from maskwright_label_studio.access import Access
        from maskwright_label_studio.config import parse_config
        from maskwright_label_studio.options import ProjectOptions
        from maskwright_label_studio.projects import Project
        from maskwright_label_studio.tasks import Task

        client, number = _client(settings, project)
        access, where = Access(settings), Project(project)
        config = parse_config(str(client.project(number)["label_config"]))
        options = _options_of(client.connections(number)) or ProjectOptions()
        for document in client.tasks(number):
            task = Task.of(document)
            for tag in config.images:
                for source in tag.sources(task.data):

                    def load(source: str = source, task: Task = task) -> Image:
                        return access.decode(access.fetch(where, source, task.id), options)

                    yield source, load

    def task_reader(self, label_config: str | None) -> TaskReader:
        """A reader of Label Studio's JSON export and of its API's tasks.

        Args:
            label_config: The labelling configuration (XML), or None where it is not known.
        """
        from maskwright_label_studio.reader import LabelStudioReader

        return LabelStudioReader(label_config)

    def class_names(self, label_config: str) -> tuple[str, ...]:
        """The classes of a labelling configuration in its order.

        Raises:
            InvalidInput: If it is not plain XML.
        """
        from maskwright_label_studio.config import parse_config

        names = {item.name: None for control in parse_config(label_config).controls for item in control.labels}
        return tuple(names)

    def label_set(self, label_config: str) -> LabelSet:
        """The classes of a labelling configuration with their aliases and descriptors.

        Raises:
            InvalidInput: If it is not plain XML.
        """
        from maskwright_label_studio.config import parse_config

        controls = parse_config(label_config).controls
        return LabelSet(tuple({item.name: item for control in controls for item in control.labels}.values()))

    def project_model(self, settings: Settings, server: str, number: int) -> str | None:
        """The model URI that a project's set-up asks for, or None for the server's own."""
        return _told_options(settings, server, number).model

    def project_window(self, settings: Settings, server: str, number: int) -> Window | None:
        """The range of values in which a project's images with more than 8 bits per sample are shown, if it has one."""
        from maskwright.images import Window

        options = _told_options(settings, server, number)
        if options.window_level is None or options.window_width is None:
            return None
        return Window(options.window_level, options.window_width)

    def category_ids(self, label_config: str) -> dict[str, int]:
        """Category ids by class name, where every label of a labelling configuration carries its own; else empty.

        Raises:
            InvalidInput: If it is not plain XML.
        """
        from maskwright_label_studio.writer import category_ids

        return category_ids(label_config)

    def project_config(self, settings: Settings, project: str) -> str:
        """The labelling configuration of a project; errors are those of :meth:`project_images`."""
        client, number = _client(settings, project)
        return str(client.project(number)["label_config"])

    def task_documents(self, settings: Settings, project: str) -> Iterator[tuple[bytes, str]]:
        """(JSON text of a task, what messages call it) of all tasks of a project in order; see ``project_images``."""
        from maskwright_label_studio.live_tasks import live_tasks

        client, number = _client(settings, project)
        return live_tasks(client, number)

    def project_stages(self, settings: Settings, project: str) -> ProjectStages:
        """The models and options by which a project has classes suggested; errors as of :meth:`project_images`."""
        from maskwright_label_studio.options import ProjectOptions
        from maskwright_label_studio.predictor import project_stages

        client, number = _client(settings, project)
        return project_stages(_options_of(client.connections(number)) or ProjectOptions())

    def extended_config(self, label_config: str, added: Sequence[LabelClass]) -> str:
        """A labelling configuration with more classes in every control that labels regions; see ``more_labels``."""
        from maskwright_label_studio.more_labels import extended_config

        return extended_config(label_config, added)

    def change_config(self, settings: Settings, project: str, label_config: str) -> None:
        """Give a project another labelling configuration; errors are those of :meth:`project_images`."""
        client, number = _client(settings, project)
        client.update_project(number, label_config=label_config)

    def image_fetcher(self, settings: Settings, project: str) -> ImageFetcher:
        """Fetches the images of a project's tasks as the labelling page does."""
        from maskwright_label_studio.live_tasks import LiveImages

        return LiveImages(settings, project)

    def export_formats(self) -> Mapping[str, Format]:
        """Formats of ``maskwright export`` that are Label Studio's, by name."""
        from maskwright_label_studio.export_format import export_formats

        return export_formats()

    def importer(self, settings: Settings, categories: Mapping[str, int], **options: Any) -> Importer:
        """What ``maskwright import`` needs.

        Args:
            settings: Address and key of Label Studio.
            categories: Category id by class name.
            options: See ``Importer.open``.
        """
        from maskwright_label_studio.importer import Importer

        return Importer.open(settings, categories, **options)

    def simulated_project(
        self,
        url: str,
        credentials: tuple[str, str],
        number: int,
        labels: LabelSet,
        images: Mapping[int, tuple[str, tuple[int, int]]],
    ) -> SimulatedProject:
        """A project of a Label Studio that is played, for ``maskwright simulate``; see ``SimulatedProject``."""
        from maskwright_label_studio.simulated import SimulatedProject

        return SimulatedProject(url, credentials, number, labels, images)

    def predictions_document(
        self, items: Iterable[tuple[str, tuple[int, int], Preannotation]], labels: LabelSet
    ) -> list[dict[str, Any]]:
        """Tasks with predictions, as Label Studio imports them, for a configuration like our template ``smart-brush``.

        Args:
            items: (image name, (h, w), pre-annotation); the name becomes the task's ``image``.
            labels: The classes.
        """
        from maskwright_label_studio.config import ControlTag, Output
        from maskwright_label_studio.remarks import with_remark
        from maskwright_label_studio.results import as_score, region_to_result

        control = ControlTag(BRUSH_NAME, (IMAGE_NAME,), "brush", "brushlabels", labels)
        output = Output(control, control)
        document = []
        for name, _, found in items:
            result = [
                item
                for region in found.regions
                for item in with_remark(region_to_result(region, output), region, found.suggestions)
            ]
            for item in result:
                item["value"]["rle"] = item["value"]["rle"].tolist()
            prediction = {"model_version": found.model_version, "score": as_score(found.score), "result": result}
            document.append({"data": {IMAGE_NAME: name}, "predictions": [prediction]})
        return document


def _told_options(settings: Settings, server: str, number: int) -> ProjectOptions:
    """What /setup last told of a project; the defaults where it never did."""
    from maskwright_label_studio.options import DEFAULT_OPTIONS
    from maskwright_label_studio.projects import PROJECTS_FILE, ProjectMemory

    told = ProjectMemory(settings.home / PROJECTS_FILE).of_number(number)
    here = [one for one in told if settings.label_studio_url or one.hostname.rstrip("/") == server.rstrip("/")]
    return here[-1].options if here else DEFAULT_OPTIONS


def _client(settings: Settings, project: str) -> tuple[LabelStudioClient, int]:
    from maskwright_label_studio.access import Access
    from maskwright_label_studio.projects import Project

    if not project.isascii() or not project.isdigit():
        raise InvalidInput(f"{project!r} is not the number of a Label Studio project")
    client = Access(settings).client(Project(project))
    if client is None:
        raise InvalidInput("set MASKWRIGHT_LABEL_STUDIO_URL and MASKWRIGHT_LABEL_STUDIO_API_KEY")
    return client, int(project)


def _options_of(connections: list[dict[str, Any]]) -> Any:
    from maskwright_label_studio.options import parse_options

    return parse_options(connections[0].get("extra_params")) if connections else None


PLATFORM = LabelStudioPlatform()
