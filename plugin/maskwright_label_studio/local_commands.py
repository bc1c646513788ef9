"""``maskwright up`` and ``maskwright demo``: the whole thing on one machine, to work with or to look at."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import InvalidInput, Unreachable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maskwright.labels import LabelSet
    from maskwright.prompts import Box
    from maskwright.regions import Region
    from maskwright_label_studio.workbench import Workbench

PROJECT_TITLE = "Maskwright samples"
_TITLE_LENGTH = 50
_PICTURES = ("*.png", "*.jpg", "*.jpeg", "*.webp", "*.bmp", "*.tif", "*.tiff")

Program = Annotated[
    Path | None, typer.Option("--label-studio", help="The label-studio program, if it is not beside this environment.")
]
Model = Annotated[str | None, typer.Option("--model", help="Model URI of the backend.")]
Template = Annotated[str, typer.Option("--template", help="smart-brush, smart-polygon or smart-bitmask.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(up)
    app.command()(demo)


def up(
    label_studio: Program = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to prefer for Label Studio.")] = 8080,
    backend_port: Annotated[int, typer.Option(min=0, max=65535, help="Port to prefer for the backend.")] = 9090,
    model: Model = None,
    template: Template = "smart-brush",
    images: Annotated[Path | None, typer.Option(help="Folder of pictures to label instead of the samples.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,...", help="Classes of these pictures.")] = None,
) -> None:
    """Start Label Studio, the backend and its worker with a pre-annotated project; Ctrl-C stops all, to go on later."""
    from maskwright.settings import read_settings
    from maskwright_label_studio.workbench import Workbench

    pictures, label_set, title = _material(images, labels, template)
    bench = Workbench(
        read_settings().home / "up", executable=label_studio, label_studio_port=port, backend_port=backend_port,
        model=model, trains=True, tell=_tell,
    )  # fmt: skip
    _interrupt_once()
    try:
        with bench:
            project = bench.project(title, template, label_set)
            bench.upload(project, pictures)
            bench.connect(project)
            count = bench.preannotate(project)
            typer.echo(f"\n  {bench.project_url(project)}    {count} pictures, pre-annotated")
            typer.echo(f"  user      {bench.label_studio.username}")
            typer.echo(f"  password  {bench.label_studio.password}")
            typer.echo(f"\n  {bench.backend.url}/    what is learnt from corrections, and its levers")
            typer.echo(f"  user      {bench.backend.username}")
            typer.echo(f"  password  {bench.backend.password}")
            home, chosen = quote(str(bench.home)), f" MASKWRIGHT_MODEL={quote(model)}" if model else ""
            typer.echo(f"\nIn another terminal: MASKWRIGHT_HOME={home}{chosen} maskwright rounds list")
            typer.echo("Ctrl-C stops everything.")
            while bench.is_running:
                time.sleep(0.5)
            raise Unreachable(f"a server ended by itself; look into the logs in {bench.label_studio.data_dir.parent}")
    except KeyboardInterrupt:
        _tell("stopped; run it again to go on")


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the pictures; made if missing.")],
    label_studio: Program = None,
    model: Model = None,
    template: Template = "smart-brush",
) -> None:
    """Run the same round without a person, and leave pictures of what came back from Label Studio."""
    from maskwright.settings import read_settings
    from maskwright_label_studio.samples import SAMPLE_LABELS, sample_images
    from maskwright_label_studio.workbench import Workbench

    pictures = {path.name: path for path in sample_images()}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot make the folder {out}: {error.strerror}") from None
    with Workbench(
        read_settings().home / "demo",
        executable=label_studio,
        label_studio_port=0,
        backend_port=0,
        model=model,
        tell=_tell,
    ) as bench:  # fmt: skip
        project = bench.project(_title(PROJECT_TITLE, template), template, SAMPLE_LABELS)
        bench.upload(project, list(pictures.values()))
        connection = bench.connect(project)
        bench.preannotate(project)
        _tell("drawing what came back")
        for task, prediction in bench.predictions(project):
            name = next((n for n in pictures if str(task["data"]["image"]).endswith(f"-{n}")), None)
            if name is not None:
                _draw(bench, connection.id, task, prediction, pictures[name], out)
    _tell(f"stopped; the pictures are in {out}")


def _draw(
    bench: Workbench, connection: int, task: dict[str, Any], prediction: dict[str, Any], picture: Path, out: Path
) -> None:
    from maskwright.images import load_image
    from maskwright_label_studio.results import results_to_regions
    from maskwright_label_studio.samples import SAMPLES

    image = load_image(picture)
    found = results_to_regions(prediction["result"], source="import")
    _save(out / f"{picture.stem}-preannotated.png", image.pixels, found)
    names = ", ".join(f"{region.label} {region.score:.2f}" for region in found) or "nothing certain enough"
    typer.echo(f"  {picture.name}: {names}")
    sample = SAMPLES[picture.name]
    x, y = sample.click
    for gesture, region, frame in (
        ("click", _smart_click(sample.click, sample.label, image.size), (x - 3, y - 3, x + 3, y + 3)),
        ("box", _smart_box(sample.box, sample.label, image.size), sample.box),
    ):
        began = time.perf_counter()
        answer = bench.click(connection, int(task["id"]), region)
        seconds = time.perf_counter() - began
        masks = results_to_regions(answer["result"], source="import")
        _save(out / f"{picture.stem}-{gesture}.png", image.pixels, masks, frame)
        area = sum(item.mask.area for item in masks)
        typer.echo(f"    {gesture} on the {sample.label}: {area} pixels in {seconds:.2f} s")


def _smart_click(at: tuple[float, float], label: str, size: tuple[int, int]) -> dict[str, Any]:
    """A key point as the browser sends it: per cent of the picture."""
    height, width = size
    return {
        "id": "demo-click", "type": "keypointlabels", "from_name": "click", "to_name": "image", "origin": "manual",
        "original_width": width, "original_height": height, "image_rotation": 0, "is_positive": True,
        "value": {"x": at[0] / width * 100, "y": at[1] / height * 100, "width": 0.3, "keypointlabels": [label]},
    }  # fmt: skip


def _smart_box(box: Box, label: str, size: tuple[int, int]) -> dict[str, Any]:
    """A rectangle as the browser sends it: per cent of the picture."""
    height, width = size
    x1, y1, x2, y2 = box
    return {
        "id": "demo-box", "type": "rectanglelabels", "from_name": "box", "to_name": "image", "origin": "manual",
        "original_width": width, "original_height": height, "image_rotation": 0,
        "value": {"x": x1 / width * 100, "y": y1 / height * 100, "width": (x2 - x1) / width * 100,
                  "height": (y2 - y1) / height * 100, "rotation": 0, "rectanglelabels": [label]},
    }  # fmt: skip


def _save(path: Path, pixels: NDArray[np.uint8], regions: Sequence[Region], prompt: Box | None = None) -> None:
    import io

    from PIL import Image, ImageDraw

    from maskwright.images import draw_overlay
    from maskwright.store.artifacts import write_atomically

    picture = Image.fromarray(draw_overlay(pixels, [(r.mask, r.label, r.score) for r in regions]))
    if prompt is not None:
        ImageDraw.Draw(picture).rectangle(prompt, outline=(255, 255, 255), width=2)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _material(images: Path | None, labels: str | None, template: str) -> tuple[list[Path], LabelSet, str]:
    from maskwright.labels import LabelSet
    from maskwright_label_studio.samples import SAMPLE_LABELS, sample_images

    if images is None:
        chosen = SAMPLE_LABELS if labels is None else LabelSet.of(labels.split(","))
        return list(sample_images()), chosen, _title(PROJECT_TITLE, template)
    if labels is None:
        raise InvalidInput("say what to look for in these pictures with --labels A,B")
    found = sorted(path for pattern in _PICTURES for path in images.glob(pattern))
    if not found:
        raise InvalidInput(f"there is no picture in {images}; looked for {', '.join(_PICTURES)}")
    return found, LabelSet.of([name.strip() for name in labels.split(",")]), _title(images.resolve().name, template)


def _title(name: str, template: str) -> str:
    suffix = f" ({template})"
    return name[: _TITLE_LENGTH - len(suffix)] + suffix


def _interrupt_once() -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt once; after that, stopping is not disturbed any more."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _tell("stopping")
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _tell(words: str) -> None:
    typer.echo(f"maskwright: {words}", err=True)
