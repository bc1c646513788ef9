"""The JSON files of COCO's other tasks: one for the whole dataset, and one for each of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.export.coco_document import Section, dump, image_entry, licence_entries, write_sections
from maskwright.export.formats.names import SPLITS
from maskwright.export.ids import image_id
from maskwright.export.records import Dataset, ImageRecord, Rows, Split

Edit = Callable[[bytes, Split], bytes]
"""Makes an annotation of the whole dataset's file into one of a part's file."""


def image_row(record: ImageRecord, dataset: Dataset, file_name: str) -> tuple[str, bytes]:
    """The row of an image, for ``Rendered.rows``."""
    licence = 1 if dataset.licence else None
    return "images", _mark(record.split) + dump(image_entry(image_id(record), file_name, record.size, licence))


def annotation_row(record: ImageRecord, annotation: Mapping[str, Any]) -> tuple[str, bytes]:
    """A row of ``annotations``, for ``Rendered.rows``."""
    return "annotations", _mark(record.split) + dump(annotation)


def write_parts(
    folder: Path,
    names: Callable[[Split | None], str],
    rows: Rows,
    dataset: Dataset,
    categories: Sequence[Mapping[str, Any]],
    edit: Edit = lambda row, split: row,
) -> tuple[str, ...]:
    """Write the file of the whole dataset, and one per part if it is split.

    Args:
        folder: The dataset's folder.
        names: Relative path of the file for a part, or for the whole (None).
        rows: What :func:`image_row` and :func:`annotation_row` gave.
        dataset: Description and licence.
        categories: As they stand in the file.
        edit: What an annotation looks like in the file of its part.

    Returns:
        Relative paths, that of the whole dataset last.
    """
    parts: list[Split | None] = [split for split in SPLITS if any(True for _ in _of(rows("images"), split))]
    written = []
    for split in [*parts, None]:
        path = folder / names(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sections(path, _sections(rows, split, dataset, categories, edit))
        written.append(names(split))
    return tuple(written)


def _sections(
    rows: Rows, split: Split | None, dataset: Dataset, categories: Sequence[Mapping[str, Any]], edit: Edit
) -> Iterator[Section]:
    # No time stands in it: the same tasks give the same bytes.
    yield "info", dump({"description": dataset.description} if dataset.description else {})
    yield "licenses", dump(licence_entries(dataset.licence))
    yield "categories", dump(list(categories))
    yield "images", _of(rows("images"), split)
    annotations = _of(rows("annotations"), split)
    yield "annotations", annotations if split is None else (edit(row, split) for row in annotations)


def _mark(split: Split | None) -> bytes:
    return (split or "-").encode() + b" "


def _of(rows: Iterator[bytes], split: Split | None) -> Iterator[bytes]:
    """The rows of a part, or all, without the mark in front."""
    mark = _mark(split)
    for row in rows:
        if split is None or row.startswith(mark):
            yield row[row.index(b" ") + 1 :]
