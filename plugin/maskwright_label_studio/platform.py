"""Label Studio as a platform of the server: see ``maskwright.server.platforms.Platform``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from maskwright.assist.preannotate import Preannotation
from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.settings import Settings

if TYPE_CHECKING:
    import typer
    from flask import Blueprint

    from maskwright.assist.services import Services
    from maskwright.checks import Finding
    from maskwright.images import Image

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

        if not project.isascii() or not project.isdigit():
            raise InvalidInput(f"{project!r} is not the number of a Label Studio project")
        access, where = Access(settings), Project(project)
        client = access.client(where)
        if client is None:
            raise InvalidInput("set MASKWRIGHT_LABEL_STUDIO_URL and MASKWRIGHT_LABEL_STUDIO_API_KEY")
        config = parse_config(str(client.project(int(project))["label_config"]))
        options = _options_of(client.connections(int(project))) or ProjectOptions()
        for document in client.tasks(int(project)):
            task = Task.of(document)
            for tag in config.images:
                for source in tag.sources(task.data):

                    def load(source: str = source, task: Task = task) -> Image:
                        return access.decode(access.fetch(where, source, task.id), options)

                    yield source, load

    def predictions_document(
        self, items: Iterable[tuple[str, tuple[int, int], Preannotation]], labels: LabelSet
    ) -> list[dict[str, Any]]:
        """Tasks with predictions, as Label Studio imports them, for a configuration like our template ``smart-brush``.

        Args:
            items: (image name, (h, w), pre-annotation); the name becomes the task's ``image``.
            labels: The classes.
        """
        from maskwright_label_studio.config import ControlTag, Output
        from maskwright_label_studio.results import as_score, region_to_result

        control = ControlTag(BRUSH_NAME, (IMAGE_NAME,), "brush", "brushlabels", labels)
        output = Output(control, control)
        document = []
        for name, _, found in items:
            result = [item for region in found.regions for item in region_to_result(region, output)]
            for item in result:
                item["value"]["rle"] = item["value"]["rle"].tolist()
            prediction = {"model_version": found.model_version, "score": as_score(found.score), "result": result}
            document.append({"data": {IMAGE_NAME: name}, "predictions": [prediction]})
        return document


def _options_of(connections: list[dict[str, Any]]) -> Any:
    from maskwright_label_studio.options import parse_options

    return parse_options(connections[0].get("extra_params")) if connections else None


PLATFORM = LabelStudioPlatform()
