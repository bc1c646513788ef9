"""Which images a task of an export holds, and which of them a region belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maskwright.annotated import TaskImage
from maskwright.errors import InvalidInput
from maskwright.masks import Size
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.results import draws_mask, item_size

_ADDRESS = re.compile(r"(/data/|/storage-data/|(https?|s3|gs|gcs|azure-blob|data:image)[:/])", re.IGNORECASE)
_PICTURE = re.compile(r"\.(png|jpe?g|gif|bmp|webp|tiff?|svg|jfif|avif)$", re.IGNORECASE)
_NO_PICTURE = re.compile(r"\.(txt|json|csv|xml|html?|pdf|mp3|wav|mp4|mov|avi|zip)$", re.IGNORECASE)


@dataclass(frozen=True)
class TaskImages:
    """The images of one task.

    Attributes:
        images: In the order of the labelling configuration; where that is not known, of the task's fields. What was
            drawn never changes which images there are, nor their order: identifiers are derived from it.
        places: Positions in ``images`` by (tag's name, index in the list).
    """

    images: tuple[TaskImage, ...]
    places: Mapping[tuple[str, int], int]

    @classmethod
    def of(
        cls,
        data: Mapping[str, Any],
        label_config: str | None,
        items: Sequence[Mapping[str, Any]],
        proposed: Sequence[Mapping[str, Any]] = (),
    ) -> TaskImages:
        """The images in a task's ``data``.

        Args:
            data: The task's fields.
            label_config: The labelling configuration, or None to infer what it would say.
            items: The result items that people left. The first on an image tells its size.
            proposed: Those of predictions; they tell sizes where nobody drew.

        Raises:
            InvalidInput: If the task holds no image, or it cannot be told which of several was drawn on.
        """
        drawn = [item for item in items if draws_mask(item)]
        fields = _inferred(data) if label_config is None else _configured(data, label_config)
        images = [TaskImage(name, n, source) for name, sources in fields.items() for n, source in enumerate(sources)]
        if not images:
            raise InvalidInput("the task's data holds no address of an image")
        places = {(image.name, image.index): n for n, image in enumerate(images)}
        if label_config is None:
            names = dict.fromkeys(_place(item)[0] for item in (*drawn, *proposed))
            if len(fields) == 1:
                places |= {(name, image.index): n for name in names for n, image in enumerate(images)}
            else:
                _require_known(dict.fromkeys(_place(item)[0] for item in drawn), fields)
        known = cls(tuple(images), places)
        sizes = known._sizes((*drawn, *filter(draws_mask, proposed)))
        return cls(tuple(replace(image, size=sizes.get(n)) for n, image in enumerate(images)), places)

    def place_of(self, item: Mapping[str, Any]) -> int:
        """Position in ``images`` of the one that a region was drawn on.

        Raises:
            InvalidInput: If the task has no such image.
        """
        name, index = _place(item)
        place = self.places.get((name or self.images[0].name, index))
        if place is None:
            raise InvalidInput(f"it belongs to image {index + 1} of {name!r}, which the task does not have")
        return place

    def _sizes(self, items: Iterable[Mapping[str, Any]]) -> dict[int, Size]:
        """(H, W) by position, as the first item on each image tells it."""
        sizes: dict[int, Size] = {}
        for item in items:
            try:
                place = self.place_of(item)
                if place not in sizes:
                    sizes[place] = item_size(item)
            except InvalidInput:
                continue
        return sizes


def _place(item: Mapping[str, Any]) -> tuple[str, int]:
    index = item.get("item_index")
    return str(item.get("to_name", "")), index if type(index) is int else 0


def _configured(data: Mapping[str, Any], label_config: str) -> dict[str, tuple[str, ...]]:
    """Addresses by tag's name, as the labelling configuration says; tags that a task leaves empty are passed over."""
    fields: dict[str, tuple[str, ...]] = {}
    complaints: list[str] = []
    for tag in parse_config(label_config).images:
        try:
            fields[tag.name] = tag.sources(data)
        except InvalidInput as error:
            complaints.append(str(error))
    if not fields:
        raise InvalidInput("; ".join(complaints) or "the labelling configuration has no <Image>")
    return fields


def _inferred(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Addresses by field, of every field that looks like images, in the task's order."""
    return {
        key: tuple(value) if isinstance(value, list) else (value,) for key, value in data.items() if _is_image(value)
    }


def _require_known(names: Iterable[str], fields: Iterable[str]) -> None:
    """Refuse regions of an image that is none of the task's fields: a guess would put masks on the wrong picture."""
    unknown = [name for name in names if name not in fields]
    if unknown:
        raise InvalidInput(
            f"regions were drawn on {_listed(unknown)}, but the fields of the task that hold images are "
            f"{_listed(fields)}: which is which stands in the project's labelling configuration; give "
            "--label-config FILE"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _is_image(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, str) and _is_image(entry) for entry in value)
    if not isinstance(value, str):
        return False
    path = value.partition("?")[0] if "?d=" not in value else value
    if _PICTURE.search(path):
        return True
    return _ADDRESS.match(value) is not None and _NO_PICTURE.search(path) is None
