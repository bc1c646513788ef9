"""``maskwright evaluate --task panoptic``: how well pre-annotated objects and areas match those that people drew."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from maskwright.cli_images import track

if TYPE_CHECKING:
    from maskwright.learn.semantic.segments import PanopticQuality
    from maskwright.settings import Settings


def evaluate_panoptic(
    coco: Path, images: Path, settings: Settings, stuff: tuple[str, ...] | None, *, limit: int, seed: int, as_json: bool
) -> None:
    """Measure, and print.

    Args:
        coco: COCO file with the true masks and categories.
        images: Folder that its file names start from.
        settings: Name the models.
        stuff: Classes without countable objects; None = the usual ones.
        limit: Most images.
        seed: Of their choice.
        as_json: Whether to print one line of JSON.

    Raises:
        InvalidInput: If a file or an option cannot be used.
        ModelUnavailable: If a model cannot be had or loaded.
    """
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.suggestion.countable import countable_classes
    from maskwright.assist.suggestion.stager import ProjectStages
    from maskwright.assist.suggestion.values import StageOptions
    from maskwright.images import ImageLimits
    from maskwright.learn.semantic.segments import PanopticTally, segments_of, true_segments
    from maskwright.learn.semantic.truth import TrueImages

    started = time.perf_counter()
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    stages = ProjectStages(options=StageOptions(output="panoptic", stuff=stuff))
    assistant = Assistant(settings)
    try:
        with TrueImages(coco, images) as truth:
            labels, count = truth.labels, 0
            countable, unknown = countable_classes(labels.classes, stuff)
            tally = PanopticTally(len(labels))
            for one in track(list(truth.chosen(limit, seed)), "evaluating"):
                found = assistant.preannotate(one.load(limits), labels, stages=stages).regions
                tally.add(true_segments(one.regions, labels.names, countable), segments_of(found, labels.names))
                count += 1
        version = assistant.model_version(labels, stages=stages)
    finally:
        assistant.close()
    for words in unknown:
        typer.echo(f"maskwright: warning: {words}", err=True)
    quality = tally.quality()
    if as_json:
        typer.echo(json.dumps({"model": version, "images": count, **_report(quality, labels.names, countable)}))
        return
    _show(quality, labels.names, countable)
    typer.echo(f"{version}: {count} images measured, seed {seed}, {time.perf_counter() - started:.0f} s")
    typer.echo("PQ: panoptic quality, the mean IoU of the matches (SQ) times how many segments have a match (RQ);")
    typer.echo("pixels that nobody outlined count for nothing")


def _report(quality: PanopticQuality, names: tuple[str, ...], countable: list[bool]) -> dict[str, Any]:
    rows = zip(names, countable, quality.quality, quality.segmentation, quality.recognition, strict=True)
    return {
        "pq": _number(quality.mean),
        "classes": [
            {"name": name, "countable": is_thing, "pq": _number(pq), "sq": _number(sq), "rq": _number(rq)}
            for name, is_thing, pq, sq, rq in rows
        ],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _show(quality: PanopticQuality, names: tuple[str, ...], countable: list[bool]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("class")
    table.add_column("countable")
    for column in ("PQ", "SQ", "RQ"):
        table.add_column(column, justify="right")
    rows = zip(names, countable, quality.quality, quality.segmentation, quality.recognition, strict=True)
    for name, is_thing, *measures in rows:
        shown = ["-" if math.isnan(value) else f"{value:.3f}" for value in measures]
        table.add_row(name, "yes" if is_thing else "no", *shown)
    table.add_row("all", "", "-" if math.isnan(quality.mean) else f"{quality.mean:.3f}", "", "")
    Console(highlight=False).print(table)
