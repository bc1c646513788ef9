"""Peaks of a map of where a class is, and how well masks fit them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask

Map = NDArray[np.float32]

PEAK = 0.5
"""Evidence that a class needs at some place to be looked for there."""
FOOT = 0.35
"""Where a peak ends, as a part of the map's highest value: the map's slopes are wide."""


def peaks(plane: Map, least: float = PEAK) -> list[Map]:
    """The parts of an (h, w) map that hang together above its foot and reach ``least``; zero elsewhere."""
    highest = float(plane.max(initial=0.0))
    if highest < least:
        return []
    count, parts = cv2.connectedComponents((plane >= FOOT * highest).astype(np.uint8), connectivity=8)
    alone = [np.where(parts == part, plane, np.float32(0)) for part in range(1, count)]
    return [part for part in alone if part.max() >= least]


def coverage(masks: Sequence[Mask], size: tuple[int, ...]) -> list[Map]:
    """Each mask on a grid over the image: the covered part of every place, (h, w) float32."""
    return [
        cv2.resize(mask.to_array().astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
        for mask in masks
    ]


def fit(covered: Map, peak: Map) -> float:
    """Correlation in [0, 1] of a mask's coverage, blurred to the resolution of the map, with a peak."""
    blurred = cv2.GaussianBlur(covered, (0, 0), max(covered.shape) / 28)
    norm = float(np.sqrt((blurred**2).sum() * (peak**2).sum()))
    return float((blurred * peak).sum()) / norm if norm > 0 else 0.0
