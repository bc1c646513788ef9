"""``maskwright preannotate``: a folder of images to regions with classes, and to pictures of where classes are."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli_images import ModelOption, image_files, read_image, told_once, track
from maskwright.errors import InvalidInput, MaskwrightError

if TYPE_CHECKING:
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.preannotate import Preannotation
    from maskwright.export import records as export
    from maskwright.images import Image
    from maskwright.labels import LabelSet

    Item = tuple[str, tuple[int, int], Preannotation]

_DESCRIPTION = "Pre-annotations by Maskwright; not reviewed by a person."
_LONGEST_NAME = 100


class Format(StrEnum):
    """File formats: the first and the last are a file, the others a folder."""

    COCO = "coco"
    PANOPTIC = "panoptic"
    PNG = "png"
    LABEL_STUDIO = "label-studio"


class Task(StrEnum):
    """What regions mean; see ``OutputKind``."""

    REGIONS = "regions"
    INSTANCE = "instance"
    SEMANTIC = "semantic"
    PANOPTIC = "panoptic"


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(preannotate)


def preannotate(
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder of images, with its subfolders.")],
    labels: Annotated[str, typer.Option("--labels", metavar="A,B,...", help="Classes to look for.")],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="File to write; a folder for panoptic and png.")],
    form: Annotated[Format, typer.Option("--format", help="Format of the file or folder.")] = Format.COCO,
    task: Annotated[
        Task, typer.Option("--task", help="Regions as found, objects alone, areas of classes, or objects and areas.")
    ] = Task.REGIONS,
    stuff: Annotated[
        str | None,
        typer.Option("--stuff", metavar="A,B,...", help="Classes whose objects nobody counts; else the usual ones."),
    ] = None,
    heat_maps: Annotated[
        Path | None,
        typer.Option("--heat-maps", metavar="DIR", help="Also draw where MASKWRIGHT_DENSE sees each class."),
    ] = None,
    model: ModelOption = None,
    score_threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Least score of a region.")] = None,
    min_area: Annotated[int | None, typer.Option(min=0, help="Least area of a region in pixels.")] = None,
    max_regions: Annotated[int | None, typer.Option(min=0, help="Most regions per image.")] = None,
) -> None:
    """Outline and name the objects of every image in a folder. Fails if an image could not be read.

    Where MASKWRIGHT_TAGGER, _CAPTIONER, _LANGUAGE, _DETECTOR or _DENSE name models, these are used.
    """
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.preannotate import PreannotationOptions
    from maskwright.assist.suggestion.stager import NO_STAGES, ProjectStages
    from maskwright.assist.suggestion.values import StageOptions
    from maskwright.labels import LabelSet
    from maskwright.settings import read_settings

    label_set = LabelSet.of(_names(labels))
    areas = None if stuff is None else tuple(_names(stuff))
    if unknown := [name for name in areas or () if label_set.find(name) is None]:
        raise InvalidInput(f"--stuff names {unknown[0]!r}, which is not among --labels")
    chosen = {"score_threshold": score_threshold, "min_area": min_area, "max_regions": max_regions}
    options = PreannotationOptions(**{k: v for k, v in chosen.items() if v is not None})  # type: ignore[arg-type]
    settings = read_settings(model=model)
    if heat_maps is not None and settings.dense == "none":
        raise InvalidInput("--heat-maps needs dense features: set MASKWRIGHT_DENSE (maskwright models list shows some)")
    # Regions as found come as the settings have them; anything else is done in stages.
    staged = ProjectStages(options=StageOptions(output=task.value, stuff=areas))
    stages = NO_STAGES if task is Task.REGIONS else staged
    paths = image_files(images)
    failures: list[str] = []
    problems: dict[str, int] = {}

    def results() -> Iterator[Item]:
        for path in track(paths, "pre-annotating"):
            name = path.relative_to(images).as_posix()
            try:
                image = read_image(path, settings)
            except MaskwrightError as error:
                failures.append(f"{name}: {error}")
                continue
            found = assistant.preannotate(image, label_set, options, stages=stages)
            for words in found.problems:
                problems[words] = problems.get(words, 0) + 1
            if heat_maps is not None:
                _draw_heat_maps(assistant, image, label_set, heat_maps / name)
            yield name, image.size, found

    assistant = Assistant(settings)
    try:
        with told_once():
            _WRITERS[form](out, label_set, results(), areas)
    finally:
        assistant.close()
    for words, count in problems.items():
        typer.echo(f"maskwright: warning: {words} ({count} of {len(paths)} images)", err=True)
    for failure in failures:
        typer.echo(f"maskwright: {failure}", err=True)
    typer.echo(f"{len(paths) - len(failures)} of {len(paths)} images pre-annotated, written to {out}")
    if failures:
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _draw_heat_maps(assistant: Assistant, image: Image, labels: LabelSet, folder: Path) -> None:
    """A PNG for each class: the image below where the class is seen, rather than elsewhere."""
    from PIL import Image as Pillow

    from maskwright.images.overlay import draw_heat
    from maskwright.store.artifacts import write_atomically

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot write {folder}: {error.strerror}") from None
    for number, (name, heat) in enumerate(assistant.finding.heat_maps(image, labels).items(), start=1):
        buffer = io.BytesIO()
        Pillow.fromarray(draw_heat(image.pixels, heat)).save(buffer, "PNG")
        plain = re.sub(r"[^\w-]+", "_", name)[:_LONGEST_NAME]
        write_atomically(folder / f"{number:03}-{plain}.png", buffer.getvalue())


def _write_coco(out: Path, labels: LabelSet, items: Iterator[Item], areas: tuple[str, ...] | None) -> None:
    from maskwright.export.coco import CocoWriter

    with CocoWriter(out, labels, _DESCRIPTION) as writer:
        for name, size, found in items:
            writer.add(name, size, found.regions)


def _write_panoptic(out: Path, labels: LabelSet, items: Iterator[Item], areas: tuple[str, ...] | None) -> None:
    from maskwright.assist.suggestion.countable import countable_classes
    from maskwright.export.formats.panoptic import PanopticFormat

    countable, _ = countable_classes(labels.classes, areas)
    stuff = frozenset(name for name, is_thing in zip(labels.names, countable, strict=True) if not is_thing)
    _write_folder(out, PanopticFormat(stuff), labels, items)


def _write_png(out: Path, labels: LabelSet, items: Iterator[Item], areas: tuple[str, ...] | None) -> None:
    from maskwright.export.formats.png import PngFormat

    _write_folder(out, PngFormat(), labels, items)


def _write_folder(out: Path, form: export.Format, labels: LabelSet, items: Iterator[Item]) -> None:
    from maskwright.export.image_dataset import ImageDatasetWriter

    with ImageDatasetWriter(out, form, labels, _DESCRIPTION) as writer:
        for name, size, found in items:
            writer.add(name, size, found.regions)


def _write_label_studio(out: Path, labels: LabelSet, items: Iterator[Item], areas: tuple[str, ...] | None) -> None:
    import orjson

    from maskwright.server.platforms import installed_platforms
    from maskwright.store.artifacts import write_atomically

    platform = next((p for p in installed_platforms() if p.name == Format.LABEL_STUDIO), None)
    if platform is None:
        raise InvalidInput(f"the platform {Format.LABEL_STUDIO} is not installed")
    if not out.parent.is_dir():
        raise InvalidInput(f"there is no folder {out.parent}")
    document = platform.predictions_document(items, labels)
    write_atomically(out, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2))


_WRITERS = MappingProxyType(
    {
        Format.COCO: _write_coco,
        Format.PANOPTIC: _write_panoptic,
        Format.PNG: _write_png,
        Format.LABEL_STUDIO: _write_label_studio,
    }
)
