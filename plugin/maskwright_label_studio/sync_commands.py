"""``maskwright sync``: make the corrections store equal to Label Studio now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.errors import InvalidInput, NotFound, Unreachable

if TYPE_CHECKING:
    from maskwright.store.corrections import CorrectionsStore
    from maskwright_label_studio.client import LabelStudioClient
    from maskwright_label_studio.missing import MissingProjects
    from maskwright_label_studio.sync import Progress, SyncReport


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(sync)


def sync(
    project: Annotated[
        int | None, typer.Option("--project", min=1, help="Number of the project; all known ones if not given.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read every task again, also those that look unchanged.")
    ] = False,
) -> None:
    """Fetch every annotation, draft and deletion of Label Studio that the corrections store does not have yet.

    Safe to interrupt and to run beside the server; the next run goes on where this one ended.
    """
    from maskwright.settings import read_settings
    from maskwright.store.corrections import open_store
    from maskwright_label_studio.client import ApiError, LabelStudioClient
    from maskwright_label_studio.missing import MISSING_FILE, MissingProjects
    from maskwright_label_studio.webhook import PLATFORM_NAME

    settings = read_settings()
    key = settings.label_studio_api_key.get_secret_value()
    server = settings.label_studio_url.rstrip("/")
    if not server or not key:
        raise InvalidInput("set MASKWRIGHT_LABEL_STUDIO_URL and MASKWRIGHT_LABEL_STUDIO_API_KEY")
    client = LabelStudioClient.of_operator(server, key)
    store = open_store(settings.home, settings.database_url.get_secret_value())
    try:
        if project is None:
            numbers = [row.number for row in store.projects(platform=PLATFORM_NAME, server=server)]
            if not numbers:
                raise InvalidInput("the store knows no project of this server yet; name one with --project NUMBER")
        else:
            numbers = [project]
        missing = MissingProjects(settings.home / MISSING_FILE)
        failed = False
        for number in numbers:
            try:
                failed |= _one(client, store, number, server, full, missing)
            except (Unreachable, NotFound, ApiError, InvalidInput) as error:
                if len(numbers) == 1:
                    raise
                typer.echo(f"maskwright: project {number}: {error}", err=True)  # the others have their turn
                failed = True
    finally:
        store.close()
    if failed:
        raise typer.Exit(1)


def _one(
    client: LabelStudioClient, store: CorrectionsStore, number: int, server: str, full: bool, missing: MissingProjects
) -> bool:
    from maskwright_label_studio.sync import ProjectMissing, synchronise

    # Who asks again after having been told that the project is missing means it.
    known_missing = missing.missing_for(server, number) is not None
    try:
        with _bar(number) as progress:
            report = synchronise(
                client, store, number, server=server, full=full, progress=progress, bury_missing=known_missing
            )
    except ProjectMissing as error:
        missing.note(server, number)
        typer.echo(f"maskwright: {error}", err=True)
        return True
    missing.forget(server, number)
    typer.echo(summary(report))
    for task, reason in report.failures:
        typer.echo(f"maskwright: project {number}, task {task}: {reason}", err=True)
    return bool(report.failures)


def summary(report: SyncReport) -> str:
    """One line for a person."""
    if report.gone:
        return f"project {report.project} is no longer there; {report.deleted} annotations are kept as deleted"
    name = f"project {report.project}" + (f" ({report.title})" if report.title else "")
    return (
        f"{name}: {report.new} new, {report.changed} changed, {report.deleted} deleted, {report.unchanged} unchanged, "
        f"{report.drafts} drafts, in {report.tasks} tasks"
    )


@contextmanager
def _bar(number: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(f"project {number}", total=None)
        yield lambda report: bar.update(shown, completed=report.tasks, total=report.total or None)
