"""``maskwright predict``, and what commands on image files share."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from maskwright.errors import InvalidInput, MaskwrightError, NotFound

if TYPE_CHECKING:
    from maskwright.images import Image
    from maskwright.learn.coco_objects import CocoObject
    from maskwright.prompts import Box
    from maskwright.settings import Settings

T = TypeVar("T")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})

ModelOption = Annotated[str | None, typer.Option("--model", help="Model URI, e.g. embedded or sam:<hub id or folder>.")]


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(predict)


def predict(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")],
    point: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="X,Y,1|0", help="A click: 1 on the object, 0 off it; repeat."),
    ] = None,
    box: Annotated[str | None, typer.Option("--box", metavar="X1,Y1,X2,Y2", help="A box around the object.")] = None,
    phrase: Annotated[
        str | None, typer.Option("--phrase", metavar="TEXT", help='Words in place of clicks, such as "the left cup".')
    ] = None,
    model: ModelOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the mask here: PNG, one channel, 0 or 255.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Segment one object, or all that a phrase names. Coordinates are pixels of the image as displayed (EXIF)."""
    from maskwright.assist.assistant import Assistant
    from maskwright.prompts import Prompt
    from maskwright.settings import read_settings

    prompt = Prompt.from_points([_point(text) for text in point or []], _box(box) if box else None, phrase or None)
    if prompt.is_empty:
        raise InvalidInput("say what to segment with --point X,Y,1, --box X1,Y1,X2,Y2 or --phrase TEXT")
    settings = read_settings(model=model)
    loaded = read_image(image, settings)
    _check_inside(prompt.point_coords.tolist(), loaded.size)
    assistant = Assistant(settings)
    try:
        answer = assistant.answer(loaded, prompt)
    finally:
        assistant.close()
    if phrase and answer.mask.is_empty:
        raise NotFound(f"nothing in {image} was found that looks like {phrase!r}; show it with --point or --box")
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


def locate(folder: Path, file_name: str, objects: Sequence[CocoObject]) -> Path:
    """The file of an image.

    Args:
        folder: Where file names start.
        file_name: As the COCO file writes it.
        objects: What of it is wanted; the first is named where something is wrong.

    Raises:
        InvalidInput: If there is no such folder or file, or the name leads out of the folder.
    """
    from maskwright.learn.coco_objects import locate_image

    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}")
    try:
        return locate_image(folder, file_name)
    except MaskwrightError as error:
        raise type(error)(f"{objects[0].image.title}, of {objects[0].title}: {error}") from error


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """``items`` one by one under a progress bar on standard error; no bar where that is not a terminal."""
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    return bar(items, what, console=console, disable=not console.is_terminal)


@contextmanager
def told_once() -> Iterator[None]:
    """Keep out of the log what a command says itself, once: models that cannot be had, stages that gave nothing."""
    loggers = [logging.getLogger(name) for name in ("maskwright.models.kept", "maskwright.assist.suggestion")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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


def read_image(path: Path, settings: Settings) -> Image:
    """An image file within the limits of the settings.

    Raises:
        InvalidInput: If it is not there or cannot be read as an image.
    """
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
