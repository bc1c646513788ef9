"""Which images a task of an export holds, and which of them a region belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.annotated import TaskImage
from maskwright.errors import InvalidInput
from maskwright.masks import Size
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.results import draws_mask, item_size

_ADDRESS = re.compile(r"(/data/|/storage-data/|(https?|s3|gs|gcs|azure-blob|data:image)[:/])", re.IGNORECASE)
_PICTURE = re.compile(r"\.(png|jpe?g|gif|bmp|webp|tiff?|svg|jfif|avif)$", re.IGNORECASE)
_NO_PICTURE = re.compile(r"\.(txt|json|csv|xml|html?|pdf|mp3|wav|mp4|mov|avi|zip)$", re.IGNORECASE)
_UNDEFINED = "$undefined$"
"""Where Label Studio keeps the only value of a task that was uploaded before the project had a configuration."""


@dataclass(frozen=True)
class TaskImages:
    """The images of one task.

    Attributes:
        images: In the order of the labelling configuration.
        places: Positions in ``images`` by (tag's name, index in the list).
        remarks: By tag's name: what had to be guessed about it.
    """

    images: tuple[TaskImage, ...]
    places: Mapping[tuple[str, int], int]
    remarks: Mapping[str, str]

    @classmethod
    def of(cls, data: Mapping[str, Any], label_config: str | None, items: Sequence[Mapping[str, Any]]) -> TaskImages:
        """The images in a task's ``data``.

        Args:
            data: The task's fields.
            label_config: The labelling configuration, or None to infer what it would say.
            items: Every result item of the task; sizes and names are taken from them.

        Raises:
            InvalidInput: If the task holds no image.
        """
        drawn = [item for item in items if draws_mask(item)]
        if label_config is None:
            fields, remarks = _inferred(data, dict.fromkeys(str(item.get("to_name", "")) for item in drawn))
        else:
            fields, remarks = _configured(data, label_config), {}
        sizes = _sizes(drawn)
        images: list[TaskImage] = []
        for name, sources in fields.items():
            images += (TaskImage(name, n, source, sizes.get((name, n))) for n, source in enumerate(sources))
        if not images:
            raise InvalidInput("the task's data holds no address of an image")
        return cls(tuple(images), {(image.name, image.index): n for n, image in enumerate(images)}, remarks)

    def place_of(self, item: Mapping[str, Any]) -> tuple[int, str]:
        """Position in ``images`` of the one that a region was drawn on, and a remark about it or empty text.

        Raises:
            InvalidInput: If the task has no such image, or the region was drawn on a picture of another size.
        """
        name, index = _place(item)
        place = self.places.get((name or self.images[0].name, index))
        if place is None:
            raise InvalidInput(f"it belongs to image {index + 1} of {name!r}, which the task does not have")
        size, known = item_size(item), self.images[place].size
        if known is not None and size != known:
            raise InvalidInput(
                f"it was drawn on a picture of {size[1]} x {size[0]} pixels, the task's first region on one of "
                f"{known[1]} x {known[0]}"
            )
        return place, self.remarks.get(name, "")


def _place(item: Mapping[str, Any]) -> tuple[str, int]:
    index = item.get("item_index")
    return str(item.get("to_name", "")), index if type(index) is int else 0


def _sizes(items: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Size]:
    sizes: dict[tuple[str, int], Size] = {}
    for item in items:
        place = _place(item)
        if place not in sizes:
            try:
                sizes[place] = item_size(item)
            except InvalidInput:
                continue
    return sizes


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


def _inferred(data: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Addresses by the regions' ``to_name``: the field of that name, the only one, or the next one without a name."""
    fields = {key: _addresses(value) for key, value in data.items() if _is_image(value)}
    names = [name for name in names if name]
    if not names:
        first = next((key for key in ("image", _UNDEFINED) if key in fields), next(iter(fields), ""))
        return {key: fields[key] for key in fields if key == first}, {}
    if len(fields) == 1:
        return {name: addresses for name in names for addresses in fields.values()}, {}
    found: dict[str, tuple[str, ...]] = {}
    remarks: dict[str, str] = {}
    free = [key for key in fields if key not in names]
    for name in names:
        if name in fields:
            found[name] = fields[name]
        elif free:
            remarks[name] = (
                f"its image {name!r} was taken to be the field {free[0]!r}, for the labelling configuration is not "
                "known; give it to be sure"
            )
            found[name] = fields[free.pop(0)]
    return found, remarks


def _addresses(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _is_image(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, str) and _is_image(entry) for entry in value)
    if not isinstance(value, str):
        return False
    path = value.partition("?")[0] if "?d=" not in value else value
    if _PICTURE.search(path):
        return True
    return _ADDRESS.match(value) is not None and _NO_PICTURE.search(path) is None
