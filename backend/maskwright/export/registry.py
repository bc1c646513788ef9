"""The formats by name. Each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType

from maskwright.errors import InvalidInput
from maskwright.export.records import Format

_PLACES = MappingProxyType({
    "coco": ("maskwright.export.formats.coco", "CocoFormat"),
    "panoptic": ("maskwright.export.formats.panoptic", "PanopticFormat"),
    "stuff": ("maskwright.export.formats.stuff", "StuffFormat"),
    "yolo": ("maskwright.export.formats.yolo", "YoloFormat"),
    "voc": ("maskwright.export.formats.voc", "VocFormat"),
    "png": ("maskwright.export.formats.png", "PngFormat"),
    "parquet": ("maskwright.export.formats.parquet", "ParquetFormat"),
    "text": ("maskwright.export.formats.text", "TextFormat"),
})  # fmt: skip

FORMATS = tuple(_PLACES)


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        InvalidInput: If there is none.
    """
    if name not in _PLACES:
        raise InvalidInput(f"there is no format {name!r}; there are: {', '.join(FORMATS)}")
    module, kind = _PLACES[name]
    made: Format = getattr(import_module(module), kind)()
    return made
