"""``maskwright snapshot``: freeze the corrections of a project under a name, and look at what was frozen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from maskwright.annotated import TaskReader
    from maskwright.export.grouping import SharedOut
    from maskwright.export.selection import Selection
    from maskwright.server.platforms import Exporting
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore
    from maskwright.store.records import ProjectRow
    from maskwright.store.snapshots import Snapshot, SnapshotStore

app = typer.Typer(
    help="Freeze the corrections of a project under a name; list, show and compare.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN = 10


def register(root: typer.Typer) -> None:
    """Add this module's commands to ``root``."""
    root.add_typer(app, name="snapshot")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, dot, underscore, hyphen.")],
    project: Annotated[int, typer.Option("--project", help="The platform's number of the project.")],
    server: Annotated[str, typer.Option("--server", help="Address of its server, if the store knows several.")] = "",
    consensus: Annotated[
        str, typer.Option("--consensus", help="latest, majority, staple, all or annotator:ID.")
    ] = "latest",
    annotator: Annotated[str, typer.Option("--annotator", help="The same as --consensus annotator:ID.")] = "",
    rename: Annotated[list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="Repeat.")] = None,
    merge: Annotated[list[str] | None, typer.Option("--merge", metavar="A,B=NEW", help="Repeat.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="CLASS", help="Repeat.")] = None,
    split: Annotated[str, typer.Option("--split", help="E.g. train=0.8,val=0.1,test=0.1,seed=0.")] = "",
    split_by: Annotated[
        str, typer.Option("--split-by", help="What stays together: content (near-duplicates), task, or field:NAME.")
    ] = "content",
    since: Annotated[str, typer.Option("--since", help="Only annotations changed since this time (ISO 8601).")] = "",
    drafts: Annotated[bool, typer.Option("--drafts", help="Unsubmitted work counts too.")] = False,
    as_json: _Json = False,
) -> None:
    """Freeze what people have left on a project, as the store knows it now; run `maskwright sync` before.

    How annotations are brought together and classes renamed is kept in the snapshot and done when it is exported. The
    same corrections under the same choices have the same digest on every machine.
    """
    from maskwright.export.label_mapping import LabelMapping
    from maskwright.export.selection import Selection
    from maskwright.export.splits import SplitRule
    from maskwright.settings import read_settings
    from maskwright.store.snapshots import SnapshotStore

    if annotator and consensus != "latest":
        raise InvalidInput("give either --annotator or --consensus")
    selection = Selection(
        f"annotator:{annotator}" if annotator else consensus,
        LabelMapping.parse(rename or (), merge or (), exclude or ()),
        include_drafts=drafts,
        since=since,
        split=SplitRule.parse(split, split_by) if split else None,
    )
    settings = read_settings()
    with _store(settings) as store:
        row = _project(store, project, server)
        names, shared = _survey(store, row, selection, settings)
        selection.mapping.check(names)
        made = SnapshotStore(store.database).create(
            name,
            row.id,
            label_set=names,  # as the project has them: the mapping is applied when the snapshot is read
            selection=json.loads(selection.to_json()),
            kinds=("submitted", "skipped", "draft") if drafts else ("submitted", "skipped"),
            splits={int(task): part for task, part in shared.parts.items()} if shared is not None else None,
        )
        if row.needs_full_sync:
            _warn(f"project {project} was not read whole since the last hint; `maskwright sync` may find more")
    for warning in shared.warnings if shared is not None else ():
        _warn(warning)
    _print(made, Counter(shared.parts.values()) if shared is not None else Counter(), as_json)


@app.command("list")
def list_(
    project: Annotated[int | None, typer.Option("--project", help="Only of this project.")] = None,
    as_json: _Json = False,
) -> None:
    """List snapshots, oldest first."""
    with _snapshots() as snapshots:
        found = [one for one in snapshots.list() if project in (None, one.project.number)]
    if as_json:
        typer.echo(json.dumps([_plain(one) for one in found], ensure_ascii=False))
        return
    for one in found:
        erased = "  [parts erased]" if one.erasures else ""
        typer.echo(
            f"{one.name}  {one.created_at[:16]}  project {one.project.number}  {one.tasks} tasks  "
            f"{one.corrections} annotations  {one.digest[:12]}{erased}"
        )
    if not found:
        typer.echo("there is no snapshot yet; maskwright snapshot create NAME --project N makes one")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: _Json = False) -> None:
    """Show what a snapshot holds."""
    with _snapshots() as snapshots:
        snapshot = snapshots.get(name)
        parts = Counter(snapshots.splits(name).values())
    _print(snapshot, parts, as_json)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="OLD")],
    second: Annotated[str, typer.Argument(metavar="NEW")],
    as_json: _Json = False,
) -> None:
    """Show what changed from one snapshot to another."""
    with _snapshots() as snapshots:
        found = snapshots.diff(first, second)
        one, other = snapshots.get(first), snapshots.get(second)
    notices = [notice for notice in (one.notice, other.notice) if notice]
    lists = {
        key: list(getattr(found, key))
        for key in ("added", "removed", "changed", "corrections_added", "corrections_removed", "corrections_changed")
    }
    before, after = _labels(one), _labels(other)
    labels = {
        "labels_added": [label for label in after if label not in before],
        "labels_removed": [label for label in before if label not in after],
    }
    flags = {"label_set_changed": found.label_set_changed, "selection_changed": found.selection_changed}
    if as_json:
        typer.echo(json.dumps({**lists, **labels, **flags, "notices": notices}, ensure_ascii=False))
        return
    for title, key in (("only in " + second, "added"), ("only in " + first, "removed"), ("changed", "changed")):
        if lists[key]:
            typer.echo(f"{len(lists[key])} tasks {title}: {_some(lists[key])}")
    counts = [len(lists[f"corrections_{key}"]) for key in ("added", "removed", "changed")]
    if any(counts):
        typer.echo("annotations: {} new, {} gone, {} changed".format(*counts))
    for title, key in (("new classes", "labels_added"), ("classes gone", "labels_removed")):
        if labels[key]:
            typer.echo(f"{title}: {', '.join(labels[key])}")
    if before != after and not any(labels.values()):
        typer.echo("the classes are in another order")
    if found.selection_changed:
        typer.echo("they were chosen in different ways")
        typer.echo(f"  {first}: {json.dumps(one.selection, ensure_ascii=False, sort_keys=True)}")
        typer.echo(f"  {second}: {json.dumps(other.selection, ensure_ascii=False, sort_keys=True)}")
    for notice in notices:
        _warn(notice)
    if found.is_empty:
        typer.echo("they hold the same")


