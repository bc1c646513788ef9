"""Masks as text: a training set for language models that write semantic descriptors with row-wise run lengths.

The answers are in the form of Text4Seg (ICLR 2025, arXiv 2410.09855; :mod:`maskwright.masks.text`), the file is the
JSON of conversations that LLaVA introduced and that Text4Seg-style trainers read, one conversation to a line:
``train.jsonl``, ``val.jsonl`` and ``test.jsonl``, or ``conversations.jsonl`` where nothing is split. Images are named
by file. Questions are of three kinds, as the paper's: everything, only one class, and which of some candidates, among
them classes that the image does not show, which teaches to refuse. The wording is ours and depends on the image's key
only, so that the same input gives the same bytes. ``descriptors.json`` says how the text is to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from maskwright.export.formats.image_files import upright
from maskwright.export.formats.label_map import drawn, hidden_classes, losses, shown_of
from maskwright.export.formats.names import apart_from_files, present, section, stem
from maskwright.export.ids import image_id, stable_id
from maskwright.export.records import Dataset, ImageRecord, Rendered, Rows
from maskwright.masks.grids import (
    BACKGROUND,
    DescriptorGrid,
    Layer,
    Sampling,
    grid_of_layers,
    is_background,
    with_instances,
)
from maskwright.masks.text import escaped, to_answer

_CONVERSATIONS = "conversations"
_MOST_ABSENT = 20

_EVERYTHING = (
    "Segment every class that you see in this image.",
    "Divide this image into its classes.",
    "Which class is where in this image? Answer with a segmentation.",
    "Write the segmentation of the whole image.",
)
_EVERYTHING_ANSWERS = ("Here is the segmentation.", "These are the classes and where they are.", "This is what I see.")
_ONLY = (
    "Segment only {} in this image.",
    "Where is {} in this image? Answer with a segmentation.",
    "Mark {} and leave all else as others.",
    "Write the segmentation of {}.",
)
_ONLY_ANSWERS = ("Here is {}.", "This is the segmentation of {}.", "This is where {} is.")
_AMONG = (
    "Segment those of these classes that the image shows: {}.",
    "Which of these are in the image, and where: {}?",
    "Look for each of these and segment what is there: {}.",
)
_AMONG_ANSWERS = ("I see {}.", "The image shows {}.", "Of these there is {}.")
_NOTHING = ("The image shows none of them.", "None of these is in the image.")


@dataclass(frozen=True)
class TextFormat:
    """Writes conversations with descriptors on a grid of ``Dataset.grid`` cells a side.

    Pixels below another class are lost and counted as ``overlap``; pixels that the cells show wrongly, lost or added,
    are counted as ``grid``.

    Attributes:
        indexes: Files that every export of this format writes.
        sampling: What a cell is called after; ``nearest`` is the paper's, ``any`` keeps the smallest objects.
        instances: Whether objects of a class are told apart by ``#1``, ``#2``, which the paper does not do.
    """

    name: str = "text"
    wants_image: bool = True
    indexes: tuple[str, ...] = ("descriptors.json",)
    sampling: Sampling = "nearest"
    instances: bool = False

    def render(self, record: ImageRecord, dataset: Dataset, image: bytes | None) -> Rendered:
        """See :class:`maskwright.export.records.Format`.

        Raises:
            InvalidInput: If a mask is not of the image's size, the grid is out of bounds, or the image cannot be read.
        """
        regions, layers = drawn(record)
        labels = [region.label or "" for region in regions]
        classes = list(dict.fromkeys(labels))
        shown = {label: shown_of(layers, np.array([name == label for name in labels])) for label in classes}
        parts: list[Layer] = [(label, shown[label]) for label in classes]
        if self.instances:
            parts = with_instances(zip(labels, layers.visible, strict=True))
        grid = grid_of_layers(parts, dataset.grid, self.sampling)
        wrong = []
        for label in classes:
            cells = grid_of_classes(grid, [label]).cells > 0
            found = DescriptorGrid((BACKGROUND, "class"), cells.astype(np.int32)).mask("class", record.size)
            wrong.append((label, shown[label].area + found.area - 2 * shown[label].intersection_area(found)))
        files: tuple[tuple[str, bytes], ...] = ()
        path = record.file_name
        if image is not None:
            content, suffix = upright(record, image)
            path = f"images/{apart_from_files(stem(record))}{suffix}"
            files = ((path, content),)
        rows = tuple(
            (section(_CONVERSATIONS, record), _row(record, path, grid.side, turn) + b"\n")
            for turn in _turns(record.key, grid, [name for name in dataset.categories if not is_background(name)])
        )
        return Rendered(rows, files, hidden_classes(regions, layers) + losses("grid", wrong))

    def finish(self, folder: Path, rows: Rows, dataset: Dataset) -> tuple[str, ...]:
        """See :class:`maskwright.export.records.Format`."""
        reading = {
            "form": "row-wise",
            "grid": dataset.grid,
            "sampling": self.sampling,
            "instances": self.instances,
            "background": BACKGROUND,
            "labels": list(dataset.categories),
        }
        (folder / "descriptors.json").write_bytes(orjson.dumps(reading, option=orjson.OPT_INDENT_2) + b"\n")
        written = ["descriptors.json"]
        for split in present(_CONVERSATIONS, rows) or [None]:
            written.append(f"{split or _CONVERSATIONS}.jsonl")
            with (folder / written[-1]).open("wb") as sink:
                sink.writelines(rows(f"{_CONVERSATIONS}/{split or ''}"))
        return tuple(written)


def class_of(name: str, classes: Sequence[str]) -> str:
    """The class of a descriptor: itself, or what stands before the ``#`` of a numbered instance."""
    return name if name in classes else name.rpartition("#")[0]


