"""The images of a task with what is proposed for each, and whether that is all that could be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskwright.assist.preannotate import Preannotation
from maskwright.images import Image


@dataclass(frozen=True, eq=False)
class Page:
    """One image of a task.

    Attributes:
        image_name: Name of its tag in the labelling configuration.
        item_index: Its place in the tag's list, or None where the tag holds one image.
        image: The image.
        found: What is proposed for it.
    """

    image_name: str
    item_index: int | None
    image: Image
    found: Preannotation


def is_degraded(pages: Sequence[Page]) -> bool:
    """Whether a language model that was asked about a task's images gave no answer."""
    return any(page.found.is_degraded for page in pages)


def degraded_version(version: str) -> str:
    """The version of predictions that are as those of ``version`` but for a language model that gave no answer."""
    name, _, digest = version.rpartition("-")  # a queue knows its model's versions by their form
    return f"{name}+degraded-{digest}"
