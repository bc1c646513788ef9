"""``maskwright precompute``: encode images before anyone waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli_images import ModelOption, image_files
from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from maskwright.assist.precompute import DiskBudget, ImageSource
    from maskwright.settings import Settings

_MEGABYTE = 1024**2


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(precompute)


def precompute(
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Folder of images.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Project of the labelling platform.")] = None,
    platform: Annotated[str, typer.Option("--platform", help="Which platform, if several are installed.")] = "",
    model: ModelOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Go on although the disk cache will not hold everything.")] = False,
) -> None:
    """Encode every image of a folder or project into the disk cache, so that first clicks are fast.

    What is there already is skipped, so an interrupted run is taken up by running it again. Ctrl-C stops it cleanly.
    """
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.precompute import disk_budget
    from maskwright.assist.precompute import precompute as run
    from maskwright.settings import read_settings

    if (images is None) == (project is None):
        raise InvalidInput("say what to encode: either --images DIR or --project NUMBER")
    settings = read_settings(model=model)
    sources = _of_folder(images, settings) if images is not None else _of_project(platform, str(project), settings)
    assistant = Assistant(settings)
    try:
        segmenter = assistant.segmenter()
        budget = disk_budget(assistant.embeddings, segmenter.embedding_nbytes, len(sources))
        typer.echo(_describe(budget))
        if not budget.fits and not yes:
            raise InvalidInput(
                "the disk cache will not hold it all; raise MASKWRIGHT_DISK_CACHE_BYTES, free some space, or give --yes"
            )
        with _cancel_on_interrupt() as cancelled, _bar(len(sources)) as advance:
            report = run(
                assistant.embeddings, segmenter, sources, len(sources), tile_size=settings.tile_size,
                cancelled=cancelled, progress=lambda state: advance(state.done),
            )  # fmt: skip
    finally:
        assistant.close()
    state = report.progress
    typer.echo(f"{state.encoded} encoded, {state.skipped} were there already, {state.failed} failed, of {state.total}")
    for name, reason in report.failures:
        typer.echo(f"maskwright: {name}: {reason}", err=True)
    if report.stopped:
        typer.echo(f"maskwright: stopped early: {report.stopped}; run it again to go on", err=True)
    if report.stopped or state.failed:
        raise typer.Exit(1)


def _of_folder(folder: Path, settings: Settings) -> list[ImageSource]:
    from maskwright.assist.precompute import ImageSource
    from maskwright.images import Image, ImageLimits, load_image

    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)

    def loader(path: Path) -> Callable[[], Image]:
        return lambda: load_image(path, limits=limits)

    return [ImageSource(path.relative_to(folder).as_posix(), loader(path)) for path in image_files(folder)]


def _of_project(name: str, project: str, settings: Settings) -> list[ImageSource]:
    from maskwright.assist.precompute import ImageSource
    from maskwright.server.platforms import installed_platforms

    able = {p.name: reader for p in installed_platforms() if (reader := getattr(p, "project_images", None)) is not None}
    if name not in able and not (name == "" and len(able) == 1):
        raise InvalidInput(f"name the platform with --platform; installed are: {', '.join(able) or 'none'}")
    reader = able[name] if name else next(iter(able.values()))
    found = [ImageSource(title, load) for title, load in reader(settings, project)]
    if not found:
        raise InvalidInput(f"project {project} has no image")
    return found


def _describe(budget: DiskBudget) -> str:
    needed, each, limit, free = (
        value / _MEGABYTE
        for value in (budget.needed_bytes, budget.bytes_per_image, budget.limit_bytes, budget.free_bytes)
    )
    return (
        f"{budget.images} images need up to {needed:,.1f} MB on disk ({each:,.2f} MB each); "
        f"the cache may take {limit:,.0f} MB, {free:,.0f} MB of the disk are free"
    )


@contextmanager
def _cancel_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that the work asks itself."""
    import signal

    asked = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda _number, _frame: asked.set()) for number in numbers}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("encoding", total=total)
        yield lambda done: progress.update(task, completed=done)