def grid_of_classes(grid: DescriptorGrid, classes: Sequence[str]) -> DescriptorGrid:
    """The same grid with the cells of all other classes, and their instances, made background."""
    kept = [False, *(class_of(name, classes) in classes for name in grid.names[1:])]
    return DescriptorGrid(grid.names, np.where(np.array(kept)[grid.cells], grid.cells, 0))


@dataclass(frozen=True)
class _Turn:
    """A question with its answer."""

    kind: str
    labels: tuple[str, ...]
    question: str
    sentence: str
    grid: DescriptorGrid


def _turns(key: str, grid: DescriptorGrid, classes: Sequence[str]) -> Iterator[_Turn]:
    """The questions about one image. Classes that no cell is called after are not asked for: the text lacks them."""
    found = {class_of(name, classes) for name in grid.present}
    seen = tuple(name for name in classes if name in found)
    sentence = _pick(_EVERYTHING_ANSWERS if seen else ("The image shows no class that I know.",), key, "everything")
    yield _Turn("everything", seen, _pick(_EVERYTHING, key, "everything"), sentence, grid)
    for label in seen:
        question, answer = (_pick(texts, key, "only", label) for texts in (_ONLY, _ONLY_ANSWERS))
        yield _Turn("only", (label,), question.format(label), answer.format(label), grid_of_classes(grid, [label]))
    absent = sorted((n for n in classes if n not in found), key=lambda name: stable_id(key, "absent", name))
    if absent:
        most = min(len(absent), _MOST_ABSENT)
        some = absent[: 1 + stable_id(key, "how many") % most]
        mixed = tuple(sorted((*seen, *some), key=lambda name: stable_id(key, "order", name)))
        question = _pick(_AMONG, key, "among").format("| ".join(escaped(name) for name in mixed))
        sentence = _pick(_AMONG_ANSWERS, key, "among").format(", ".join(seen)) if seen else _pick(_NOTHING, key, "none")
        yield _Turn("among", mixed, question, sentence, grid)


def _pick(texts: Sequence[str], *why: str) -> str:
    return texts[stable_id("wording", *why) % len(texts)]


def _row(record: ImageRecord, path: str, side: int, turn: _Turn) -> bytes:
    """One line of JSON; ``labels`` are the classes asked about."""
    height, width = record.size
    number = stable_id("conversation", record.key, turn.kind, *(turn.labels if turn.kind == "only" else ()))
    return orjson.dumps(
        {
            "id": f"{image_id(record)}-{turn.kind}-{number}",
            "image": path,
            "height": height,
            "width": width,
            "kind": turn.kind,
            "grid": side,
            "labels": list(turn.labels),
            "conversations": [
                {"from": "human", "value": f"<image>\n{turn.question}"},
                {"from": "gpt", "value": to_answer(turn.sentence, turn.grid)},
            ],
        }
    )
