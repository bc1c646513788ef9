"""Nested families of candidate regions, and what can be measured on each member at once.

A family is given by one number per leaf: candidate k holds the leaves of level <= k. Every measurement then is one
pass over leaves, edges or pixels for the whole family.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_hierarchy import Floats, Hierarchy, Ints

SMALLEST_FRAMED = -3.0
"""Logarithm of the share of the image below which size no longer excuses touching the image's border."""
GROWTH = 1.1
"""A candidate is kept where it is at least this many times as large as the one before."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is known of an image before anyone points at it.

    Attributes:
        rgb: (h, w, 3) uint8 working pixels.
        tree: Its regions.
        area: (n,) pixels of every leaf.
        frame: (n,) pixels of every leaf that lie on the image's border.
        coarse_leaf: leaf of every second pixel of every second row.
        typical_strength: root mean square of edge strength, the unit in which borders are judged.
    """

    rgb: NDArray[np.uint8]
    tree: Hierarchy
    area: Floats
    frame: Floats
    coarse_leaf: Ints
    typical_strength: float

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], tree: Hierarchy) -> Scene:
        """Derive the sums that every answer needs."""
        leaf = tree.leaf
        border = np.concatenate([leaf[0], leaf[-1], leaf[1:-1, 0], leaf[1:-1, -1]])
        weight = tree.edge_length.sum()
        square = float((tree.edge_length * tree.edge_strength**2).sum() / weight) if weight else 0.0
        return cls(
            rgb=rgb,
            tree=tree,
            area=np.bincount(leaf.ravel(), minlength=tree.count).astype(np.float64),
            frame=np.bincount(border, minlength=tree.count).astype(np.float64),
            coarse_leaf=np.ascontiguousarray(leaf[::2, ::2]),
            typical_strength=max(square**0.5, 0.25),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the working grid."""
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True, eq=False)
class Family:
    """Candidates 0 .. K-1, each inside the next.

    Attributes:
        level: (n,) int64; candidate k holds the leaves with level <= k, leaves of level K belong to none.
        count: K.
    """

    level: Ints
    count: int

    def member(self, k: int) -> NDArray[np.bool_]:
        """(n,) the leaves of candidate k."""
        return self.level <= k


def family_from(distance: Floats, area: Floats) -> Family:
    """The sublevel sets of a distance per leaf (infinite: never), thinned so that each is well larger than the last."""
    finite = np.isfinite(distance)
    values, inverse = np.unique(distance[finite], return_inverse=True)
    if not len(values):
        return Family(np.zeros(len(distance), dtype=np.int64), 0)
    sizes = np.cumsum(np.bincount(inverse, area[finite], minlength=len(values)))
    keep, last = [], 0.0
    for index, size in enumerate(sizes):
        if size >= last * GROWTH and size > 0:
            keep.append(index)
            last = size
    level = np.full(len(distance), len(keep), dtype=np.int64)
    level[finite] = np.searchsorted(keep, inverse)
    return Family(level, len(keep))


def merge_distance(tree: Hierarchy, leaf: int) -> Floats:
    """(n,) cost at which each leaf and the given one come to lie in one region: an ultrametric."""
    chain = tree.ancestors(leaf)
    numbers = np.arange(tree.count)
    entry = np.maximum(
        np.searchsorted(-tree.first[chain], -numbers), np.searchsorted(tree.end[chain], numbers, side="right")
    )
    # The position on the path breaks ties between equal costs, so that nested nodes stay apart.
    distance: Floats = np.asarray(tree.height[chain[entry]] + 1e-9 * entry, dtype=np.float64)
    return distance


FEATURES = (
    "one", "size", "size2", "strength", "weak", "frame", "frame2", "size_frame", "central", "central2",
    "ragged", "extent", "depth", "depth2", "shared", "contrast", "relative", "box_iou", "box_share",
    "box_share2",
)  # fmt: skip
"""Columns of ``measure``."""


def measure(
    scene: Scene,
    family: Family,
    seed: tuple[float, float] | None,
    current: NDArray[np.bool_],
    box: tuple[float, float, float, float] | None,
) -> Floats:
    """(K, len(FEATURES)) measurements of a family.

    Args:
        scene: The image.
        family: Its candidates.
        seed: xy on the working grid that someone clicked, or None.
        current: (n,) leaves of the mask that a candidate would be added to or taken from.
        box: xyxy on the working grid, or None.
    """
    tree, level, count = scene.tree, family.level, family.count
    height, width = scene.size
    one, other = level[tree.edges[:, 0]], level[tree.edges[:, 1]]
    # Most edges lie inside or outside of all candidates: they are no border, and would cancel out.
    cut = one != other
    edges, outside = tree.edges[cut], (one > other)[cut]
    low, high = np.minimum(one, other)[cut], np.maximum(one, other)[cut]

    def sums(leaves: Floats) -> Floats:
        total: Floats = np.cumsum(np.bincount(level, leaves, minlength=count + 1).astype(np.float64))[:count]
        return total

    def borders(weights: Floats) -> Floats:
        change = np.bincount(low, weights, minlength=count + 1) - np.bincount(high, weights, minlength=count + 1)
        total: Floats = np.cumsum(change)[:count]
        return total

    area = sums(scene.area)
    length, strength = tree.edge_length[cut], tree.edge_strength[cut] / scene.typical_strength
    inner = np.maximum(borders(length), 0.0)
    some = np.maximum(inner, 1.0)
    frame = sums(scene.frame)
    # Next to the current mask: one side is a member, the other is in the mask.
    meets = current[edges[:, 0]] | current[edges[:, 1]]
    share_frame = frame / np.maximum(inner + frame, 1.0)
    size = np.log(area / (height * width))

    colour = np.stack([sums(scene.area * tree.features[:, j]) for j in range(4)], axis=1) / area[:, None]
    outer = tree.features[np.where(outside, *edges.T)]
    ring = np.stack([borders(length * outer[:, j]) for j in range(4)], axis=1) / some[:, None]
    contrast = np.sqrt((((colour - ring) * (1.0, 1.3, 1.3, 3.0)) ** 2).sum(axis=1))

    central, depth, boxes = _shape(scene, family, seed)
    spans = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1.0)
    box_iou: Floats = np.zeros(count)
    box_share: Floats = np.zeros(count)
    if box is not None:
        x1, y1, x2, y2 = box
        wide = np.clip(np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1), 0, None)
        tall = np.clip(np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1), 0, None)
        box_area = max((x2 - x1) * (y2 - y1), 1.0)
        box_iou = wide * tall / np.maximum(spans + box_area - wide * tall, 1.0)
        box_share = np.minimum(area / box_area, 1.0)
    relative = np.log(area / max(float(scene.area[current].sum()), 1.0)) if current.any() else np.zeros(count)
    depth_log = np.log(np.maximum(depth, 0.5) / np.sqrt(height * width))
    return np.stack(
        [
            np.ones(count), size, size**2, np.log(np.maximum(borders(length * strength), 0.0) / some + 0.1),
            borders(length * (strength < 0.5)) / some, share_frame, share_frame**2,
            np.maximum(size, SMALLEST_FRAMED) * share_frame, central, central**2,
            np.log(np.maximum((inner + frame) ** 2 / area, 4.0)), area / spans,
            depth_log, depth_log**2, borders(length * meets) / np.maximum(inner + frame, 1.0),
            np.log(contrast + 1.0), relative, box_iou, box_share, box_share**2,
        ],
        axis=1,
    )  # fmt: skip


def _shape(scene: Scene, family: Family, seed: tuple[float, float] | None) -> tuple[Floats, Floats, Floats]:
    """Per candidate: seed's depth over the greatest depth, the seed's (or greatest) depth, bounding box; pixels."""
    levels = family.level[scene.coarse_leaf]
    central: Floats = np.zeros(family.count)
    depth: Floats = np.zeros(family.count)
    boxes: Floats = np.zeros((family.count, 4))
    spot = None
    if seed is not None:
        spot = (
            int(np.clip(seed[1] / 2, 0, levels.shape[0] - 1)) + 1,
            int(np.clip(seed[0] / 2, 0, levels.shape[1] - 1)) + 1,
        )
    padded = np.pad(levels, 1, constant_values=family.count)
    for k in range(family.count):
        inside = (padded <= k).view(np.uint8)
        far = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
        greatest = float(far.max())
        here = greatest if spot is None else float(far[spot])
        central[k], depth[k] = here / max(greatest, 1.0), 2 * here
        x, y, w, h = cv2.boundingRect(inside)
        boxes[k] = (2 * (x - 1), 2 * (y - 1), 2 * (x - 1 + w), 2 * (y - 1 + h))
    return central, depth, boxes
