"""A scene as named arrays that can be cached and shared, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_hierarchy import Hierarchy, build_hierarchy
from maskwright.models.classical_regions import Scene

Arrays = Mapping[str, NDArray[Any]]
ENCODE_ALGORITHM = "2026-11-21b"
"""Bump on any change to the arrays; every engine that stores them is versioned by it."""
LEAF_BYTES = 4 * 4 + 3 * 16 + 2 * 16
"""Bytes per region in the arrays; each pixel takes ``PIXEL_BYTES`` more."""
PIXEL_BYTES = 5
LEAST_LEAF_DISTANCE = 2
"""Two minima are never neighbours, which bounds the number of regions."""


def scene_nbytes(side: int) -> int:
    """Upper bound of the bytes of ``scene_arrays`` for a picture of at most side x side pixels."""
    leaves = (side // LEAST_LEAF_DISTANCE + 1) ** 2
    return side**2 * PIXEL_BYTES + leaves * LEAF_BYTES


def scene_arrays(small: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Partition (h, w, 3) uint8 working pixels; the arrays are read-only, indices as narrow as they fit."""
    stretched = _stretched(small)
    hierarchy = build_hierarchy(stretched)
    arrays: dict[str, NDArray[Any]] = {
        "rgb": stretched,
        "leaf": hierarchy.leaf.astype(np.uint16),
        "features": hierarchy.features.astype(np.float32),
        "edges": hierarchy.edges.astype(np.uint16),
        "edge_length": hierarchy.edge_length.astype(np.float32),
        "edge_strength": hierarchy.edge_strength.astype(np.float32),
        "first": hierarchy.first.astype(np.int32),
        "end": hierarchy.end.astype(np.int32),
        "parent": hierarchy.parent.astype(np.int32),
        "height": hierarchy.height.astype(np.float32),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def scene_of(arrays: Arrays) -> Scene:
    """The scene that ``scene_arrays`` described."""
    hierarchy = Hierarchy(
        leaf=arrays["leaf"].astype(np.int64),
        features=arrays["features"].astype(np.float64),
        edges=arrays["edges"].astype(np.int64),
        edge_length=arrays["edge_length"].astype(np.float64),
        edge_strength=arrays["edge_strength"].astype(np.float64),
        first=arrays["first"].astype(np.int64),
        end=arrays["end"].astype(np.int64),
        parent=arrays["parent"].astype(np.int64),
        height=arrays["height"].astype(np.float64),
    )
    return Scene.of(arrays["rgb"], hierarchy)


def _stretched(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spread the image's range over 0..255 and lift dark pictures, so that faint borders survive eight bits."""
    sample = rgb[::2, ::2].astype(np.float32)
    low, high = np.percentile(sample, [0.2, 99.8])
    levels = np.clip((np.arange(256) - low) / max(high - low, 32.0), 0, 1)
    middle = float(np.clip(np.median((sample - low) / max(high - low, 32.0)), 1e-3, 0.35))
    gamma = float(np.clip(np.log(0.35) / np.log(middle), 0.5, 1.0))
    stretched: NDArray[np.uint8] = cv2.LUT(rgb, (levels**gamma * 255).astype(np.uint8))
    return stretched
