"""``maskwright rounds``: what a project has learnt, what it serves, and how it learns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from maskwright.learn.rounds.workshop import Workshop
    from maskwright.store.corrections import CorrectionsStore
    from maskwright.store.records import ProjectRow
    from maskwright.store.rounds import Round
    from maskwright.store.served import Served

app = typer.Typer(help="Training rounds of a project: list, show, promote, roll back, cancel.", no_args_is_help=True)

Project = Annotated[
    int | None, typer.Option("--project", help="The platform's number of the project; may be left out if it is alone.")
]
Server = Annotated[str, typer.Option("--server", help="Address of its server, if the store knows several.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Number = Annotated[int, typer.Argument(metavar="ROUND", help="Number of the round in its project.")]
_BRIEF = (
    "number", "state", "trigger", "base", "adapter", "classes", "attempts", "created_at", "started_at", "finished_at",
    "reason", "progress",
)  # fmt: skip
STAGES = {
    "data": "reading corrections",
    "training": "training",
    "classes": "learning classes",
    "evaluating": "evaluating",
    "gallery": "drawing pictures",
}
"""What a stage of ``Round.progress`` is called."""


class _NothingKnown(NotFound):
    """The store knows no project at all."""


def register(root: typer.Typer) -> None:
    """Add this module's commands to ``root``."""
    root.add_typer(app, name="rounds")


@contextmanager
def opened(number: int | None, server: str) -> Iterator[tuple[Workshop, ProjectRow]]:
    """A workshop over the store, and the project that is meant.

    Raises:
        NotFound: If the store does not know it.
        InvalidInput: If several are meant.
    """
    from maskwright.server.workshops import open_workshop
    from maskwright.settings import read_settings
    from maskwright.store.corrections import open_store

    settings = read_settings()
    store = open_store(settings.home, settings.database_url.get_secret_value())
    try:
        yield open_workshop(settings, store), _project(store, number, server)
    finally:
        store.close()


def _project(store: CorrectionsStore, number: int | None, server: str) -> ProjectRow:
    wanted = server.rstrip("/")
    known = [row for row in store.projects() if wanted in ("", row.server.rstrip("/"))]
    found = [row for row in known if number in (None, row.number)]
    if len(found) == 1:
        return found[0]
    if found:
        told = ", ".join(f"{row.number} at {row.server}" for row in found[:10])
        raise InvalidInput(f"the store knows several such projects: name one with --project and --server ({told})")
    which = "no project" if number is None else f"no project {number}"
    kind = _NothingKnown if number is None and not server else NotFound
    raise kind(f"the store knows {which}{' of ' + server if server else ''}; run `maskwright sync` first")


@app.command("list")
def list_(project: Project = None, server: Server = "", as_json: AsJson = False) -> None:
    """List the rounds of a project, the newest first, and what it serves."""
    try:
        with opened(project, server) as (workshop, row):
            found = workshop.rounds.list(row.id)
            served = workshop.served.current(row.id, workshop.base(row))
    except _NothingKnown:
        if as_json:
            typer.echo(json.dumps({"project": None, "served": None, "rounds": []}))
        else:
            typer.echo("there is no round yet, and no project: the first correction or `maskwright sync` brings one")
        return
    if as_json:
        rounds = [brief(one) for one in found]
        typer.echo(json.dumps({"project": row.number, "served": _version(served), "rounds": rounds}))
        return
    for one in found:
        mark = "  serves" if served is not None and served.round_number == one.number else ""
        typer.echo(f"{one.number:4}  {one.created_at[:16]}  {one.state:15}  {_gain(one):>18}  {one.trigger}{mark}")
    if not found:
        typer.echo("there is no round yet; `maskwright train` runs one")
    typer.echo(f"served: {workshop.base(row) if served is None else served.uri}")


