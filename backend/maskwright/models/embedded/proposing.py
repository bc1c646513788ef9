"""Candidate objects of a whole image: the weight-free engine names likely regions, the network draws and judges them.

Every likely region's box is given to the network as a person would draw it. What comes back is judged by the network's
own estimate, and by how far the two agree: where both see the same object, it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.models.classical_proposals import LikelyRegion, likely_regions
from maskwright.models.classical_regions import Scene
from maskwright.models.protocols import Proposals
from maskwright.models.upsample import mask_from_logits
from maskwright.prompts import Box, Prompt

ASKED = 160
"""At most so many regions are given to the network."""
ASKED_AT_ONCE = 16
Answer = Callable[[Sequence[Prompt]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""From B prompts on the working grid to finished logits (B, h, w) and expected IoU (B,)."""


def propose(scene: Scene, size: tuple[int, int], answer: Answer) -> Proposals:
    """Masks of ``size`` (H, W); ``stability`` is the IoU of the network's mask with the region that asked for it.

    Args:
        scene: The image.
        size: (H, W) of the image in pixels.
        answer: Gives the network's single masks.
    """
    regions = likely_regions(scene)[:ASKED]
    masks: list[Mask] = []
    predicted: list[float] = []
    agreement: list[float] = []
    for start in range(0, len(regions), ASKED_AT_ONCE):
        group = regions[start : start + ASKED_AT_ONCE]
        logits, expected = answer([Prompt(box=_floats(region.box)) for region in group])
        for region, drawn, score in zip(group, logits, expected, strict=True):
            mask = mask_from_logits(drawn, size)
            if not mask.is_empty:
                masks.append(mask)
                predicted.append(float(score))
                agreement.append(_agreement(scene, region, drawn > 0))
    return Proposals(tuple(masks), np.array(predicted, dtype=np.float32), np.array(agreement, dtype=np.float32))


def _agreement(scene: Scene, region: LikelyRegion, drawn: NDArray[np.bool_]) -> float:
    """IoU of a node with a mask of the working grid."""
    first, end = scene.tree.first[region.node], scene.tree.end[region.node]
    x1, y1, x2, y2 = region.box
    leaf = scene.tree.leaf[y1:y2, x1:x2]
    inside = (leaf >= first) & (leaf < end)
    both = int((inside & drawn[y1:y2, x1:x2]).sum())
    return both / max(int(inside.sum()) + int(drawn.sum()) - both, 1)


def _floats(box: tuple[int, int, int, int]) -> Box:
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])
