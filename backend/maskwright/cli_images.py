"""Commands that work on image files: predict, preannotate, precompute."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from maskwright.errors import InvalidInput, MaskwrightError

if TYPE_CHECKING:
    from maskwright.assist.preannotate import Preannotation
    from maskwright.images import Image
    from maskwright.labels import LabelSet
    from maskwright.prompts import Box
    from maskwright.settings import Settings

    Item = tuple[str, tuple[int, int], Preannotation]

T = TypeVar("T")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})

ModelOption = Annotated[str | None, typer.Option("--model", help="Model URI, e.g. embedded or sam:<hub id or folder>.")]


class Format(StrEnum):
    """File formats of ``preannotate``."""

    COCO = "coco"
    LABEL_STUDIO = "label-studio"


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(predict)
    app.command()(preannotate)


def predict(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")],
    point: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="X,Y,1|0", help="A click: 1 on the object, 0 off it; repeat."),
    ] = None,
    box: Annotated[str | None, typer.Option("--box", metavar="X1,Y1,X2,Y2", help="A box around the object.")] = None,
    model: ModelOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the mask here: PNG, one channel, 0 or 255.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Segment one object. Coordinates are pixels of the image as displayed (EXIF orientation applied)."""
    from maskwright.assist.assistant import Assistant
    from maskwright.prompts import Prompt
    from maskwright.settings import read_settings

    prompt = Prompt.from_points([_point(text) for text in point or []], _box(box) if box else None)
    if prompt.is_empty:
        raise InvalidInput("say what to segment with --point X,Y,1 or --box X1,Y1,X2,Y2")
    settings = read_settings(model=model)
    loaded = _load(image, settings)
    _check_inside(prompt.point_coords.tolist(), loaded.size)
    assistant = Assistant(settings)
    try:
        answer = assistant.answer(loaded, prompt)
    finally:
        assistant.close()
    if out is not None:
        _write_mask(out, answer.mask.to_array())
    report = {
        "score": round(float(answer.score), 6),
        "box": [float(v) for v in answer.mask.box],
        "area": int(answer.mask.area),
        "model_version": answer.model_version,
        "size": list(answer.mask.size),
        "out": str(out) if out is not None else None,
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    typer.echo(f"score         {report['score']:.3f}")
    typer.echo("box           " + ",".join(f"{v:g}" for v in answer.mask.box) + "  (x1,y1,x2,y2)")
    typer.echo(f"area          {report['area']} pixels")
    typer.echo(f"model version {report['model_version']}")


def preannotate(
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder of images, with its subfolders.")],
    labels: Annotated[str, typer.Option("--labels", metavar="A,B,...", help="Classes to look for.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    form: Annotated[Format, typer.Option("--format", help="Format of the file.")] = Format.COCO,
    model: ModelOption = None,
    score_threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Least score of a region.")] = None,
    min_area: Annotated[int | None, typer.Option(min=0, help="Least area of a region in pixels.")] = None,
    max_regions: Annotated[int | None, typer.Option(min=0, help="Most regions per image.")] = None,
) -> None:
    """Outline and name the objects of every image in a folder. Fails if an image could not be read."""
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.preannotate import PreannotationOptions
    from maskwright.labels import LabelSet
    from maskwright.settings import read_settings

    label_set = LabelSet.of([name.strip() for name in labels.split(",")])
    chosen = {"score_threshold": score_threshold, "min_area": min_area, "max_regions": max_regions}
    options = PreannotationOptions(**{k: v for k, v in chosen.items() if v is not None})  # type: ignore[arg-type]
    settings = read_settings(model=model)
    paths = image_files(images)
    failures: list[str] = []

    def results() -> Iterator[Item]:
        for path in track(paths, "pre-annotating"):
            name = path.relative_to(images).as_posix()
            try:
                image = _load(path, settings)
            except MaskwrightError as error:
                failures.append(f"{name}: {error}")
                continue
            yield name, image.size, assistant.preannotate(image, label_set, options)

    assistant = Assistant(settings)
    try:
        _WRITERS[form](out, label_set, results())
    finally:
        assistant.close()
    for failure in failures:
        typer.echo(f"maskwright: {failure}", err=True)
    typer.echo(f"{len(paths) - len(failures)} of {len(paths)} images pre-annotated, written to {out}")
    if failures:
        raise typer.Exit(1)


def image_files(folder: Path) -> list[Path]:
    """The image files below ``folder``, sorted by path; hidden files and folders are left out.

    Raises:
        InvalidInput: If there is no such folder or no image in it.
    """
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise InvalidInput(f"there is no image in {folder}; looked for {', '.join(sorted(SUFFIXES))}")
    return found


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """``items`` one by one under a progress bar on standard error; no bar where that is not a terminal."""
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    return bar(items, what, console=console, disable=not console.is_terminal)


def _write_coco(out: Path, labels: LabelSet, items: Iterator[Item]) -> None:
    from maskwright.export.coco import CocoWriter

    with CocoWriter(out, labels, "Pre-annotations by Maskwright; not reviewed by a person.") as writer:
        for name, size, found in items:
            writer.add(name, size, found.regions)


def _write_label_studio(out: Path, labels: LabelSet, items: Iterator[Item]) -> None:
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


_WRITERS = MappingProxyType({Format.COCO: _write_coco, Format.LABEL_STUDIO: _write_label_studio})


def _numbers(text: str, count: int, option: str, form: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise InvalidInput(f"{option} {text!r} is not of the form {form}")
    return values


def _point(text: str) -> tuple[float, float, int]:
    x, y, label = _numbers(text, 3, "--point", "X,Y,1 or X,Y,0")
    if label not in (0, 1):
        raise InvalidInput(f"--point {text!r} ends in neither 1 (on the object) nor 0 (not on it)")
    return x, y, int(label)


def _box(text: str) -> Box:
    x1, y1, x2, y2 = _numbers(text, 4, "--box", "X1,Y1,X2,Y2")
    return x1, y1, x2, y2


def _check_inside(points: list[list[float]], size: tuple[int, int]) -> None:
    height, width = size
    for x, y in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise InvalidInput(f"the point {x:g},{y:g} lies outside the image, which is {width} x {height} pixels")


def _load(path: Path, settings: Settings) -> Image:
    from maskwright.images import ImageLimits, load_image

    if not path.is_file():
        raise InvalidInput(f"there is no image file {path}")
    return load_image(path, limits=ImageLimits(settings.max_image_bytes, settings.max_image_pixels))


def _write_mask(path: Path, mask: object) -> None:
    import io

    import numpy as np
    from PIL import Image as Pillow

    from maskwright.store.artifacts import write_atomically

    buffer = io.BytesIO()
    Pillow.fromarray(np.asarray(mask).astype(np.uint8) * 255, mode="L").save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
