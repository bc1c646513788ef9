"""Which of many overlapping masks say the same: the better of each pair stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import pairwise_intersection
from maskwright.models.protocols import Proposals

CONTAINED = 0.95
"""A mask with at least this part of it inside another ..."""
CONTAINED_IOU = 0.5
"""... says the same as the other if their IoU is at least this; smaller ones are its parts, which is something else."""


def distinct(proposals: Proposals, duplicate_iou: float) -> Proposals:
    """The proposals without duplicates, best (predicted IoU times stability) first.

    Two masks are duplicates if their IoU is at least ``duplicate_iou``, or if one nearly contains the other and is not
    more than about twice as large. Empty masks go.
    """
    quality = proposals.predicted_iou * proposals.stability
    order = [int(i) for i in np.argsort(-quality, kind="stable") if not proposals.masks[i].is_empty]
    masks = [proposals.masks[i] for i in order]
    stay: list[int] = []
    if masks:
        shared = np.asarray(pairwise_intersection(masks, masks), dtype=np.float64)
        areas = shared.diagonal()
        iou = shared / (areas[:, None] + areas[None, :] - shared)
        inside = shared / np.minimum(areas[:, None], areas[None, :])
        same = (iou >= duplicate_iou) | ((inside >= CONTAINED) & (iou >= CONTAINED_IOU))
        gone = np.zeros(len(masks), dtype=bool)
        for i in range(len(masks)):
            if not gone[i]:
                stay.append(i)
                gone |= same[i]
    kept = [order[i] for i in stay]
    return Proposals(tuple(proposals.masks[i] for i in kept), proposals.predicted_iou[kept], proposals.stability[kept])


def distinct_low_res(masks: NDArray[np.bool_], quality: NDArray[np.float32], duplicate_iou: float) -> NDArray[np.int64]:
    """Indices of those of (n, h, w) masks that no better one repeats with IoU >= ``duplicate_iou``; best first.

    The boxes decide which pairs are looked at: two masks cannot have a higher IoU than the smaller has in the larger's
    box, so a pair whose boxes hardly meet needs no look at its pixels.
    """
    order = np.argsort(-quality, kind="stable")
    boxes = np.array([_box(masks[i]) for i in order], dtype=np.int64).reshape(-1, 4)
    bits = np.packbits(masks[order].reshape(len(order), -1), axis=1)
    areas = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
    gone = areas == 0
    stay: list[int] = []
    for i in range(len(order)):
        if gone[i]:
            continue
        stay.append(i)
        later = i + 1 + np.flatnonzero(~gone[i + 1 :])
        width = np.minimum(boxes[later, 2], boxes[i, 2]) - np.maximum(boxes[later, 0], boxes[i, 0])
        height = np.minimum(boxes[later, 3], boxes[i, 3]) - np.maximum(boxes[later, 1], boxes[i, 1])
        most = np.minimum(np.clip(width, 0, None) * np.clip(height, 0, None), np.minimum(areas[later], areas[i]))
        later, most = later[most > 0], most[most > 0]
        later = later[most / np.maximum(areas[later], areas[i]) >= duplicate_iou]
        shared = np.bitwise_count(bits[later] & bits[i]).sum(axis=1, dtype=np.int64)
        gone[later[shared >= duplicate_iou * (areas[later] + areas[i] - shared)]] = True
    return order[stay].astype(np.int64)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else (0, 0, 0, 0)
