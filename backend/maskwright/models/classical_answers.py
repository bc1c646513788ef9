"""From a prompt to masks of the working grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_hierarchy import Hierarchy, Ints
from maskwright.prompts import Prompt

Pixels = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scene:
    """What is known of an image before anyone points at it: its working pixels (h, w, 3) uint8 and its regions."""

    rgb: NDArray[np.uint8]
    hierarchy: Hierarchy

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the working grid."""
        return self.rgb.shape[0], self.rgb.shape[1]


def answer(scene: Scene, prompt: Prompt, image_size: tuple[int, int], count: int) -> list[tuple[Pixels, float]]:
    """``count`` masks of the working grid with their estimated IoU."""
    height, width = scene.size
    small = prompt.scaled(width / image_size[1], height / image_size[0])
    mask = np.zeros(scene.size, dtype=bool)
    if prompt.mask_input is not None:
        mask = cv2.resize(prompt.mask_input, (width, height), interpolation=cv2.INTER_LINEAR) > 0
    elif small.box is not None:
        mask = _box_answer(scene, small.box)
    seeds = [(np.array([xy]), bool(label)) for xy, label in zip(small.point_coords, small.point_labels, strict=True)]
    seeds += [(stroke.points, stroke.positive) for stroke in small.scribbles]
    placed = [(_indices(points, scene.size), positive) for points, positive in seeds]
    for k, (points, positive) in enumerate(placed):
        if (mask[points[:, 1], points[:, 0]] == positive).all():
            continue
        opposite = [p for j, (p, sign) in enumerate(placed) if sign != positive and j != k]
        forbidden = np.concatenate(opposite) if opposite else np.zeros((0, 2), dtype=np.int64)
        mask = _flip(scene, mask, points, positive, forbidden)
    return [(mask, 0.5)] * count


def _indices(points: NDArray[np.float32], size: tuple[int, int]) -> Ints:
    placed: Ints = np.clip(np.floor(points), 0, [size[1] - 1, size[0] - 1]).astype(np.int64)
    return placed


def _flip(scene: Scene, mask: Pixels, points: Ints, positive: bool, forbidden: Ints) -> Pixels:
    """Give the most plausible region around the points to the object, or take it away."""
    tree = scene.hierarchy
    x, y = points[len(points) // 2]
    node = int(tree.leaf[y, x])
    barred = tree.leaf[forbidden[:, 1], forbidden[:, 0]]
    best, best_score = None, -1.0
    while node >= 0:
        first, end = tree.first[node], tree.end[node]
        if ((barred >= first) & (barred < end)).any():
            break
        region = (tree.leaf >= first) & (tree.leaf < end) & (mask != positive)
        parent = int(tree.parent[node])
        if parent >= 0 and region[y, x]:
            depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 3)
            central = float(depth[y + 1, x + 1] / depth.max())
            lifetime = float(np.log((tree.height[parent] + 1) / (tree.height[node] + 1)))
            score = central * lifetime * np.sqrt(region.sum())
            if score > best_score:
                best, best_score = region, score
        node = parent
    flipped = mask.copy()
    if best is not None:
        flipped[best] = positive
    flipped[points[:, 1], points[:, 0]] = positive
    return flipped


def _box_answer(scene: Scene, box: tuple[float, float, float, float]) -> Pixels:
    """The node whose bounding box is most like the box, or the filled box."""
    height, width = scene.size
    x1, y1, x2, y2 = (round(v) for v in box)
    filled = np.zeros(scene.size, dtype=bool)
    filled[max(y1, 0) : max(y2, y1 + 1, 1), max(x1, 0) : max(x2, x1 + 1, 1)] = True
    return filled
