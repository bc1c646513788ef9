"""What models saw in the pictures looked at last: several classes of examples are looked for with one look."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.fewshot_candidates import DescribesRegions
from maskwright.masks import Mask
from maskwright.models.dense.region_classes import PhraseMaps
from maskwright.models.protocols import RGB, DenseFeatures

MOST_PICTURES = 4
MOST_LOOKS = 64
"""At one picture."""

_T = TypeVar("_T")


class SeenPictures:
    """Remembers looks at a few pictures, which are told apart by their pixels' object. Safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: list[tuple[RGB, dict[Hashable, Any]]] = []

    def once(self, image: RGB, key: Hashable, look: Callable[[], _T]) -> _T:
        """What a look gave before, or now gives; two threads may both look."""
        with self._lock:
            place = next((i for i, (pixels, _) in enumerate(self._pictures) if pixels is image), None)
            entry = self._pictures.pop(place) if place is not None else (image, {})
            self._pictures = [*self._pictures[1 - MOST_PICTURES :], entry]
            looks = entry[1]
            if key in looks:
                found: _T = looks[key]
                return found
        found = look()
        with self._lock:
            if len(looks) >= MOST_LOOKS:
                looks.clear()
            looks[key] = found
        return found


class DenseOnce:
    """Implements ``DenseFeatures`` by another's, each picture seen once."""

    def __init__(self, dense: DenseFeatures, seen: SeenPictures) -> None:
        self.name, self.version = dense.name, dense.version
        self._dense, self._seen = dense, seen

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``DenseFeatures``."""
        return self._seen.once(image, self.version, lambda: self._dense.features(image))

    def text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """See ``DenseFeatures``."""
        return self._dense.text(phrases)


class MapsOnce(DenseOnce):
    """The same of features that meet phrases inside the network."""

    def __init__(self, dense: DenseFeatures, maps: PhraseMaps, seen: SeenPictures) -> None:
        super().__init__(dense, seen)
        self._maps = maps

    def maps(self, image: RGB, phrases: Sequence[str]) -> NDArray[np.float32]:
        """See ``PhraseMaps``."""
        return self._seen.once(image, (self.version, *phrases), lambda: self._maps.maps(image, phrases))


def dense_once(dense: DenseFeatures, seen: SeenPictures) -> DenseFeatures:
    """The same features, each picture seen once."""
    return MapsOnce(dense, dense, seen) if isinstance(dense, PhraseMaps) else DenseOnce(dense, seen)


class RegionsOnce:
    """Implements ``DescribesRegions`` by another's, each group of regions described once."""

    def __init__(self, regions: DescribesRegions, seen: SeenPictures) -> None:
        self.version = regions.version
        self._regions, self._seen = regions, seen

    def describe(self, image: RGB, masks: Sequence[Mask]) -> NDArray[np.float32]:
        """See ``DescribesRegions``."""
        key = (self.version, *(mask.content_hash() for mask in masks))
        return self._seen.once(image, key, lambda: self._regions.describe(image, masks))
