"""Objects that dense features see without words, as prompts for a segmenter: nothing was learnt but to look.

Three looks at a picture give drafts: where a class token attends (DINO); the graph of like patches cut in two, again
and again (MaskCut); and groups of patches that are alike (spherical k-means, which tells textures apart).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.assist.draft_masks import deepest_places
from maskwright.models.dense.affinity import LEAST_SHARE, MOST_CORNERS, attended, enlarged, mask_cut
from maskwright.models.dense.clustering import cluster
from maskwright.models.protocols import RGB
from maskwright.prompts import Prompt

Grid = NDArray[np.bool_]

MOST_PATCHES = 900
"""Compared with each other: 480 pixels in patches of 16, as MaskCut has it; finer grids are averaged down."""
MOST_DRAFTS = 24
"""The largest ones."""
POINTS = 3
"""On each draft, beside its box."""


@runtime_checkable
class SeesObjects(Protocol):
    """Dense features that know no words, with what object discovery reads."""

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``DenseFeatures``."""
        ...

    def keys(self, image: RGB) -> NDArray[np.float32]:
        """(h, w, d) float32 of a last block: alike within an object."""
        ...

    def attention(self, image: RGB) -> NDArray[np.float32]:
        """(h, w) float32, not negative: where a class token attends."""
        ...


def object_prompts(dense: SeesObjects, image: RGB) -> list[Prompt]:
    """A box and points for each object that may be in a picture; best drawn and compared afterwards.

    Args:
        dense: Looks.
        image: (H, W, 3) uint8 RGB.
    """
    prompts: list[Prompt] = []
    drafts = {(draft.shape, draft.tobytes()): draft for draft in _drafts(dense, image)}
    for draft in sorted(drafts.values(), key=lambda draft: -float(draft.mean()))[:MOST_DRAFTS]:
        mask = enlarged(draft, (image.shape[0], image.shape[1]))
        if mask.is_empty:
            continue
        places = deepest_places(mask.to_array(), POINTS)
        prompts.append(Prompt.from_points([(x + 0.5, y + 0.5, 1) for x, y in places], mask.box))
    return prompts


def _drafts(dense: SeesObjects, image: RGB) -> Iterator[Grid]:
    yield from _parts(attended(dense.attention(image)))
    for cut in mask_cut(coarser(dense.keys(image), MOST_PATCHES)):
        yield from _parts(cut)
    features = coarser(dense.features(image), MOST_PATCHES)
    if features.shape[0] * features.shape[1] > 2:
        groups = cluster(features)
        for group in range(len(groups.centres)):
            yield from _parts(groups.labels == group)


def _parts(patches: Grid) -> Iterator[Grid]:
    """The connected parts that may be objects: no specks, and nothing with three corners of the picture."""
    count, labels = cv2.connectedComponents(patches.astype(np.uint8), connectivity=4)
    for number in range(1, count):
        part: Grid = labels == number
        if part.sum() > LEAST_SHARE * part.size and part[[0, 0, -1, -1], [0, -1, 0, -1]].sum() <= MOST_CORNERS:
            yield part


def coarser(features: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """(h, w, d) features of at most so many places, averaged over what each of them covers."""
    height, width = features.shape[:2]
    by = math.sqrt(height * width / most)
    if by <= 1:
        return features
    size = max(1, int(width / by)), max(1, int(height / by))
    planes = [
        cv2.resize(np.ascontiguousarray(features[..., index]), size, interpolation=cv2.INTER_AREA)
        for index in range(features.shape[2])
    ]
    return np.stack(planes, axis=-1)
