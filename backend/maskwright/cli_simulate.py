"""``maskwright simulate``: what the assistant saves an annotator, measured on images whose truth is known."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.cli_images import ModelOption

if TYPE_CHECKING:
    from maskwright.export.coco_in import ImportedImage
    from maskwright.labels import LabelSet
    from maskwright.settings import Settings


class Promotion(StrEnum):
    """What is served after a round."""

    GATE = "gate"
    ALWAYS = "always"


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(simulate)


def simulate(
    coco: Annotated[Path, typer.Option("--coco", metavar="FILE", help="COCO file with the true masks.")],
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder that its file names start from.")],
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of training.")] = 5,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images annotated before each.")] = 10,
    acquisition: Annotated[str, typer.Option("--acquisition", help="How they are chosen, e.g. hybrid or random.")] = (
        "hybrid"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    holdout: Annotated[
        float, typer.Option("--holdout", help="Share of the images that is only measured on, never shown.")
    ] = 0.3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    model: ModelOption = None,
    work: Annotated[
        Path | None, typer.Option("--work", metavar="DIR", help="Keep everything there, and go on with what is there.")
    ] = None,
    most_objects: Annotated[int, typer.Option("--most-objects", min=1, help="Measured on an image at most.")] = 5,
    train_seconds: Annotated[
        float | None, typer.Option("--train-seconds", min=0.1, help="Longest training of a round.")
    ] = None,
    promote: Annotated[
        Promotion, typer.Option("--promote", help="always: serve what there is not enough data to judge, too.")
    ] = Promotion.GATE,
) -> None:
    """Play an annotator who knows the truth through a project, round by round, over the real server.

    Regions with an IoU of 0.9 are accepted, others corrected click by click until they have it, or after 20 clicks.
    After each batch a round trains and is judged as in any project, by images that it holds out of those annotated:
    with few of them the verdict is "not enough data", and nothing new is served. The figures are those of the served
    model on images that the project never sees; an object that 20 clicks do not bring to IoU 0.85 counts 20.
    """
    from maskwright.server.simulation import Simulation
    from maskwright.server.simulation import simulate as run
    from maskwright.settings import read_settings

    settings = read_settings(model=model)
    listed, labels = read_images(coco, images, settings)
    pool, test = _parts(listed, holdout, seed)
    simulation = Simulation(
        images, pool, test, labels, rounds, batch, acquisition, seed, promote.value, most_objects, seed, train_seconds
    )
    with ExitStack() as stack:
        folder = work if work is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        told = (lambda text: None) if as_json else (lambda text: typer.echo(text, err=True))
        played = []
        for record in run(simulation, settings, folder, told):
            played.append(record)
            if not as_json:
                typer.echo(_line(record))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "model": settings.model, "acquisition": acquisition, "seed": seed, "promote": promote.value,
                    "pool_images": len(pool), "test_images": len(test), "rounds": played,
                }
            )
        )  # fmt: skip


def read_images(coco: Path, folder: Path, settings: Settings) -> tuple[list[ImportedImage], LabelSet]:
    """The images of a COCO file that are in a folder, with their regions, and the classes.

    Raises:
        InvalidInput: If file or folder cannot be used, or an image is missing.
    """
    from maskwright.errors import InvalidInput
    from maskwright.export.coco_in import CocoReader
    from maskwright.export.image_folder import ImageFolder
    from maskwright.images import ImageLimits
    from maskwright.labels import LabelSet

    where = ImageFolder(folder, ImageLimits(settings.max_image_bytes, settings.max_image_pixels))
    with CocoReader(coco) as reader:
        listed = [replace(one, file_name=where.path_of(one.file_name)) for one in reader.images(where.size_of)]
        labels = LabelSet.of(list(reader.categories))
    if problems := [*(f"there is no file {name}" for name in where.missing), *where.unreadable]:
        raise InvalidInput(f"{len(problems)} images cannot be used: {problems[0]}")
    return listed, labels


def _parts(
    listed: Sequence[ImportedImage], holdout: float, seed: int
) -> tuple[list[ImportedImage], list[ImportedImage]]:
    from maskwright.learn.simulate.figures import hold_out

    held = hold_out([image.file_name for image in listed], holdout, seed)
    return [one for one in listed if one.file_name not in held], [one for one in listed if one.file_name in held]


def _line(record: dict[str, Any]) -> str:
    labour = record["annotator"]
    done = f"annotated at {labour['clicks_per_object']:.2f} clicks an object, " if labour["objects"] else ""
    accepted = f"{labour['accepted_share']:.0%} accepted; " if labour["objects"] else ""
    verdict = f"{record['verdict']} ({record['reason']})" if record["verdict"] else "before learning"
    return (
        f"round {record['round']}, {record['images_labelled']} images: {record['clicks_per_object']:.2f} clicks an "
        f"object to IoU 0.85, IoU {record['iou_1']:.3f} at 1 click, {record['iou_box']:.3f} with a box; "
        f"{done}{accepted}{record['seconds']:.0f} s; {verdict}"
    )
