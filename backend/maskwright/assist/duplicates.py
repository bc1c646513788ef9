"""Which of many overlapping masks say the same: the better of each pair stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask, pairwise_intersection
from maskwright.models.protocols import Proposals

CONTAINED = 0.95
"""A mask with at least this part of it inside another ..."""
CONTAINED_IOU = 0.5
"""... says the same as the other if their IoU is at least this; smaller ones are its parts, which is something else."""

Numbers = NDArray[np.int64]


def distinct(proposals: Proposals, duplicate_iou: float) -> Proposals:
    """The proposals without duplicates, best (predicted IoU times stability) first.

    Two masks are duplicates if their IoU is at least ``duplicate_iou``, or if one nearly contains the other and is not
    more than about twice as large. Empty masks go.
    """
    order = np.argsort(-(proposals.predicted_iou * proposals.stability), kind="stable")
    masks = [proposals.masks[i] for i in order]
    areas = np.array([mask.area for mask in masks], dtype=np.int64)

    def same(i: int, others: Numbers) -> NDArray[np.bool_]:
        shared = shared_areas(masks[i], [masks[j] for j in others])
        iou = shared / (areas[i] + areas[others] - shared)
        contained = shared >= CONTAINED * np.minimum(areas[i], areas[others])
        repeated: NDArray[np.bool_] = (iou >= duplicate_iou) | (contained & (iou >= CONTAINED_IOU))
        return repeated

    boxes = np.array([mask.box for mask in masks], dtype=np.int64).reshape(-1, 4)
    return proposals.select(order[_first_of_each(boxes, areas, min(duplicate_iou, CONTAINED_IOU), same)].tolist())


def distinct_low_res(masks: NDArray[np.bool_], quality: NDArray[np.float32], duplicate_iou: float) -> Numbers:
    """Indices of those of (n, h, w) masks that no better one repeats with IoU >= ``duplicate_iou``; best first."""
    order = np.argsort(-quality, kind="stable")
    bits = np.packbits(masks[order].reshape(len(order), masks.shape[1] * masks.shape[2]), axis=1)
    areas = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)

    def same(i: int, others: Numbers) -> NDArray[np.bool_]:
        shared = np.bitwise_count(bits[others] & bits[i]).sum(axis=1, dtype=np.int64)
        repeated: NDArray[np.bool_] = shared >= duplicate_iou * (areas[others] + areas[i] - shared)
        return repeated

    boxes = np.array([_box(masks[i]) for i in order], dtype=np.int64).reshape(-1, 4)
    kept: Numbers = order[_first_of_each(boxes, areas, duplicate_iou, same)].astype(np.int64)
    return kept


def shared_areas(mask: Mask, others: Sequence[Mask]) -> Numbers:
    """(n,) pixels that ``mask`` shares with each of ``others``."""
    return np.asarray(pairwise_intersection([mask], others), dtype=np.int64).reshape(len(others))


def _first_of_each(
    boxes: Numbers, areas: Numbers, least_iou: float, same: Callable[[int, Numbers], NDArray[np.bool_]]
) -> list[int]:
    """Greedy suppression in the order given: positions of the non-empty masks that repeat none before them.

    The pixels of a pair are compared only if an IoU of ``least_iou`` is possible, going by their boxes and areas.
    """
    gone = areas == 0
    stay: list[int] = []
    for i in range(len(areas)):
        if gone[i]:
            continue
        stay.append(i)
        later = i + 1 + np.flatnonzero(~gone[i + 1 :])
        width = np.minimum(boxes[later, 2], boxes[i, 2]) - np.maximum(boxes[later, 0], boxes[i, 0])
        height = np.minimum(boxes[later, 3], boxes[i, 3]) - np.maximum(boxes[later, 1], boxes[i, 1])
        most = np.minimum(np.clip(width, 0, None) * np.clip(height, 0, None), np.minimum(areas[later], areas[i]))
        likely = later[(most > 0) & (most >= least_iou * np.maximum(areas[later], areas[i]))]
        if len(likely):
            gone[likely[same(i, likely)]] = True
    return stay


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else (0, 0, 0, 0)
