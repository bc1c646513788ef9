"""Regions from a picture that a language model described cell by cell: its grid is a draft, a segmenter refines it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskwright.assist.draft_masks import Cells, Refinement, refine_draft
from maskwright.assist.referring.resolve import Find, Found
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks.grids import is_background
from maskwright.masks.text_parser import ParsedGrid
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.models.text4seg import TextSegmenter, objects
from maskwright.regions import Provenance, Region


@dataclass(frozen=True, eq=False)
class Described:
    """What a language model saw, drawn.

    Attributes:
        regions: Objects of the label set, in its order. A region's score is the part of the text of its rows, and of
            the rows beside them, that could be read without guessing: it says nothing about how well the model sees.
        warnings: What was wrong with the text.
    """

    regions: tuple[Region, ...]
    warnings: tuple[str, ...]


def describe_regions(
    image: Image,
    labels: LabelSet,
    reader: TextSegmenter,
    *,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    how: Refinement | None = None,
    model_version: str | None = None,
) -> Described:
    """Ask a language model for the grid of a picture, and a segmenter for each object in it.

    Args:
        image: The image.
        labels: What is looked for, all in one question.
        reader: The language model.
        segmenter: Refines the drafts; where no cell is marked it is not asked.
        encode: Gives its embedding of a window (xyxy, whole pixels) of this image.
        how: How drafts are refined, or the measured default.
        model_version: Written into the regions' provenance.

    Raises:
        InvalidInput: If there is no class to look for.
        ModelUnavailable: If the language model does not answer.
    """
    parsed = reader.read(reader.encode([image.pixels])[0], labels)
    drafts = objects(parsed.grid, labels.names)
    if not drafts:
        return Described((), parsed.warnings)
    embedding = encode((0, 0, image.size[1], image.size[0]))
    made_by = Provenance("preannotation", model_version)
    regions = [
        Region(mask, label, _trust(parsed, cells), made_by)
        for label, cells in drafts
        if not (mask := refine_draft(segmenter, embedding, cells, how)).is_empty
    ]
    order = {name: number for number, name in enumerate(labels.names)}
    return Described(tuple(sorted(regions, key=lambda region: order[region.label or ""])), parsed.warnings)


def finder_by_text(
    image: Image,
    reader: TextSegmenter,
    *,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    how: Refinement | None = None,
) -> Find:
    """Who finds what words mean by asking for its grid, for ``refer_regions``; arguments and errors as above."""

    def find(words: tuple[str, ...]) -> list[Found]:
        if is_background(words[0]):
            return []
        labels = LabelSet((LabelClass(words[0], words[1:]),))
        drawn = describe_regions(image, labels, reader, segmenter=segmenter, encode=encode, how=how)
        return [Found(region.mask, region.score) for region in drawn.regions]

    return find


def _trust(parsed: ParsedGrid, cells: Cells) -> float:
    rows = np.flatnonzero(cells.any(axis=1))
    guesses = parsed.repairs[max(int(rows[0]) - 1, 0) : int(rows[-1]) + 2]
    return 1 - sum(guesses) / (len(guesses) * cells.shape[0])
