"""Regions to a class for every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.models.dense.pooling import NOTHING
from maskwright.regions import Region

LabelMap = NDArray[np.int32]
"""(H, W) int32 position of each pixel's class, -1 where there is none."""


def true_map(regions: Sequence[Region], names: Sequence[str], size: tuple[int, int]) -> LabelMap:
    """What people drew: where regions overlap, the smallest counts, as a sign before a building.

    Args:
        regions: In any order; those of other classes, or of none, leave their pixels free.
        names: Of the classes.
        size: (H, W).
    """
    return _painted(sorted(regions, key=lambda region: -region.mask.area), names, size)


def proposed_map(regions: Sequence[Region], names: Sequence[str], size: tuple[int, int]) -> LabelMap:
    """What was proposed: where regions overlap, the one with the highest score counts; arguments as ``true_map``."""
    return _painted(sorted(regions, key=lambda region: region.score), names, size)


def _painted(regions: Sequence[Region], names: Sequence[str], size: tuple[int, int]) -> LabelMap:
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.full(size, NOTHING, dtype=np.int32)
    for region in regions:
        if region.label in numbers:
            labels[region.mask.to_array()] = numbers[region.label]
    return labels
