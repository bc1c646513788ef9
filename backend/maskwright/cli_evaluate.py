"""``maskwright evaluate``: how well a segmenter does on masks that people made."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli_images import ModelOption, locate, track
from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

    from maskwright.learn.summary import Summary


class Task(StrEnum):
    """What can be evaluated."""

    INTERACTIVE = "interactive"
    SEMANTIC = "semantic"
    PANOPTIC = "panoptic"
    REFERRING = "referring"


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(evaluate)


def evaluate(
    coco: Annotated[Path, typer.Option("--coco", metavar="FILE", help="COCO file with the true masks.")],
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder that its file names start from.")],
    model: ModelOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most objects, images or phrases, by lot.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice and of the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    task: Annotated[
        Task,
        typer.Option(
            "--task", help="What to evaluate: answers to clicks and boxes, classes of pixels, objects, phrases."
        ),
    ] = Task.INTERACTIVE,
    dense: Annotated[
        str | None, typer.Option("--dense", help="Semantic: dense features by URI, in place of pre-annotations.")
    ] = None,
    descriptors: Annotated[
        Path | None, typer.Option("--descriptors", metavar="FILE", help="Semantic: JSON object of phrases by class.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Semantic: language model to ask for descriptors, by URI.")
    ] = None,
    train_share: Annotated[
        float, typer.Option("--train-share", min=0, max=0.95, help="Semantic: share of the images to learn from.")
    ] = 0.0,
    stuff: Annotated[
        str | None,
        typer.Option("--stuff", metavar="A,B,...", help="Panoptic: classes nobody counts; else the usual ones."),
    ] = None,
) -> None:
    """Measure a segmenter on true masks: with a box, and clicked on by a simulated annotator, 20 clicks at most.

    Images are encoded whole, whatever their size; intervals are 95 % bootstrap intervals over images.

    With --task semantic: mean IoU and pixel accuracy of what is pre-annotated, or of dense features that are compared
    with descriptors of the classes (LangSeg), then with and without each of its parts.

    With --task panoptic: panoptic quality of objects and areas as 'maskwright preannotate --task panoptic' finds them.

    With --task referring: cIoU, gIoU and precision@.5 of what phrases find; annotations carry them as phrase, caption
    or sentences.
    """
    if stuff is not None and task is not Task.PANOPTIC:
        raise InvalidInput("--stuff belongs to --task panoptic")
    if task is Task.SEMANTIC:
        if dense is not None and model is not None:
            raise InvalidInput(
                "--dense measures dense features, which need no segmenter: leave --model out, or leave --dense out to "
                "measure pre-annotations made with it"
            )
        from maskwright.cli_evaluate_semantic import SemanticChoice, evaluate_semantic
        from maskwright.settings import read_settings

        choice = SemanticChoice(dense, descriptors, language, train_share)
        evaluate_semantic(coco, images, read_settings(model=model), choice, limit=limit, seed=seed, as_json=as_json)
        return
    if dense or descriptors or language or train_share:
        raise InvalidInput("--dense, --descriptors, --language and --train-share belong to --task semantic")
    if task is Task.PANOPTIC:
        from maskwright.cli_evaluate_panoptic import evaluate_panoptic
        from maskwright.settings import read_settings

        areas = None if stuff is None else tuple(name.strip() for name in stuff.split(","))
        evaluate_panoptic(coco, images, read_settings(model=model), areas, limit=limit, seed=seed, as_json=as_json)
        return
    if task is Task.REFERRING:
        from maskwright.cli_evaluate_referring import evaluate_referring
        from maskwright.settings import read_settings

        evaluate_referring(coco, images, read_settings(model=model), limit=limit, seed=seed, as_json=as_json)
        return
    from maskwright.images import ImageLimits
    from maskwright.learn.coco_objects import CocoFile, load_pixels
    from maskwright.learn.interactive import MOST_CLICKS, Outcome, evaluate_image
    from maskwright.learn.summary import summarise
    from maskwright.models.registry import ModelRegistry
    from maskwright.settings import read_settings

    settings = read_settings(model=model)
    selection = CocoFile.read(coco).select(limit, seed)
    files = [(locate(images, name, objects), objects) for name, objects in selection.by_file.items()]
    segmenter = ModelRegistry(settings).segmenter()
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    outcomes: list[Outcome] = []
    owners: list[str] = []
    encode_seconds: list[float] = []
    for path, objects in track(files, "evaluating"):
        loaded = load_pixels(path, objects, limits)
        found, seconds = evaluate_image(segmenter, loaded.pixels, [one.mask for one in objects])
        outcomes += found
        owners += [str(path)] * len(found)
        encode_seconds.append(seconds)
    summary = summarise(outcomes, owners, seed)
    for title in selection.left_out:
        typer.echo(f"maskwright: {title} was left out: it holds no pixel", err=True)
    if as_json:
        typer.echo(json.dumps(summary.as_json()))
        return
    from rich.console import Console

    Console(highlight=False).print(_table(summary))
    typer.echo("sizes are COCO's: below 32 x 32, below 96 x 96, and larger, in pixels of area")
    typer.echo(f"NoC: clicks until the IoU was reached; an object that never reached it counts {MOST_CLICKS}")
    each = sum(encode_seconds) / len(encode_seconds)
    typer.echo(f"{segmenter.version}: {summary.objects} objects in {len(files)} images, seed {seed}")
    typer.echo(f"{summary.seconds_per_click:.3f} s a click, {each:.3f} s to encode an image")


def _table(summary: Summary) -> Table:
    from rich.table import Table

    from maskwright.learn.interactive import REPORTED_CLICKS, THRESHOLDS
    from maskwright.learn.summary import SIZE_CLASSES, percent

    table = Table()
    table.add_column("")
    for column in ("all", "95 % interval", *SIZE_CLASSES):
        table.add_column(column, justify="right")

    def row(title: str, measure: str, form: str) -> None:
        found = summary.estimates[measure]
        sizes = [format(summary.by_size[s][1][measure], form) if s in summary.by_size else "-" for s in SIZE_CLASSES]
        table.add_row(title, format(found.mean, form), f"{found.low:{form}} to {found.high:{form}}", *sizes)

    sizes = [str(summary.by_size[s][0]) if s in summary.by_size else "0" for s in SIZE_CLASSES]
    table.add_row("objects", str(summary.objects), "", *sizes, end_section=True)
    for name, measure in (("IoU", "iou"), ("boundary IoU", "boundary_iou")):
        row(f"{name}, box", f"{measure}_box", ".3f")
        for count in REPORTED_CLICKS:
            row(f"{name}, {count} click{'s' * (count > 1)}", f"{measure}_{count}", ".3f")
        table.add_section()
    for threshold in map(percent, THRESHOLDS):
        row(f"NoC@{threshold}", f"noc{threshold}", ".2f")
    table.add_section()
    for threshold in map(percent, THRESHOLDS):
        failed = summary.failures[threshold]
        row(f"never reached .{threshold}: {failed} of {summary.objects}", f"failed{threshold}", ".0%")
    return table
