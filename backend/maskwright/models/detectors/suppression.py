"""Boxes that say the same once: greedy non-maximum suppression, over all phrases and then within each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.models.protocols import Detections

ANY_PHRASE = 0.8
"""Of two boxes with a higher IoU only the better stays, whatever they are called (BMVC 2024 pipeline)."""
SAME_PHRASE = 0.5
"""The same for two boxes of one phrase."""


def suppress(found: Detections, *, any_phrase: float = ANY_PHRASE, same_phrase: float = SAME_PHRASE) -> Detections:
    """Drop repeats, and what is no number.

    Args:
        found: In any order, which changes nothing about the answer: of equal scores the lower phrase index comes
            first, then the box further left, further up, smaller.
        any_phrase: Two boxes of any phrases are the same object if their IoU lies above it.
        same_phrase: Two boxes of one phrase are the same object if their IoU lies above it.

    Returns:
        What stays, best first.
    """
    finite = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    found = Detections(found.boxes[finite], found.scores[finite], found.phrase_indices[finite])
    x1, y1, x2, y2 = found.boxes.T
    order = np.lexsort((y2, x2, y1, x1, found.phrase_indices, -found.scores))
    boxes, phrases = found.boxes[order], found.phrase_indices[order]
    stay = _survivors(boxes, any_phrase, np.zeros(len(boxes), dtype=np.int64))
    stay = stay[_survivors(boxes[stay], same_phrase, phrases[stay])]
    return Detections(boxes[stay], found.scores[order][stay], phrases[stay])


def box_ious(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) IoU of an xyxy box with (N, 4) others; 0 where both are empty."""
    one, many = box.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    union = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(axis=1) - shared
    ious: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(len(many)), where=union > 0)
    return ious


def _survivors(boxes: NDArray[np.float32], threshold: float, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions, ascending, of the (N, 4) boxes that no surviving earlier one of their group covers too much."""
    alive = np.ones(len(boxes), dtype=np.bool_)
    for index in range(len(boxes)):
        if alive[index]:
            later = slice(index + 1, None)
            repeats = (box_ious(boxes[index], boxes[later]) > threshold) & (groups[later] == groups[index])
            alive[later] &= ~repeats
    return np.flatnonzero(alive)
