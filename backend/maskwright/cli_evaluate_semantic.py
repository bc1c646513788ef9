"""``maskwright evaluate --task semantic``: how often pixels get the class that people gave them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from maskwright.cli_images import track
from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

    from maskwright.labels import LabelSet
    from maskwright.learn.metrics import Estimate
    from maskwright.learn.semantic.langseg import Embed, Known
    from maskwright.learn.semantic.report import SemanticReport
    from maskwright.learn.semantic.truth import TrueImage
    from maskwright.models.protocols import DenseFeatures, LanguageModel
    from maskwright.settings import Settings

EMBEDDED = "embedded"


@dataclass(frozen=True)
class SemanticChoice:
    """What the command line chose for this task.

    Attributes:
        dense: URI of dense features; None measures pre-annotations.
        descriptors: JSON file of descriptors by class.
        language: URI of a language model that is asked for descriptors.
        train_share: Share of the images to learn from; 0 = nothing is learnt.
    """

    dense: str | None
    descriptors: Path | None
    language: str | None
    train_share: float


def evaluate_semantic(
    coco: Path, images: Path, settings: Settings, choice: SemanticChoice, *, limit: int, seed: int, as_json: bool
) -> None:
    """Measure, and print.

    Args:
        coco: COCO file with the true masks and categories.
        images: Folder that its file names start from.
        settings: Name the models.
        choice: What else was chosen.
        limit: Most images.
        seed: Of their choice and of the intervals.
        as_json: Whether to print one line of JSON.

    Raises:
        InvalidInput: If a file or a combination of options cannot be used.
        ModelUnavailable: If a model cannot be had or loaded.
    """
    from maskwright.learn.semantic.truth import TrueImages

    if choice.dense is None and (choice.descriptors or choice.language or choice.train_share):
        raise InvalidInput("descriptors and learning need dense features: name them with --dense URI")
    started = time.perf_counter()
    with TrueImages(coco, images) as truth:
        chosen = list(truth.chosen(limit, seed))
        if choice.dense is None:
            version, rows = _preannotated(chosen, truth.labels, settings, seed)
        else:
            version, rows = _by_places(chosen, truth.labels, settings, choice, seed)
    if as_json:
        typer.echo(json.dumps({"model": version, "rows": {title: row.as_json() for title, row in rows.items()}}))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_summary(rows))
    first = next(iter(rows.values()))
    console.print(_by_class(first))
    measured = f"{first.images} of {len(chosen)}" if first.images < len(chosen) else f"{first.images}"
    typer.echo(f"{version}: {measured} images measured, seed {seed}, {time.perf_counter() - started:.0f} s")
    typer.echo("mIoU: over the classes, of intersections and unions summed over the images; pixels without a true")
    typer.echo("class count for nothing, pixels that were given no class are wrong; intervals are over images")


def _preannotated(
    chosen: Sequence[TrueImage], labels: LabelSet, settings: Settings, seed: int
) -> tuple[str, dict[str, SemanticReport]]:
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.suggestion.stager import NO_STAGES, ProjectStages
    from maskwright.assist.suggestion.values import StageOptions
    from maskwright.learn.semantic.label_maps import proposed_map
    from maskwright.learn.semantic.report import SemanticTally

    limits, tally = _limits(settings), SemanticTally(labels.names)
    assistant = Assistant(settings)
    stages = ProjectStages(options=StageOptions(output="semantic")) if assistant.is_staged() else NO_STAGES
    try:
        for one in track(chosen, "evaluating"):
            image = one.load(limits)
            found = assistant.preannotate(image, labels, stages=stages).regions
            tally.add(one.labels, proposed_map(found, labels.names, image.size))
        return assistant.model_version(labels, stages=stages), {"pre-annotation": tally.report(seed)}
    finally:
        assistant.close()


def _by_places(
    chosen: Sequence[TrueImage], labels: LabelSet, settings: Settings, choice: SemanticChoice, seed: int
) -> tuple[str, dict[str, SemanticReport]]:
    from maskwright.learn.semantic.langseg import compare_trained, compare_untrained
    from maskwright.models.stages import Stages

    stages, limits = Stages(settings), _limits(settings)
    dense = _dense(stages, choice.dense or EMBEDDED)
    described = _described(labels, choice, None if choice.language is None else stages.language(choice.language))

    def known(part: Sequence[TrueImage], what: str) -> Known:
        def images() -> Iterator[tuple[Any, Any]]:
            for one in track(part, what):
                yield one.load(limits).pixels, one.labels

        return images

    if not choice.train_share:
        return dense.version, compare_untrained(known(chosen, "evaluating"), dense, described, seed=seed)
    count = round(choice.train_share * len(chosen))
    if not 0 < count < len(chosen):
        raise InvalidInput(f"{choice.train_share:g} of {len(chosen)} images leave none to learn from or to measure on")
    learning, testing = known(chosen[:count], "reading"), known(chosen[count:], "evaluating")
    embed, version = _embed(dense)
    rows = compare_trained(learning, testing, dense, embed, described, seed=seed)
    return f"{dense.version} and {version}, learnt on {count}", rows


def _limits(settings: Settings) -> Any:
    from maskwright.images import ImageLimits

    return ImageLimits(settings.max_image_bytes, settings.max_image_pixels)


def _dense(stages: Any, uri: str) -> DenseFeatures:
    from maskwright.models.dense.tagger_places import TaggerPlaces
    from maskwright.models.tagger import ImageNetTagger

    found: DenseFeatures = TaggerPlaces(ImageNetTagger()) if uri == EMBEDDED else stages.dense(uri)
    return found


def _embed(dense: DenseFeatures) -> tuple[Embed, str]:
    """The features' own words, or those of the packaged encoder where they know none."""
    from maskwright.models.sentences import SentenceEncoder

    try:
        dense.text(["a picture"])
    except InvalidInput:
        encoder = SentenceEncoder()
        return encoder.embed, encoder.version
    return dense.text, "its words"


