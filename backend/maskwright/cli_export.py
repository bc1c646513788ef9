"""``maskwright export``: what people annotated, as a dataset that loaders open without a change."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from maskwright.cli_export_sources import TaskSource
    from maskwright.export.records import Dataset, Format, Split
    from maskwright.export.report import ExportReport
    from maskwright.export.selection import Selection
    from maskwright.images import ImageLimits
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore


class Segmentation(StrEnum):
    """How COCO files hold masks."""

    RLE = "rle"
    RLE_UNCOMPRESSED = "rle-uncompressed"
    POLYGON = "polygon"


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(export)


def export(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the dataset.")],
    tasks: Annotated[
        Path | None, typer.Option("--from", metavar="TASKS.json", help="JSON export of the labelling platform.")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="A project as it is now.")] = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="A snapshot of the corrections store.")] = None,
    platform: Annotated[str, typer.Option("--platform", help="Which platform, if several are installed.")] = "",
    form: Annotated[
        str, typer.Option("--format", help="coco, panoptic, stuff, yolo, voc, png, parquet, label-studio or text.")
    ] = "coco",
    segmentation: Annotated[
        Segmentation, typer.Option("--segmentation", help="How COCO holds masks.")
    ] = Segmentation.RLE,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Pixels by which polygons may be simplified; 0 loses nothing.")
    ] = 0.0,
    stuff: Annotated[
        list[str] | None,
        typer.Option("--stuff", metavar="NAME", help="Class without countable objects, for --format panoptic."),
    ] = None,
    grid: Annotated[int, typer.Option("--grid", min=2, max=128, help="Side of the grid of --format text.")] = 16,
    consensus: Annotated[
        str | None,
        typer.Option(
            "--consensus", help="latest, all, majority, staple or annotator:ID; the snapshot's own, or latest."
        ),
    ] = None,
    drafts: Annotated[bool, typer.Option("--include-drafts", help="Unsubmitted work counts too.")] = False,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only annotations changed since.")] = "",
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder in which image files are looked for.")
    ] = None,
    image_files: Annotated[
        bool | None,
        typer.Option(
            "--image-files/--no-image-files", help="Whether images go into the dataset; by the format if not given."
        ),
    ] = None,
    label_config: Annotated[
        Path | None, typer.Option("--label-config", metavar="FILE", help="Labelling configuration of --from.")
    ] = None,
    categories: Annotated[
        Path | None,
        typer.Option(
            "--categories", metavar="FILE", help="Class names with their ids: COCO, JSON, or a name per line."
        ),
    ] = None,
    rename: Annotated[list[str] | None, typer.Option("--rename", metavar="OLD=NEW")] = None,
    merge: Annotated[list[str] | None, typer.Option("--merge", metavar="A,B=NEW")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="NAME", help="Class to leave out.")] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="RULE", help="Such as train=0.8,val=0.1,test=0.1,seed=0.")
    ] = "",
    split_by: Annotated[
        str | None, typer.Option("--split-by", help="content (near-duplicates together), task or field:NAME.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="A sentence for the files and the card.")] = "",
    licence: Annotated[str, typer.Option("--licence", "--license", help="As it should stand in the files.")] = "",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one per core by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that no export wrote.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on with an interrupted export.")] = False,
) -> None:
    """Write a dataset, with a data card and a contact sheet.

    Ctrl-C stops it; the same command goes on where it stopped. DIR shows the dataset only when it is whole. Category
    ids stay what they were in an earlier export into DIR, or in the project's register.
    """
    from maskwright.cli_export_sources import class_ids
    from maskwright.export.label_mapping import LabelMapping
    from maskwright.export.selection import Selection
    from maskwright.export.splits import SplitRule
    from maskwright.settings import read_settings

    if not math.isfinite(tolerance):
        raise InvalidInput(f"--tolerance is {tolerance}; give a number of pixels, 0 to lose nothing")
    settings = read_settings()
    chosen = _with_stuff(find_export_format(form), stuff or ())
    mapping = LabelMapping.parse(rename or (), merge or (), exclude or ())
    rule = SplitRule.parse(split, split_by or "content") if split else None
    with _source(tasks, project, snapshot, platform, label_config, settings) as source:
        if rule is not None:
            source = replace(source, splits=None)
        # Where nothing is asked for, a snapshot says itself what should be made of it.
        before = source.selection or Selection()
        selection = Selection(
            consensus or before.consensus, before.mapping if mapping.is_empty else mapping,
            drafts or before.include_drafts, since or before.since, rule or before.split,
        )  # fmt: skip
        if images is not None:
            from maskwright.export.image_sources import FolderImages

            source = replace(source, images=FolderImages(images, settings.max_image_bytes))
        plan_parts = _Parts(source, selection, chosen, settings, out)
        ids, names = class_ids(source, selection, out, categories)
        if unknown := set(stuff or ()) - set(names):
            raise InvalidInput(f"--stuff names {sorted(unknown)[0]!r}, which is no class of the dataset")
        copies = image_files if image_files is not None else _copies_images(chosen, source, images)
        if copies and source.images is None:
            raise InvalidInput("to put image files into the dataset, say where they are: --images DIR")
        dataset = _dataset(
            {name: ids[name] for name in sorted(names, key=lambda name: ids[name])}, segmentation, tolerance,
            image_files=bool(copies), grid=grid, description=description, licence=licence,
        )  # fmt: skip
        report = plan_parts.run(dataset, ids, workers or _cores(), resume=not restart, overwrite=overwrite)
    from maskwright.cli_export_report import tell

    tell(report, out)


def find_export_format(name: str) -> Format:
    """A format of ours or of an installed platform.

    Raises:
        InvalidInput: If there is none of that name.
    """
    from maskwright.export.registry import FORMATS, find_format
    from maskwright.server.platforms import installed_platforms

    theirs: dict[str, Format] = {}
    for platform in installed_platforms():
        theirs.update(getattr(platform, "export_formats", dict)())
    if name in theirs:
        return theirs[name]
    if name not in FORMATS:
        raise InvalidInput(f"there is no format {name!r}; there are: {', '.join([*FORMATS, *theirs])}")
    return find_format(name)


@dataclass(frozen=True)
class _Parts:
    source: TaskSource
    selection: Selection
    format: Format
    settings: Settings
    out: Path

    def run(
        self, dataset: Dataset, ids: Mapping[str, int], workers: int, *, resume: bool, overwrite: bool
    ) -> ExportReport:
        from maskwright.cli_export_report import progress_bar, stopped_by_signals
        from maskwright.export.companions import Companions
        from maskwright.export.engine import run_export
        from maskwright.export.plan import Plan
        from maskwright.images import ImageLimits

        limits = ImageLimits(self.settings.max_image_bytes, self.settings.max_image_pixels)
        splits = self._splits(limits)
        plan = Plan(
            self.source.reader, self.selection, self.format, dataset, self._options(),
            splits=splits, images=self.source.images, category_ids=ids,
            companions=Companions(self.format.name, dataset, self.selection, self.source.phrase, limits),
        )  # fmt: skip
        with stopped_by_signals(), progress_bar(self.source.total_bytes) as progress:
            return run_export(
                self.source.documents, plan, self.out, workers=workers, progress=progress, resume=resume,
                overwrite=overwrite,
            )  # fmt: skip

    def _options(self) -> dict[str, Any]:
        """What the user asked for, besides what selection and dataset say."""
        stuff = sorted(getattr(self.format, "stuff", ()))
        return {"source": self.source.phrase, **({"stuff": stuff} if stuff else {})}

    def _splits(self, limits: ImageLimits) -> Mapping[str, Split] | None:
        from maskwright.cli_export_report import looking_bar
        from maskwright.export.documents import read_tasks
        from maskwright.export.grouping import share_out
        from maskwright.export.looking import ImageLook

        rule, images = self.selection.split, self.source.images
        if rule is None or rule.by != "content" or self.source.splits is not None:
            return self.source.splits
        tasks = read_tasks(self.source.documents(), self.source.reader)
        with looking_bar() as progress:
            shared = share_out(tasks, rule, None if images is None else ImageLook(images, limits), progress)
        for warning in shared.warnings:
            typer.echo(f"maskwright: {warning}", err=True)
        return shared.parts


@contextmanager
def _source(
    tasks: Path | None,
    project: str | None,
    snapshot: str | None,
    platform: str,
    config: Path | None,
    settings: Settings,
) -> Iterator[TaskSource]:
    from maskwright.cli_export_sources import of_file, of_project, of_snapshot
    from maskwright.server.platforms import exporting_platform

    if sum(value is not None for value in (tasks, project, snapshot)) != 1:
        raise InvalidInput("say what to export: one of --from TASKS.json, --project NUMBER, --snapshot NAME")
    if tasks is not None:
        yield of_file(tasks, exporting_platform(platform), config)
        return
    with _store(settings, needed=snapshot is not None) as store:
        if project is not None:
            yield of_project(project, exporting_platform(platform), settings, store)
        elif store is not None:
            yield of_snapshot(str(snapshot), store, exporting_platform(platform), settings)


@contextmanager
def _store(settings: Settings, *, needed: bool) -> Iterator[CorrectionsStore | None]:
    """The corrections store; None where there is none yet and it is not needed."""
    from maskwright.store.corrections import open_store

    url = settings.database_url.get_secret_value()
    if not (needed or url or (settings.home / "corrections.sqlite3").exists()):
        yield None
        return
    store = open_store(settings.home, url)
    try:
        yield store
    finally:
        store.close()


def _with_stuff(form: Format, names: Sequence[str]) -> Format:
    """The format with classes that have no countable objects."""
    from maskwright.export.formats.panoptic import PanopticFormat

    if not names:
        return form
    if not isinstance(form, PanopticFormat):
        raise InvalidInput(f"--stuff goes with --format panoptic, not with {form.name}")
    return cast("Format", PanopticFormat(stuff=frozenset(names)))


def _dataset(categories: Mapping[str, int], segmentation: Segmentation, tolerance: float, **options: Any) -> Dataset:
    from maskwright.export.records import Dataset

    return Dataset(categories, segmentation=segmentation.value, tolerance=tolerance, **options)


def _copies_images(form: Format, source: TaskSource, images: Path | None) -> bool:
    """Formats that are of little use without images get them where they are at hand."""
    wanted = form.wants_image and getattr(form, "copies_images", True)
    return wanted and (images is not None or source.images is not None)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
