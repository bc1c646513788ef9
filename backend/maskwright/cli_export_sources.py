"""Where ``maskwright export`` takes tasks from: a file, a live project, a snapshot; and which classes these have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import orjson
import typer

from maskwright.annotated import TaskReader
from maskwright.errors import InvalidInput
from maskwright.export.documents import Place, TaskDocument
from maskwright.export.records import Split
from maskwright.export.selection import Selection

if TYPE_CHECKING:
    from maskwright.export.image_sources import ImageFetcher
    from maskwright.server.platforms import Exporting
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore


@dataclass(frozen=True)
class TaskSource:
    """Tasks to export, which may be gone through several times.

    Attributes:
        phrase: What it is, for the card.
        documents: Gives the tasks, from the beginning.
        reader: Reads them.
        config_names: Classes of the labelling configuration in its order; empty where it is not known.
        images: Where image files come from, or None.
        splits: The part of each task by its key, where a snapshot fixed it.
        selection: What a snapshot says should be made of its tasks, or None.
        config_ids: Category ids by class name, where the labelling configuration carries them; they go before the
            register's.
        registered: Asked for the ids of class names that the project's register keeps, or None.
        can_repeat: Whether going through it twice costs little.
        total_bytes: Bytes of all documents, or None where that is not known.
    """

    phrase: str
    documents: Callable[[], Iterable[TaskDocument]]
    reader: TaskReader
    config_names: tuple[str, ...] = ()
    images: ImageFetcher | None = None
    splits: Mapping[str, Split] | None = None
    selection: Selection | None = None
    config_ids: Mapping[str, int] = field(default_factory=dict)
    registered: Callable[[Iterable[str]], Mapping[str, int]] | None = None
    can_repeat: bool = True
    total_bytes: int | None = None


def of_file(path: Path, platform: Exporting, label_config: Path | None) -> TaskSource:
    """Tasks of the platform's JSON export.

    Raises:
        InvalidInput: If a file is not there or the labelling configuration is malformed.
    """
    from maskwright.export.json_array import read_array

    if not path.is_file():
        raise InvalidInput(f"there is no file {path}; give the JSON export of {platform.name}")
    config = None if label_config is None else _text(label_config)
    return TaskSource(
        phrase=path.name,
        documents=lambda: read_array(path),
        reader=platform.task_reader(config),
        config_names=() if config is None else platform.class_names(config),
        config_ids=_config_ids(platform, config),
        total_bytes=path.stat().st_size,
    )


def of_project(
    number: str, platform: Exporting, settings: Settings, store: CorrectionsStore | None = None
) -> TaskSource:
    """Tasks of a project as they are now; the store, where there is one, knows the ids of its classes."""
    config = platform.project_config(settings, number)

    def documents() -> Iterator[TaskDocument]:
        return (TaskDocument(data, Place(name)) for data, name in platform.task_documents(settings, number))

    return TaskSource(
        phrase=f"project {number} of {platform.name}",
        documents=documents,
        reader=platform.task_reader(config),
        config_names=platform.class_names(config),
        config_ids=_config_ids(platform, config),
        images=platform.image_fetcher(settings, number),
        registered=None if store is None else _register(store, platform.name, settings.label_studio_url, number),
        can_repeat=False,
    )


def _register(
    store: CorrectionsStore, platform: str, server: str, number: str
) -> Callable[[Iterable[str]], Mapping[str, int]] | None:
    """The register of a project that the store knows."""
    for row in store.projects(platform=platform):
        if str(row.number) == number and row.server.rstrip("/") == server.rstrip("/"):
            return lambda names: store.category_ids(row.id, names)
    return None


def of_snapshot(name: str, store: CorrectionsStore, platform: Exporting, settings: Settings) -> TaskSource:
    """Tasks as they were frozen under a name.

    Raises:
        NotFound: If there is no such snapshot.
    """
    from maskwright.store.snapshots import SnapshotStore

    snapshots = SnapshotStore(store.database)
    found = snapshots.get(name)
    config = found.project.label_config

    def documents() -> Iterator[TaskDocument]:
        for position, data in enumerate(snapshots.task_documents(name), start=1):
            yield TaskDocument(data, Place(f"task {position} of snapshot {name}"))

    parts = snapshots.splits(name)
    return TaskSource(
        phrase=f"snapshot {name} ({found.digest[:12]}) of project {found.project.number}. {found.notice}".strip(". "),
        documents=documents,
        reader=platform.task_reader(config or None),
        config_names=found.label_set or (platform.class_names(config) if config else ()),
        config_ids=_config_ids(platform, config),
        images=platform.image_fetcher(settings, str(found.project.number)) if settings.label_studio_url else None,
        splits={str(task): cast("Split", part) for task, part in parts.items()} or None,
        selection=Selection.from_json(orjson.dumps(dict(found.selection))) if found.selection else None,
        registered=lambda names: store.category_ids(found.project.id, names),
    )


def class_ids(
    source: TaskSource, selection: Selection, out: Path, file: Path | None
) -> tuple[dict[str, int], list[str]]:
    """Ids that are taken, by class name, and the classes of this dataset.

    Args:
        source: The tasks, with what is known of their classes.
        selection: What becomes of the classes.
        out: Folder of the dataset: ids of an earlier export into it stay.
        file: Where a person says what ids the classes have, or None.

    Raises:
        InvalidInput: If classes are malformed, or ids of the folder and of the project's register collide.
    """
    from maskwright.export.categories import keep_numbers, number_classes, read_categories
    from maskwright.export.dataset_record import read_record

    if file is not None:
        given = read_categories(file)
        if not selection.mapping.is_empty:
            _warn_of_unknown(source, selection, _names_of(source))
        return given, list(given)
    original = _names_of(source)
    if original and not source.can_repeat:
        # The configuration need not name every class: regions keep those that were taken out of it.
        original += _warn_of_unknown(source, selection, original)
    if original:
        selection.mapping.check(original)
    names = list(selection.mapping.names(original))
    known: Mapping[str, int] = read_record(out).get("category_ids", {})
    taken = source.config_ids or (source.registered(names) if source.registered is not None else {})
    known = keep_numbers(known, taken, str(out))
    return number_classes(names, known), names


def _names_of(source: TaskSource) -> list[str]:
    """Classes of the labelling configuration and, where reading the tasks twice costs little, of the tasks."""
    from maskwright.export.categories import collect_names

    names = list(source.config_names)
    if source.can_repeat:
        found = collect_names(source.documents(), source.reader)
        names += [name for name in found if name not in names]
    return names


def _warn_of_unknown(source: TaskSource, selection: Selection, names: Collection[str]) -> list[str]:
    """Classes to rename, merge or exclude that are not among the names; the user is told of them."""
    unknown = [name for name in selection.mapping.changed if name not in names]
    where = "no task has a" if source.can_repeat else "the labelling configuration has no"
    for name in unknown:
        typer.echo(f"maskwright: warning: {where} class {name!r}, which was to change or to go", err=True)
    return unknown


def _config_ids(platform: Exporting, config: str | None) -> Mapping[str, int]:
    """Category ids that a labelling configuration carries, if the platform knows of such."""
    ids: Callable[[str], Mapping[str, int]] | None = getattr(platform, "category_ids", None)
    return ids(config) if ids is not None and config else {}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the labelling configuration {path}: {error}") from error
