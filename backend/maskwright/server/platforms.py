"""What a labelling platform hands to the server and the commands, and how installed platforms are found.

A platform is an object registered under the entry-point group ``maskwright.platforms``. The core calls it through the
protocol below and never imports a platform by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import typer
    from flask import Blueprint

    from maskwright.assist.preannotate import Preannotation
    from maskwright.assist.services import Services
    from maskwright.labels import LabelSet

GROUP = "maskwright.platforms"

log = logging.getLogger(__name__)


class Platform(Protocol):
    """One labelling platform.

    Attributes:
        name: Lower-case name with hyphens, e.g. ``label-studio``; also a value of ``preannotate --format``.

    Two more methods are optional, and looked up by name: ``checks(settings) -> Iterable[Finding]`` for
    ``maskwright doctor`` (see ``maskwright.checks``), and ``project_images(settings, project)`` for
    ``maskwright precompute --project``, which yields (name, load) pairs where ``load()`` returns an ``Image``.
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
