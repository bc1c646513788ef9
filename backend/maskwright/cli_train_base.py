"""``maskwright train-base``: train the embedded segmenter's weights from free data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command("train-base")(train_base)


def train_base(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run; a stopped run goes on there.")],
    variant: Annotated[
        str, typer.Option(help="What to train: embedded-no-nuclei, or embedded.")
    ] = "embedded-no-nuclei",
    steps: Annotated[int, typer.Option(min=1, help="Steps in all, those of an earlier part included.")] = 4000,
    decay: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Last share of the steps, over which rates fall.")
    ] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal weights.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of one thread; part of the recipe.")] = 2,
    minutes: Annotated[float, typer.Option(min=0.0, help="Stop in order after so long.")] = 150.0,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with nuclei/, where the variant needs it.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Begin with the weights of another run's state.pt.")
    ] = None,
) -> None:
    """Train the embedded segmenter on free pictures only; DIR/weights.safetensors is for '--model embedded:FILE'.

    The pictures come from Debian packages and Python packages, which the error names if they are missing.
    """
    from maskwright.learn.base.train import Recipe, Run, train
    from maskwright.models.embedded.weights import write_weights

    recipe = Recipe(variant=variant, steps=steps, decay=decay, seed=seed, workers=workers)
    state = train(recipe, Run(out=out, data=data, start=start, minutes=minutes))
    path = out / "weights.safetensors"
    digest = write_weights(path, state.average)
    typer.echo(f"{state.step} of {steps} steps done; {path} has SHA-256 {digest}")
    if state.step < steps:
        typer.echo("run the same command again to go on")
