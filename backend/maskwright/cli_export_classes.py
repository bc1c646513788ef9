"""Which classes an exported dataset has, under which ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from maskwright.cli_export_sources import TaskSource
    from maskwright.export.selection import Selection


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
    if source.registered is not None:
        known = keep_numbers(known, source.registered(names), str(out))
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
