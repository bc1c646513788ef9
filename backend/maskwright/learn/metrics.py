"""How alike two masks are, how large an object is, and how sure a mean is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.masks import Mask

Pixels = NDArray[np.bool_]
"""(H, W) bool."""
SizeClass = Literal["small", "medium", "large"]

BOUNDARY_SHARE = 0.02
"""Width of the boundary as a share of the image's diagonal (Cheng et al., "Boundary IoU", CVPR 2021)."""
SMALL_AREA, MEDIUM_AREA = 32**2, 96**2
"""COCO's bounds in pixels: below the first an object is small, from the second on it is large."""
RESAMPLES = 2000
INTERVAL = (2.5, 97.5)


def iou(a: Pixels, b: Pixels) -> float:
    """Intersection over union of two masks of one frame; two empty masks are equal, so 1."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def boundary_iou(a: Mask, b: Mask) -> float:
    """IoU of the masks' inner boundaries, 2 % of the frame's diagonal wide; two empty masks are equal, so 1.

    Raises:
        InvalidInput: If the masks are of different sizes.
    """
    width = max(1, round(BOUNDARY_SHARE * math.hypot(*a.size)))
    return 1.0 if a.is_empty and b.is_empty else a.boundary(width).iou(b.boundary(width))


def size_class(area: int) -> SizeClass:
    """COCO's size of an object of ``area`` pixels."""
    if area < SMALL_AREA:
        return "small"
    return "medium" if area < MEDIUM_AREA else "large"


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval in which it would lie in 95 % of samples drawn like this one."""

    mean: float
    low: float
    high: float


def resampled_means(values: ArrayLike, groups: Sequence[Hashable], seed: int) -> NDArray[np.float64]:
    """Means of ``RESAMPLES`` bootstrap samples.

    Whole groups are drawn, because objects of one image are alike and count for less than as many from different
    images. Equal groups and an equal seed give equal draws, so differences of two calls are paired.

    Args:
        values: (n,) numbers, n >= 1.
        groups: What each value belongs to, e.g. its image. If there is one group only, single values are drawn.
        seed: Of the draws.

    Returns:
        (RESAMPLES,) float64.
    """
    numbers = np.asarray(values, dtype=np.float64)
    order = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([order[group] for group in groups]) if len(order) > 1 else np.arange(len(numbers))
    sums, counts = np.bincount(owner, numbers), np.bincount(owner)
    rng = np.random.default_rng(seed)
    # One sample at a time: all at once would take RESAMPLES times the memory of the values.
    draws = (rng.integers(0, len(sums), len(sums)) for _ in range(RESAMPLES))
    return np.array([sums[drawn].sum() / counts[drawn].sum() for drawn in draws])


def interval(mean: float, resampled: NDArray[np.float64]) -> Estimate:
    """A mean with the interval that holds 95 % of the resampled ones."""
    low, high = np.percentile(resampled, INTERVAL)
    return Estimate(mean, float(low), float(high))


def estimate(values: ArrayLike, groups: Sequence[Hashable], seed: int) -> Estimate:
    """Mean of values and its bootstrap interval; arguments as in :func:`resampled_means`."""
    return interval(float(np.mean(np.asarray(values, dtype=np.float64))), resampled_means(values, groups, seed))
