"""What the weight-free engine has to say about a prompt, as dense channels for the mask decoder.

The learnt model starts from the best free method and corrects it: the classical answers (part, best and whole), at
what level of the region hierarchy every place joins the marks, the marks themselves and the previous answer. Levels
are given by how many regions the image falls into there, which does not depend on an image's contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_answers import Hypothesis, answer, filled_box, marks_of, separation
from maskwright.models.classical_hierarchy import Floats, Hierarchy
from maskwright.models.classical_logits import upsample_logits
from maskwright.models.classical_regions import Scene, merge_distance
from maskwright.prompts import Prompt

CHANNELS = (
    "part", "best", "whole", "joined", "joined_any", "excluded", "separate", "positive", "negative", "box",
    "previous", "has_previous",
)  # fmt: skip
"""Dense channels, in this order; each is about -1 to 1 and 0 where it says nothing."""
CANDIDATES = 3
MARK_RADIUS = 2.0
"""Cells of the half grid over which a mark fades."""
MOST_MARKED_LEAVES = 8
STEEP = 4.0
"""Previous logits are squashed by tanh(logit / STEEP)."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one prompt before the network looks.

    Attributes:
        dense: (len(CHANNELS), h / 2, w / 2) float32 over the working grid's (h, w).
        scores: (3,) float32 IoU that the classical engine expects of part, best and whole.
    """

    dense: NDArray[np.float32]
    scores: NDArray[np.float32]


def gather(scene: Scene, prompt: Prompt) -> Evidence:
    """The evidence for a prompt in coordinates of the working grid, whose sides must be even.

    ``prompt.mask_input`` of any size is stretched over the grid.
    """
    height, width = scene.size
    size = (height // 2, width // 2)
    dense = np.zeros((len(CHANNELS), *size), dtype=np.float32)
    hypotheses = _ordered(answer(scene, prompt, CANDIDATES))
    for index, hypothesis in enumerate(hypotheses):
        dense[index] = _halved(hypothesis.mask) * 2 - 1
    marks = list(marks_of(prompt, scene.size))
    levels = Levels.of(scene.tree)
    for positive, channel in ((True, "joined"), (False, "excluded")):
        pixels = [mark.pixels for mark in marks if mark.positive == positive]
        if not pixels:
            continue
        distances = _merge_distances(scene, np.concatenate(pixels))
        dense[CHANNELS.index(channel)] = levels(distances.min(axis=0))[scene.coarse_leaf]
        if positive:
            dense[CHANNELS.index("joined_any")] = levels(distances.max(axis=0))[scene.coarse_leaf]
        dense[CHANNELS.index("positive" if positive else "negative")] = _faded(np.concatenate(pixels), size)
    if prompt.box is not None:
        window = filled_box(prompt.box, scene.size)
        dense[CHANNELS.index("box")] = _halved(window) * 2 - 1
        inside = np.bincount(scene.tree.leaf[window], minlength=scene.tree.count) > scene.area / 2
        dense[CHANNELS.index("separate")] = levels(separation(scene.tree, inside))[scene.coarse_leaf]
    if prompt.mask_input is not None:
        dense[CHANNELS.index("previous")] = np.tanh(upsample_logits(prompt.mask_input, size) / STEEP)
        dense[CHANNELS.index("has_previous")] = 1
    return Evidence(dense, np.array([h.predicted_iou for h in hypotheses], dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Levels:
    """Turns merge costs into levels: 1 at the leaves, -1 at the whole image, by the logarithm of how many regions are
    left at that cost."""

    heights: Floats

    @classmethod
    def of(cls, tree: Hierarchy) -> Levels:
        """The scale of one image."""
        return cls(np.sort(tree.height[tree.count :]))

    def __call__(self, cost: Floats) -> NDArray[np.float32]:
        """(n,) float32 levels of (n,) costs, in -1 (whole) .. 1 (leaf)."""
        left = 1 + len(self.heights) - np.searchsorted(self.heights, cost, side="right")
        level: NDArray[np.float32] = (2 * np.log(left) / np.log(len(self.heights) + 2) - 1).astype(np.float32)
        return level


def _ordered(found: list[Hypothesis]) -> list[Hypothesis]:
    """Part, best and whole: the likeliest in the middle, the others by size."""
    best = max(range(len(found)), key=lambda i: found[i].predicted_iou)
    others = [h for i, h in enumerate(found) if i != best]
    return [others[0], found[best], others[1]]


def _halved(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(h / 2, w / 2) share of every cell that lies in an (h, w) mask."""
    half: NDArray[np.float32] = cv2.resize(
        mask.astype(np.float32), (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_AREA
    )
    return half


def _merge_distances(scene: Scene, pixels: NDArray[np.int64]) -> Floats:
    """(m, n) cost at which each leaf joins each of up to ``MOST_MARKED_LEAVES`` marked leaves."""
    touched = np.unique(scene.tree.leaf[pixels[:, 1], pixels[:, 0]])
    spread = np.linspace(0, len(touched) - 1, min(len(touched), MOST_MARKED_LEAVES)).astype(np.int64)
    return np.stack([merge_distance(scene.tree, int(leaf)) for leaf in touched[spread]])


def _faded(pixels: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) of the half grid: 1 on the marks, fading to 0 within a few cells."""
    canvas = np.ones(size, dtype=np.uint8)
    canvas[np.minimum(pixels[:, 1] // 2, size[0] - 1), np.minimum(pixels[:, 0] // 2, size[1] - 1)] = 0
    far = cv2.distanceTransform(canvas, cv2.DIST_L2, 3)
    faded: NDArray[np.float32] = np.exp(-((far / MARK_RADIUS) ** 2)).astype(np.float32)
    return faded