def _described(labels: LabelSet, choice: SemanticChoice, language: LanguageModel | None) -> LabelSet:
    from maskwright.models.language.descriptors import describe_classes, with_descriptors
    from maskwright.models.language.prompt_sets import PromptSet

    if choice.descriptors is not None:
        labels = with_descriptors(labels, _read_descriptors(choice.descriptors))
    if language is not None:
        described = describe_classes(labels, language, PromptSet())
        for problem in described.problems:
            typer.echo(f"maskwright: {problem}", err=True)
        labels = described.labels
    return labels


def _read_descriptors(path: Path) -> Mapping[str, Sequence[str]]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"the descriptors {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path.name} is not a JSON file: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(phrases, list) and phrases and all(isinstance(one, str) and one.strip() for one in phrases)
        for phrases in content.values()
    ):
        raise InvalidInput(f'{path.name}: write an object of lists of phrases, e.g. {{"car": ["a car with wheels"]}}')
    return content


def _summary(rows: Mapping[str, SemanticReport]) -> Table:
    from rich.table import Table

    table = Table()
    for column, side in (("", "left"), *((name, "right") for name in ("mIoU", "95 % interval", "pixel accuracy",
                         "95 % interval", "mean accuracy", "mIoU per image"))):  # fmt: skip
        table.add_column(column, justify=side, no_wrap=not column)  # type: ignore[arg-type]
    for title, row in rows.items():
        measures: list[str] = []
        for found in (row.mean_iou, row.pixel_accuracy):
            measures += [f"{found.mean:.3f}", _interval(found)]
        table.add_row(title, *measures, f"{row.confusion.mean_accuracy:.3f}", f"{row.image_mean_iou:.3f}")
    return table


def _interval(found: Estimate) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _by_class(row: SemanticReport) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column("class")
    for column in ("IoU", "recall", "share of pixels"):
        table.add_column(column, justify="right")
    pixels = row.confusion.parts[1]
    for name, iou, recall, count in zip(row.classes, row.confusion.ious, row.confusion.recalls, pixels, strict=True):
        table.add_row(name, _share(iou), _share(recall), f"{count / pixels.sum():.1%}")
    return table
