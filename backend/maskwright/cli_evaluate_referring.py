"""``maskwright evaluate --task referring``: how well phrases find what people say that they mean."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from maskwright.cli_images import locate, track
from maskwright.errors import MaskwrightError

if TYPE_CHECKING:
    from maskwright.settings import Settings

_MOST_REASONS = 10


def evaluate_referring(coco: Path, images: Path, settings: Settings, *, limit: int, seed: int, as_json: bool) -> None:
    """Measure, and print.

    Args:
        coco: COCO file whose annotations carry phrases; see ``learn.semantic.phrases``.
        images: Folder that its file names start from.
        settings: Name the models; phrases go the way that they go for annotators.
        limit: Most phrases.
        seed: Of their choice.
        as_json: Whether to print one line of JSON.

    Raises:
        InvalidInput: If a file cannot be used, an image is too large to be searched by a phrase alone, or a phrase is
            too long.
        ModelUnavailable: If a model cannot be had or loaded.
    """
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.finding import Wanted
    from maskwright.images import ImageLimits
    from maskwright.labels import LabelSet
    from maskwright.learn.coco_objects import load_pixels
    from maskwright.learn.semantic.phrases import true_phrases
    from maskwright.learn.semantic.segments import referring_quality
    from maskwright.masks import Mask

    started = time.perf_counter()
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    chosen = true_phrases(coco, limit, seed)
    files = [(locate(images, name, phrases), phrases) for name, phrases in chosen.items()]
    pairs: list[tuple[Mask, Mask]] = []
    reasons: dict[str, None] = {}
    assistant = Assistant(settings)
    try:
        for path, phrases in track(files, "evaluating"):
            image = load_pixels(path, phrases, limits)
            for one in phrases:
                try:
                    found = assistant.finding.by_words(image, [Wanted(one.phrase, "")])
                except MaskwrightError as error:
                    raise type(error)(f"{one.title}, {one.phrase!r}: {error}") from error
                reasons |= dict.fromkeys(found.reasons)
                pairs.append((one.mask, Mask.empty(image.size).union(*(region.mask for region in found.regions))))
        version = assistant.model_version(LabelSet(()))
    finally:
        assistant.close()
    for words in list(reasons)[:_MOST_REASONS]:
        typer.echo(f"maskwright: {words}", err=True)
    if len(reasons) > _MOST_REASONS:
        typer.echo(f"maskwright: and {len(reasons) - _MOST_REASONS} more phrases were not answered in full", err=True)
    measured = {name: None if math.isnan(value) else value for name, value in vars(referring_quality(pairs)).items()}
    if as_json:
        rounded = {name: None if value is None else round(value, 6) for name, value in measured.items()}
        typer.echo(json.dumps({"model": version, "phrases": len(pairs), **rounded}))
        return
    titles = ("cIoU", "gIoU", "precision@.5", "nothing where nothing is meant (N-acc)")
    for title, value in zip(titles, measured.values(), strict=True):
        typer.echo(f"{title:<40}{'-' if value is None else f'{value:.3f}'}")
    seconds = time.perf_counter() - started
    typer.echo(f"{version}: {len(pairs)} phrases in {len(files)} images, seed {seed}, {seconds:.0f} s")
    typer.echo("cIoU: intersections summed over unions summed; gIoU: mean of the IoUs; precision@.5: share of IoUs")
    typer.echo("above .5; nothing found where nothing is meant counts 1")
