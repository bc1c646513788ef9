"""What a labelling platform hands to the server and the commands, and how installed platforms are found.

A platform is an object registered under the entry-point group ``maskwright.platforms``. The core calls it through the
protocol below and never imports a platform by name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    import typer
    from flask import Blueprint

    from maskwright.annotated import TaskReader
    from maskwright.assist.preannotate import Preannotation
    from maskwright.assist.services import Services
    from maskwright.assist.suggestion.stager import ProjectStages
    from maskwright.export.image_sources import ImageFetcher
    from maskwright.images import Image
    from maskwright.labels import LabelClass, LabelSet
    from maskwright.learn.simulate.play import PlayedProject
    from maskwright.settings import Settings

GROUP = "maskwright.platforms"

log = logging.getLogger(__name__)


class Platform(Protocol):
    """One labelling platform.

    Attributes:
        name: Lower-case name with hyphens, e.g. ``label-studio``; also a value of ``preannotate --format``.

    More methods are optional, and looked up by name:

    - ``checks(settings) -> Iterable[Finding]`` for ``maskwright doctor`` (see ``maskwright.checks``);
    - ``project_images(settings, project)`` for ``maskwright precompute --project`` yields (name, load) pairs where
      ``load()`` returns an ``Image``.

    For ``maskwright export`` (``Exporting`` has the signatures):

    - ``task_reader(label_config)`` reads the platform's JSON of tasks, ``class_names(label_config)`` lists classes;
    - ``project_config``, ``task_documents`` and ``image_fetcher`` of (settings, project), for ``--project``;
    - ``category_ids(label_config)``: category ids by class name where the configuration carries them, else nothing;
    - ``export_formats() -> Mapping[str, Format]``: formats of its own, by name.

    For training rounds, beside those of ``Exporting``:

    - ``label_set(label_config) -> LabelSet``: the classes with what describes them;
    - ``project_model(settings, server, number) -> str | None``: the model URI that a project asks for;
    - ``project_window(settings, server, number) -> Window | None``: how its images of more than 8 bits are shown.

    For ``maskwright suggest-labels``, beside ``project_images`` and ``label_set``: those of ``Labelling``.

    For ``maskwright import``: ``importer(settings, categories, **options)`` turns images with regions into tasks.

    For ``maskwright simulate``: ``simulated_project`` (``Simulating`` has the signature) plays the platform's part.
    """

    name: str

    def blueprint(self, services: Services) -> Blueprint:
        """The platform's HTTP protocol.

        The server demands credentials on every route. A blueprint may carry an attribute ``public_rules``, a collection
        of URL rules (such as ``/webhook``) that are also answered without credentials; there ``flask.g.authenticated``
        is False, and the handler must treat the body as a hint. Wrong credentials are refused everywhere.
        """
        ...

    def commands(self) -> typer.Typer | None:
        """Commands that join ``maskwright``'s own, or None."""
        ...

    def predictions_document(
        self, items: Iterable[tuple[str, tuple[int, int], Preannotation]], labels: LabelSet
    ) -> list[dict[str, Any]]:
        """The platform's import file for pre-annotations: one element per (image name, (h, w), pre-annotation)."""
        ...


class Exporting(Protocol):
    """The methods of a platform whose annotations can be exported."""

    name: str

    def task_reader(self, label_config: str | None) -> TaskReader:
        """A reader of the platform's JSON of one task; ``label_config`` may be unknown."""
        ...

    def class_names(self, label_config: str) -> tuple[str, ...]:
        """The classes of a labelling configuration in its order."""
        ...

    def project_config(self, settings: Settings, project: str) -> str:
        """The labelling configuration of a project."""
        ...

    def task_documents(self, settings: Settings, project: str) -> Iterator[tuple[bytes, str]]:
        """(JSON text of one task, what messages call it) for all tasks of a project, in order."""
        ...

    def image_fetcher(self, settings: Settings, project: str) -> ImageFetcher:
        """What finds the images of a project's tasks."""
        ...


class Labelling(Protocol):
    """The methods of a platform whose projects can be given classes."""

    name: str

    def project_images(self, settings: Settings, project: str) -> Iterator[tuple[str, Callable[[], Image]]]:
        """(what the platform calls it, how to load it) of every image of a project."""
        ...

    def project_config(self, settings: Settings, project: str) -> str:
        """The labelling configuration of a project."""
        ...

    def project_stages(self, settings: Settings, project: str) -> ProjectStages:
        """What a project says of the models and options by which classes are suggested."""
        ...

    def label_set(self, label_config: str) -> LabelSet:
        """The classes of a labelling configuration with what describes them."""
        ...

    def extended_config(self, label_config: str, added: Sequence[LabelClass]) -> str:
        """A labelling configuration with more classes."""
        ...

    def change_config(self, settings: Settings, project: str, label_config: str) -> None:
        """Give a project another labelling configuration."""
        ...


class Simulating(Protocol):
    """The method of a platform whose part can be played."""

    def simulated_project(
        self,
        url: str,
        credentials: tuple[str, str],
        number: int,
        labels: LabelSet,
        images: Mapping[int, tuple[str, tuple[int, int]]],
    ) -> PlayedProject:
        """A project that talks to our server as the platform would.

        Args:
            url: Of the server.
            credentials: User and password for it.
            number: Of the project.
            labels: Its classes.
            images: By task number, the path of its image below the server's ``local_files_root``, and its (H, W).
        """
        ...


def simulating_platform() -> Simulating:
    """The first installed platform whose part can be played.

    Raises:
        InvalidInput: If there is none.
    """
    for platform in installed_platforms():
        if hasattr(platform, "simulated_project"):
            found: Any = platform
            simulating: Simulating = found
            return simulating
    raise InvalidInput("no installed platform can be simulated; install one that can, e.g. maskwright's Label Studio")


def exporting_platform(name: str = "") -> Exporting:
    """The installed platform of that name whose annotations can be exported; the only one if the name is empty.

    Raises:
        InvalidInput: If there is none, or several and no name.
    """
    exporting: Exporting = _able("task_reader", name)
    return exporting


def labelling_platform(name: str = "") -> Labelling:
    """The installed platform of that name whose projects can be given classes; the only one if the name is empty.

    Raises:
        InvalidInput: If there is none, or several and no name.
    """
    labelling: Labelling = _able("extended_config", name)
    return labelling


def _able(method: str, name: str) -> Any:
    able = {platform.name: platform for platform in installed_platforms() if hasattr(platform, method)}
    if name not in able and not (name == "" and len(able) == 1):
        raise InvalidInput(f"name the platform with --platform; installed are: {', '.join(able) or 'none'}")
    return able[name] if name else next(iter(able.values()))


def installed_platforms() -> list[Platform]:
    """Every installed platform in order of name; one that cannot be imported is logged and left out."""
    return [platform for platform, _ in _load() if platform is not None]


def broken_platforms() -> list[str]:
    """One sentence for every registered platform that cannot be imported."""
    return [problem for platform, problem in _load() if platform is None]


def _load() -> Sequence[tuple[Platform | None, str]]:
    found: list[tuple[Platform | None, str]] = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            found.append((point.load(), ""))
        except Exception as error:
            problem = f"platform {point.name} cannot be imported: {type(error).__name__}"
            log.warning("%s", problem)
            log.debug("%s", problem, exc_info=error)
            found.append((None, problem))
    return found
