"""What ``maskwright export`` shows while it works and when it is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from maskwright.export.report import ExportReport

_INTERRUPTED = 130
_SHOWN = 5


def tell(report: ExportReport, out: Path) -> None:
    """Print what was written, and loudly what was not."""
    tally = report.tally
    typer.echo(
        f"{tally.images:,} images with {tally.regions:,} regions of {len(tally.classes):,} classes, "
        f"from {tally.tasks:,} tasks, written to {out / report.index} in {report.seconds:.1f} s"
        + (f" ({report.resumed_tasks:,} tasks were done before)" if report.resumed_tasks else "")
    )
    for reason, count in sorted(tally.left_out.items()):
        typer.echo(f"maskwright: {count:,} images left out: {reason}", err=True)
    if tally.missing_images:
        first = f"; the first: {tally.first_missing}" if tally.first_missing else ""
        typer.echo(f"maskwright: the files of {tally.missing_images:,} images could not be had{first}", err=True)
    for name, figures in sorted(tally.classes.items()):
        for reason, (regions, pixels) in sorted(figures.losses.items()):
            typer.echo(f"maskwright: {name}: {pixels:,} pixels of {regions:,} regions wrong ({reason})", err=True)
    for problem in tally.problems[:_SHOWN]:
        typer.echo(f"maskwright: {problem}", err=True)
    if tally.problem_count > _SHOWN:
        typer.echo(f"maskwright: ... and {tally.problem_count - _SHOWN:,} more problems; see the card", err=True)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the export cleanly."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("maskwright: stopped; run the same command again to go on", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; none where that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("exporting"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[tasks]:,} tasks"),
        TextColumn("{task.fields[rate]:,.0f}/s"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("exporting", total=total, tasks=0, rate=0.0)

        def advance(tasks: int, done: int) -> None:
            seconds = progress.tasks[0].elapsed or 0.0
            progress.update(bar, completed=done, tasks=tasks, rate=tasks / seconds if seconds else 0.0)

        yield advance


@contextmanager
def looking_bar() -> Iterator[Callable[[int, int], None]]:
    """How many images were looked at, on standard error; nothing where that is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("comparing images"), SpinnerColumn(), TextColumn("{task.completed:,.0f}{task.fields[missing]}"),
        TextColumn("{task.fields[rate]:,.0f}/s"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("comparing", total=None, missing="", rate=0.0)

        def advance(images: int, missing: int) -> None:
            seconds = progress.tasks[0].elapsed or 0.0
            told = f" ({missing:,} could not be had)" if missing else ""
            progress.update(bar, completed=images, missing=told, rate=images / seconds if seconds else 0.0)

        yield advance