@contextmanager
def _store(settings: Settings) -> Iterator[CorrectionsStore]:
    from maskwright.store.corrections import open_store

    store = open_store(settings.home, settings.database_url.get_secret_value())
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _snapshots() -> Iterator[SnapshotStore]:
    from maskwright.settings import read_settings
    from maskwright.store.snapshots import SnapshotStore

    with _store(read_settings()) as store:
        yield SnapshotStore(store.database)


def _project(store: CorrectionsStore, number: int, server: str) -> ProjectRow:
    wanted = server.rstrip("/")
    found = [row for row in store.projects() if row.number == number and wanted in ("", row.server.rstrip("/"))]
    if not found:
        raise NotFound(
            f"the store knows no project {number}{' of ' + server if server else ''}; "
            f"run `maskwright sync --project {number}` first"
        )
    if len(found) > 1:
        raise InvalidInput(f"several servers have a project {number}: name one with --server ({_servers(found)})")
    return found[0]


def _servers(rows: list[ProjectRow]) -> str:
    return ", ".join(row.server for row in rows)


def _survey(
    store: CorrectionsStore, row: ProjectRow, selection: Selection, settings: Settings
) -> tuple[list[str], SharedOut | None]:
    """All classes of a project, those of its configuration first, and which task goes into which part."""
    from maskwright.cli_export_report import looking_bar
    from maskwright.export.grouping import share_out
    from maskwright.export.splits import CONTENT
    from maskwright.server.platforms import exporting_platform

    platform = exporting_platform(row.platform)
    reader = platform.task_reader(row.label_config or None)
    names = dict.fromkeys(platform.class_names(row.label_config) if row.label_config else ())
    documents = _noted(store.task_documents(row.id), reader, names)
    shared = None
    if selection.split is None:
        for _ in documents:
            pass
    elif selection.split.by == CONTENT:
        with _images(store, row, platform, settings) as look, looking_bar() as progress:
            shared = share_out(map(reader, documents), selection.split, look, progress)
    else:
        shared = share_out(map(reader, documents), selection.split)
    return list(names), shared


def _noted(documents: Iterator[bytes], reader: TaskReader, names: dict[str, None]) -> Iterator[bytes]:
    for document in documents:
        names.update(dict.fromkeys(reader.label_names(document)))
        yield document


def _images(store: CorrectionsStore, row: ProjectRow, platform: Exporting, settings: Settings) -> Any:
    from maskwright.export.image_memory import ImageMemory
    from maskwright.images import ImageLimits

    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    return ImageMemory(store, row.id, platform.image_fetcher(settings, str(row.number)), limits)


def _labels(snapshot: Snapshot) -> tuple[str, ...]:
    """The classes as they are in datasets made from the snapshot."""
    from maskwright.export.label_mapping import LabelMapping

    return LabelMapping.from_json(snapshot.selection.get("mapping", {})).names(snapshot.label_set)


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "digest": snapshot.digest,
        "project": snapshot.project.number,
        "server": snapshot.project.server,
        "created_at": snapshot.created_at,
        "label_set": list(_labels(snapshot)),
        "project_label_set": list(snapshot.label_set),
        "selection": snapshot.selection,
        "tasks": snapshot.tasks,
        "corrections": snapshot.corrections,
        "notice": snapshot.notice,
    }


def _print(snapshot: Snapshot, parts: Counter[str], as_json: bool) -> None:
    plain = {**_plain(snapshot), "splits": dict(sorted(parts.items()))}
    if as_json:
        typer.echo(json.dumps(plain, ensure_ascii=False))
        return
    typer.echo(f"snapshot {snapshot.name} of project {snapshot.project.number} at {snapshot.project.server}")
    typer.echo(f"  made     {snapshot.created_at}")
    typer.echo(f"  digest   {snapshot.digest}")
    typer.echo(f"  holds    {snapshot.tasks} tasks, {snapshot.corrections} annotations")
    typer.echo(f"  classes  {', '.join(_labels(snapshot)) or 'none'}")
    if parts:
        typer.echo(
            "  parts    " + ", ".join(f"{name} {parts[name]}" for name in ("train", "val", "test") if parts[name])
        )
    typer.echo(f"  choice   {json.dumps(snapshot.selection, ensure_ascii=False, sort_keys=True)}")
    if snapshot.notice:
        _warn(snapshot.notice)


def _some(numbers: list[Any]) -> str:
    return ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if len(numbers) > _SHOWN else "")


def _warn(sentence: str) -> None:
    typer.echo(f"maskwright: {sentence}", err=True)
