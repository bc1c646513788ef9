"""``maskwright queue``: which tasks of a project come next, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore
    from maskwright.store.priorities import Priority
    from maskwright_label_studio.projects import Project


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(queue)


def queue(
    project: Annotated[int, typer.Option("--project", min=1, help="Number of the project in Label Studio.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="First measure, order and predict what waits, here and now.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Most tasks to show; 0 shows all.", min=0)] = 20,
) -> None:
    """Show the tasks of a project in the order in which they are to be labelled, with what the order comes from.

    The lowest score is next; a task without one waits to be predicted. The server keeps the queue of a project up to
    date once it has trained a first round; --refresh makes one at any time.
    """
    from maskwright.settings import read_settings
    from maskwright.store.corrections import open_store
    from maskwright.store.priorities import PriorityStore

    settings = read_settings()
    store = open_store(settings.home, settings.database_url.get_secret_value())
    try:
        known = _known(settings, project)
        if refresh:
            _refresh(settings, known)
        row = _row(settings, store, known, project)
        rows = PriorityStore(store.database).list(row, limit or None)
    finally:
        store.close()
    if as_json:
        typer.echo(_json(rows))
        return
    if not rows:
        typer.echo("nothing is ordered yet; --refresh does it now")
    for place, one in enumerate(rows, 1):
        signals = "  ".join(f"{name} {value:.3f}" for name, value in sorted(one.signals.items()))
        score = "waits " if one.score is None else f"{one.score:.4f}"
        typer.echo(f"{place:>4}  task {one.task_number:<8} {score}  {signals}")


def _known(settings: Settings, number: int) -> Project | None:
    from maskwright_label_studio.projects import PROJECTS_FILE, ProjectMemory

    return next(reversed(ProjectMemory(settings.home / PROJECTS_FILE).of_number(number)), None)


def _row(settings: Settings, store: CorrectionsStore, known: Project | None, number: int) -> int:
    from maskwright_label_studio.webhook import PLATFORM_NAME

    server = settings.label_studio_url.rstrip("/") or (known.hostname.rstrip("/") if known is not None else "")
    row = store.find_project(PLATFORM_NAME, server, number)
    if row is None:
        raise NotFound(f"the store does not know project {number} of {server or 'any server'}; run 'maskwright sync'")
    return row.id


def _refresh(settings: Settings, project: Project | None) -> None:
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.jobs import BackgroundJobs
    from maskwright.assist.services import Services
    from maskwright_label_studio.refresh import refresher

    if project is None:
        raise InvalidInput("that project is not connected to this backend: run 'maskwright connect' first")
    services = Services(settings, Assistant(settings), BackgroundJobs(), lambda stage, seconds: None)
    try:
        report = refresher(services).refresh(project, automatic=False)
    finally:
        services.assistant.close()
        services.store.close()
    if report is None:
        raise InvalidInput(
            "its queue cannot be refreshed: pre-annotation is off, it has no labels, or no key reaches Label Studio"
        )
    typer.echo(
        f"{report.waiting} tasks wait; {report.measured} were measured, {report.stored} predictions stored, "
        f"{report.rescored} scores changed",
        err=True,
    )
    if not report.follows and report.scores:
        typer.echo("note: the project shows other predictions than this model's, so its order is another", err=True)


def _json(rows: Any) -> str:
    import orjson

    def entry(place: int, one: Priority) -> dict[str, Any]:
        return {
            "place": place,
            "task": one.task_number,
            "score": one.score,
            "signals": one.signals,
            "effort": one.effort,
            "model_version": one.model_version,
            "updated_at": one.updated_at,
        }

    found = [entry(place, one) for place, one in enumerate(rows, 1)]
    return orjson.dumps({"tasks": found}, option=orjson.OPT_INDENT_2).decode()
