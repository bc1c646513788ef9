"""``maskwright import``: COCO files into the labelling platform, as pre-annotations or as annotations."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import InvalidInput, MaskwrightError

if TYPE_CHECKING:
    from maskwright.export.coco_in import CocoReader
    from maskwright.export.image_folder import ImageFolder
    from maskwright.export.import_work import MadeTask, TaskMaker

_NAMED = 5
"""How many entries a message names before it only counts."""


class Kind(StrEnum):
    """What regions become."""

    PREDICTIONS = "predictions"
    ANNOTATIONS = "annotations"


class Control(StrEnum):
    """What regions are drawn with."""

    BRUSH = "brush"
    BITMASK = "bitmask"
    POLYGON = "polygon"
    RECTANGLE = "rectangle"


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command("import")(import_coco)


def import_coco(
    source: Annotated[Path, typer.Option("--from", metavar="FILE", help="COCO file with polygons or run lengths.")],
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder that the file names of images count from.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="File of tasks to write.")] = None,
    project: Annotated[str, typer.Option("--project", help="Project to send the tasks to, instead of --out.")] = "",
    kind: Annotated[
        Kind, typer.Option("--as", help="Regions to be checked, or annotations that are done.")
    ] = Kind.PREDICTIONS,
    control: Annotated[
        Control | None,
        typer.Option("--control", help="What regions are drawn with; brush, or what the project has that loses least."),
    ] = None,
    image_url_prefix: Annotated[
        str,
        typer.Option(
            "--image-url-prefix",
            metavar="TEXT",
            help="What comes before an image's path in a task; default: the platform's local files. "
            "E.g. https://host/folder/ or s3://bucket/folder/",
        ),
    ] = "",
    label_config_out: Annotated[
        Path | None, typer.Option("--label-config-out", metavar="FILE", help="Write a configuration for a project too.")
    ] = None,
    model_version: Annotated[str, typer.Option(help="Model version of the predictions.")] = "import",
    platform: Annotated[str, typer.Option("--platform", help="Which platform, if several are installed.")] = "",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one per core by default.")] = None,
) -> None:
    """Turn a COCO file into tasks of the labelling platform. Masks stay exact with brush and bitmask.

    Sizes are checked against the images in DIR. With local files, paths count from the folder that the platform serves.
    """
    from maskwright.export.coco_in import CocoReader
    from maskwright.settings import read_settings
    from maskwright.store.artifacts import write_atomically

    if (out is None) == (not project):
        raise InvalidInput("say where the tasks go: either --out FILE or --project NUMBER")
    if images is None and not image_url_prefix:
        raise InvalidInput("give the folder of images with --images DIR (or, for images elsewhere, --image-url-prefix)")
    for path in (out, label_config_out):
        if path is not None and not path.parent.is_dir():
            raise InvalidInput(f"cannot write {path}: there is no folder {path.parent}")
    settings = read_settings()
    folder = _folder(images, settings) if images is not None else None
    with CocoReader(source) as reader:
        importer = _importer(
            platform, settings, reader.categories, control=control.value if control else "", kind=kind.value,
            model_version=model_version, prefix=image_url_prefix, project=project,
        )  # fmt: skip
        report = _Report(reader.image_count, images)
        config = importer.label_config() if label_config_out is not None else ""
        tasks = _tasks(reader, folder, importer.maker, report, workers or _cores())
        with _bar(reader.image_count) as advance:
            if out is not None:
                _write(out, tasks, advance)
            else:
                _send(importer, tasks, advance)
    if label_config_out is not None:
        write_atomically(label_config_out, config.encode())
    for line in report.lines(folder):
        typer.echo(f"maskwright: {line}", err=True)
    where = f"written to {out}" if out is not None else f"sent to project {project}"
    typer.echo(f"{report.images} tasks with {report.regions} regions ({kind.value}) {where}")


@dataclass
class _Report:
    total: int
    folder: Path | None
    images: int = 0
    regions: int = 0
    without_pixels: list[str] = field(default_factory=list)

    def add(self, task: MadeTask) -> None:
        self.images += 1
        self.regions += task.regions
        self.without_pixels += task.without_pixels

    def lines(self, folder: ImageFolder | None) -> Iterator[str]:
        """What a person should know besides."""
        if self.without_pixels:
            yield f"{_named(self.without_pixels)} hold no pixel and were left out"
        if folder is not None and folder.missing:
            yield (
                f"{len(folder.missing)} of {self.total} images are not in {self.folder}: {_named(folder.missing)}; "
                "their tasks were made all the same, with the sizes that the COCO file gives"
            )
        yield from (f"cannot be read: {line}" for line in (folder.unreadable if folder is not None else ())[:_NAMED])


def _tasks(
    reader: CocoReader, folder: ImageFolder | None, maker: TaskMaker, report: _Report, workers: int
) -> Iterator[bytes]:
    from maskwright.export.import_work import NamedEntries, make_tasks

    def named() -> Iterator[NamedEntries]:
        for entries in reader.entries(folder.size_of if folder is not None else None):
            name = entries.image.file_name
            try:
                relative = folder.path_of(name) if folder is not None else _plain(name)
            except MaskwrightError as error:
                raise type(error)(f"{entries.image.title}: {error}") from error
            yield NamedEntries(relative, entries)

    for task in make_tasks(reader, named(), maker, workers):
        report.add(task)
        yield task.text


def _write(out: Path, tasks: Iterator[bytes], advance: Callable[[], None]) -> None:
    from maskwright.export.json_file import JsonListFile

    with JsonListFile(out) as file:
        for task in tasks:
            file.add(task)
            advance()


def _send(importer: Any, tasks: Iterator[bytes], advance: Callable[[], None]) -> None:
    """All tasks are made before the first is sent: what is wrong in the file must not leave half of it in a project."""
    with tempfile.TemporaryFile() as spool:
        for task in tasks:
            spool.write(task + b"\n")  # JSON text of ours holds no line break
            advance()
        spool.seek(0)
        importer.send(spool, lambda _count: None)


def _folder(images: Path, settings: Any) -> ImageFolder:
    from maskwright.export.image_folder import ImageFolder
    from maskwright.images import ImageLimits

    return ImageFolder(images, ImageLimits(settings.max_image_bytes, settings.max_image_pixels))


def _importer(name: str, settings: Any, categories: Mapping[str, int], **options: str) -> Any:
    from maskwright.server.platforms import installed_platforms

    able = {p.name: make for p in installed_platforms() if (make := getattr(p, "importer", None)) is not None}
    if name not in able and not (name == "" and len(able) == 1):
        raise InvalidInput(f"name the platform with --platform; those that import are: {', '.join(able) or 'none'}")
    return (able[name] if name else next(iter(able.values())))(settings, categories, **options)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plain(file_name: str) -> str:
    path = PurePosixPath(file_name)
    if path.is_absolute() or ".." in path.parts or "\0" in file_name:
        raise InvalidInput(f"file_name {file_name[:100]!r} must be a relative path without '..'")
    return path.as_posix()


def _named(titles: list[str]) -> str:
    more = f" and {len(titles) - _NAMED} more" if len(titles) > _NAMED else ""
    return ", ".join(titles[:_NAMED]) + more


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} images/s" if task.speed else "")

    console = Console(stderr=True)
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), Rate(), TimeLeft())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("importing", total=total)
        yield lambda: progress.advance(task)
