"""Phrases of a COCO file and what they mean: annotations with a text, as data sets of referring expressions have them.

A text stands in ``phrase``, ``caption`` or ``sentences`` (a list of texts, or of objects with ``sent`` or ``raw``, as
RefCOCO writes them). Annotations of one image with the same text are meant together; one whose ``segmentation`` is an
empty list says that its text means nothing there (gRefCOCO).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.export.coco_entries import CocoImage, entry_title, read_mask
from maskwright.learn.coco_objects import CocoFile, CocoObject, shuffled
from maskwright.masks import Mask

FIELDS = ("phrase", "caption", "sentences")


@dataclass(frozen=True, eq=False)
class TruePhrase(CocoObject):
    """A phrase and all that it means in an image, which may be nothing.

    Attributes:
        phrase: As it was written.
    """

    phrase: str


def true_phrases(path: Path, limit: int, seed: int = 0) -> dict[str, list[TruePhrase]]:
    """Phrases by lot, by file name of their images.

    Args:
        path: The COCO file.
        limit: Most phrases.
        seed: Equal seeds choose equal phrases.

    Raises:
        InvalidInput: If the file cannot be read, no annotation has a text, or a chosen one is malformed.
        TooLarge: If a chosen mask is beyond all bounds.
    """
    file = CocoFile.read(path)
    meant: dict[tuple[Any, str], list[int]] = {}
    for place, entry in enumerate(file.annotations):
        for text in _texts(entry_title("annotation", place, entry), entry):
            meant.setdefault((entry["image_id"], text), []).append(place)
    if not meant:
        raise InvalidInput(f"no annotation of {path.name} has a text: write what it shows into {', '.join(FIELDS)}")
    found: dict[str, list[TruePhrase]] = {}
    for (owner, text), places in shuffled(list(meant.items()), seed)[:limit]:
        image = file.images[owner]
        titles = [entry_title("annotation", place, file.annotations[place]) for place in places]
        first, *others = [_mask(title, file.annotations[p], image) for title, p in zip(titles, places, strict=True)]
        if any(one.size != first.size for one in others):
            raise InvalidInput(f"{', '.join(titles)}: their masks are not of one size")
        found.setdefault(image.file_name, []).append(TruePhrase(titles[0], image, first.union(*others), text))
    return dict(sorted(found.items()))


def _texts(title: str, entry: Mapping[str, Any]) -> list[str]:
    """The texts of an annotation, each once."""
    values = [entry[name] for name in FIELDS if entry.get(name) is not None]
    texts: list[str] = []
    for value in chain.from_iterable(value if isinstance(value, list) else [value] for value in values):
        text = value.get("raw", value.get("sent")) if isinstance(value, dict) else value
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"{title}: {', '.join(FIELDS)} hold texts, or objects with a text 'sent' or 'raw'")
        texts.append(text.strip())
    return list(dict.fromkeys(texts))


def _mask(title: str, entry: Mapping[str, Any], image: CocoImage) -> Mask:
    if entry.get("segmentation") != [] or entry.get("bbox"):
        return read_mask(title, entry, image)
    if image.size is None:
        raise InvalidInput(f"{title}: it outlines nothing, and {image.title} has no height and width")
    return Mask.empty(image.size)