@app.command()
def show(number: _Number, project: Project = None, server: Server = "", as_json: AsJson = False) -> None:
    """Show a round with what it measured and why it ended as it did."""
    with opened(project, server) as (workshop, row):
        one = workshop.rounds.get(row.id, number)
        folder = workshop.folder(row.id, number)
    if as_json:
        typer.echo(json.dumps({**asdict(one), "project": row.number}))
        return
    typer.echo(f"round {one.number} of project {row.number}: {one.state} ({one.trigger})")
    for name in ("base", "adapter", "classes", "snapshot", "created_at", "started_at", "finished_at", "reason"):
        if getattr(one, name):
            typer.echo(f"  {name:12} {getattr(one, name)}")
    if one.state.is_active and one.progress:
        typer.echo(f"  {'now':12} {sentence(one.progress)}")
    images, objects = one.metrics.get("images") or {}, one.metrics.get("objects") or {}
    for part in ("training", "held_out"):
        if part in images:
            typer.echo(f"  {part:12} {images[part]} images, {objects.get(part, 0)} objects")
    for row_ in one.metrics.get("by_prompt") or ():
        name = {"box": "box", "1": "1 click"}.get(row_["name"], f"{row_['name']} clicks")
        typer.echo(f"  {name:12} IoU {row_['served']:.4f} -> {row_['candidate']:.4f}")
    for problem in one.metrics.get("problems") or ():
        typer.echo(f"  problem      {problem}")
    if one.metrics.get("gallery"):
        typer.echo(f"  pictures     {folder}")


@app.command()
def promote(
    number: _Number,
    project: Project = None,
    server: Server = "",
    force: Annotated[bool, typer.Option("--force", help="Also if the gate did not let it through.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve what a round has learnt, from the next click on."""
    from maskwright.learn.rounds.by_hand import promote_by_hand

    with opened(project, server) as (workshop, row):
        served = promote_by_hand(workshop.store, workshop.settings.home, row.id, number, force=force)
    _tell(served, row, as_json)


@app.command()
def rollback(project: Project = None, server: Server = "", as_json: AsJson = False) -> None:
    """Serve the version before the present one again, from the next click on."""
    with opened(project, server) as (workshop, row):
        served = workshop.served.rollback(row.id, workshop.base(row))
    _tell(served, row, as_json)


@app.command()
def cancel(number: _Number, project: Project = None, server: Server = "", as_json: AsJson = False) -> None:
    """Cancel a round; one that is running stops within seconds."""
    with opened(project, server) as (workshop, row):
        one = workshop.rounds.cancel(row.id, number)
    if as_json:
        typer.echo(json.dumps(brief(one)))
    else:
        typer.echo(f"round {number} is {one.state if not one.state.is_active else 'asked to stop'}")


@app.command()
def settings(
    project: Project = None,
    server: Server = "",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting. Repeat.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a project learns, or change it."""
    from maskwright.learn.settings import LearningSettings, changed_settings, read_learning, write_learning

    told = dict(_assignment(text) for text in assignments or ())
    with opened(project, server) as (workshop, row):
        found = read_learning(workshop.notes, row.id)
        if told:
            found = changed_settings(found, told)
            write_learning(workshop.notes, row.id, found)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
        return
    for name, field in LearningSettings.model_fields.items():
        typer.echo(f"{name:22} {json.dumps(getattr(found, name)):18} {field.description}")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--set {text!r}: write NAME=VALUE, e.g. corrections_per_round=20")
    return name.strip(), value.strip()


def brief(one: Round) -> dict[str, Any]:
    """A round as JSON values, without its report."""
    return {name: getattr(one, name) for name in _BRIEF} | {"gain": one.metrics.get("gain")}


def sentence(progress: dict[str, Any]) -> str:
    """How far a round is, of ``Round.progress``."""
    text = STAGES.get(progress["stage"], str(progress["stage"]))
    if progress.get("of"):
        text += f" {progress.get('done', 0)}/{progress['of']}"
    if progress.get("epoch") is not None:
        text += f", epoch {progress['epoch']}, loss {progress['loss']:.4f}"
    if progress.get("validation_iou") is not None:
        text += f", IoU {progress['validation_iou']:.3f}"
    if progress.get("seconds_left") is not None:
        text += f", {progress['seconds_left']:.0f} s left"
    return text


def _gain(one: Round) -> str:
    gain = one.metrics.get("gain")
    return "" if not gain else f"{gain['mean']:+.4f} IoU"


def _version(served: Served | None) -> dict[str, Any] | None:
    return None if served is None else {**asdict(served), "uri": served.uri}


def _tell(served: Served, row: ProjectRow, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_version(served)))
    else:
        typer.echo(f"project {row.number} serves {served.uri} ({served.reason})")
