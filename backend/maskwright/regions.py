"""A region: a mask with its class, its confidence, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from maskwright.masks import Mask, Polygon

Source = Literal["interactive", "preannotation", "person", "import"]


@dataclass(frozen=True)
class Provenance:
    """Where a region came from.

    Attributes:
        source: What made it.
        model_version: Version of the assistant that made it, or None for a person.
        prompt_hash: ``Prompt.content_hash`` of the prompt that led to it, or None.
        person: Identifier of the person, or None.
    """

    source: Source
    model_version: str | None = None
    prompt_hash: str | None = None
    person: str | None = None


@dataclass(frozen=True)
class Region:
    """One labelled region of an image.

    Attributes:
        mask: Its pixels.
        label: Class name from the project's label set, or None where it is not known.
        score: Confidence in [0, 1], mask and class taken together.
        provenance: Where it came from.
        class_scores: Score per class name, where a classifier was asked.
        key: What the platform calls it, unique within its annotation, or empty. Exports derive stable ids from it.
        outlines: The polygons that a person drew, where the region was drawn as such; the mask is their filling.
        is_crowd: Whether it stands for an uncounted group (COCO's ``iscrowd``).
    """

    mask: Mask
    label: str | None
    score: float
    provenance: Provenance
    class_scores: dict[str, float] = field(default_factory=dict)
    key: str = ""
    outlines: tuple[Polygon, ...] = ()
    is_crowd: bool = False
