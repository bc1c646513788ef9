"""Where a labelling configuration says that a task keeps its images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.errors import InvalidInput

_WHOLE_VALUE = re.compile(r"\$(\w[\w.\[\]]*)")
_PART_OF_VALUE = re.compile(r"\$(\w+)")
_UNDEFINED = "$undefined$"


@dataclass(frozen=True)
class ImageTag:
    """One ``<Image>``.

    Attributes:
        name: What controls call it in ``toName``.
        value: The attribute ``value`` or ``valueList``, e.g. ``$image``.
        is_list: Whether the task holds a list of images under it (``valueList``).
    """

    name: str
    value: str
    is_list: bool = False

    def sources(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The addresses of its images in a task's ``data``, in the order of ``item_index``.

        Raises:
            InvalidInput: If the task does not hold them.
        """
        whole = _WHOLE_VALUE.fullmatch(self.value)
        if whole is None:
            return (_PART_OF_VALUE.sub(lambda found: str(_lookup(data, found[1])), self.value),)
        value = _lookup(data, whole[1])
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(v, str) and v for v in values):
            raise InvalidInput(f"the task's data under {whole[1]!r} is not the address of an image")
        return tuple(values)


def _lookup(data: Mapping[str, Any], path: str) -> Any:
    value: Any = data
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif _UNDEFINED in data:
            # Tasks uploaded before the project had a configuration keep their only value under this key.
            return data[_UNDEFINED]
        else:
            raise InvalidInput(f"the task's data has no {path!r}, which the labelling configuration names")
    return value
