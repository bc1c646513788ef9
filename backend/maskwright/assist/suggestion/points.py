"""Points that go with a box: where the first answer to the box alone is surest.

Both rules are for the training-free pipeline (Huang et al., BMVC 2024), whose segmenter is asked twice: with a box,
then with the box and points taken from the first answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.assist.suggestion.values import PointRule
from maskwright.images.tiles import IntBox
from maskwright.models.protocols import ImageEmbedding
from maskwright.models.upsample import bilinear_weights
from maskwright.prompts import Box

Logits = NDArray[np.float32]
Points = NDArray[np.float32]
"""(k, 2) float32 xy in pixels of the image: centres of pixels."""

BRIGHTEST = 20
SURE = math.log(9.0)
"""Logit whose sigmoid is 0.9."""
FALLBACK = 0.01
"""Part of a box that counts as sure where no pixel of it is."""
SUPPRESSED = 0.5
"""Radius of the disc around a point in which there is no other, in distances from the point to the nearest border."""


def box_points(
    rule: PointRule,
    embedding: ImageEmbedding,
    logits: Logits,
    boxes: Sequence[Box],
    count: int,
    span: tuple[float, float] | None = None,
) -> list[Points]:
    """Points on the object for each of n boxes.

    Args:
        rule: ``none``, ``top20`` or ``spread``; see ``brightest`` and ``spread``.
        embedding: Of the whole image.
        logits: (n, h, w) low-resolution answers to the boxes alone.
        boxes: xyxy in pixels of the image.
        count: Most points of a box with ``spread``.
        span: Of ``logit_span``, for ``top20`` where these are not all boxes of the image.
    """
    height, width = embedding.original_size
    if rule == "none" or not boxes:
        return [np.zeros((0, 2), dtype=np.float32) for _ in boxes]
    if rule == "spread":
        windows = [pixel_window(box, embedding.original_size) for box in boxes]
        return [
            spread(on_image(answer, embedding, window), count) + np.array(window[:2], dtype=np.float32)
            for answer, window in zip(logits, windows, strict=True)
        ]

    low, high = span or logit_span(embedding, logits)
    whole = (0, 0, width, height)
    # One at a time: n maps of a large image would not fit.
    return [brightest(on_image(answer, embedding, whole), low, high) for answer in logits]


def logit_span(embedding: ImageEmbedding, logits: Logits) -> tuple[float, float]:
    """The smallest and the largest value of (n, h, w) low-resolution logits laid over the image."""
    height, width = embedding.original_size
    maps = (on_image(answer, embedding, (0, 0, width, height)) for answer in logits)
    extremes = [(float(one.min()), float(one.max())) for one in maps]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def brightest(logits: Logits, low: float, high: float, count: int = BRIGHTEST) -> Points:
    """The rule of the public code: the largest values of a map in 256 steps, first come first among equals.

    The steps span the maps of all boxes together, so a weak object's map is dim and coarse. A map that runs out of
    values above the lowest step repeats its first pixel, as the public loop does.

    Args:
        logits: (H, W) float32 at the image's size.
        low: Smallest value of all maps of the image.
        high: Largest value of all maps.
        count: How many points, always.
    """
    if high > low:
        steps = (255 * (logits - np.float32(low)) / np.float32(high - low)).clip(0, 255).astype(np.uint8)
    else:
        steps = np.full(logits.shape, 255, dtype=np.uint8)
    at_least = np.cumsum(np.bincount(steps.ravel(), minlength=256)[::-1])[::-1]
    enough = np.flatnonzero(at_least >= count)
    level = max(int(enough[-1]) if len(enough) else 0, 1)
    places = np.flatnonzero(steps >= level)
    order = places[np.argsort(255 - steps.ravel()[places], kind="stable")][:count]
    order = np.concatenate([order, np.zeros(count - len(order), dtype=np.int64)])
    return _centres(order % logits.shape[1], order // logits.shape[1])


def spread(logits: Logits, count: int) -> Points:
    """Few points deep inside what is sure, apart from each other; the deepest first.

    Sure is a probability of 0.9, or the best hundredth of the map where nothing is. Each point lies furthest from the
    border of that set, or of the map, among what no earlier point's disc covers.

    Args:
        logits: (h, w) float32 at the image's resolution, in a box.
        count: Most points.

    Returns:
        In pixels of the map; at least one point.
    """
    sure = logits >= SURE
    if not sure.any():
        most = max(1, math.ceil(FALLBACK * logits.size))
        sure = logits >= np.partition(logits, logits.size - most, axis=None)[logits.size - most]
    bordered = cv2.copyMakeBorder(sure.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(bordered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    free = depth.copy()
    rows, columns = np.indices(depth.shape, sparse=True)
    xs: list[int] = []
    ys: list[int] = []
    while len(xs) < count and free.max() > 0:
        y, x = divmod(int(free.argmax()), depth.shape[1])
        xs.append(x)
        ys.append(y)
        free[(columns - x) ** 2 + (rows - y) ** 2 <= (SUPPRESSED * float(depth[y, x])) ** 2] = 0
    return _centres(np.array(xs), np.array(ys))


def on_image(logits: Logits, embedding: ImageEmbedding, window: IntBox) -> Logits:
    """The part of low-resolution logits that lies over a window of the image, enlarged bilinearly to its pixels.

    Args:
        logits: (h, w) float32. Where the segmenter pads images to a square, only the image's part is read: the longer
            side of the image always fills the input.
        embedding: Of the whole image.
        window: xyxy in whole pixels of the image.
    """
    x0, y0, x1, y1 = window
    scale = max(logits.shape) / max(embedding.input_size)
    cells = [
        min(most, max(1, round(side * scale))) for side, most in zip(embedding.input_size, logits.shape, strict=True)
    ]
    rows, columns = (
        bilinear_weights(count, side)[span]
        for count, side, span in zip(cells, embedding.original_size, (slice(y0, y1), slice(x0, x1)), strict=True)
    )
    first, second = (logits[rows.cells[:, k]] * rows.weights[:, k, None] for k in range(2))
    wide = first + second
    first, second = (wide[:, columns.cells[:, k]] * columns.weights[:, k] for k in range(2))
    enlarged: Logits = first + second
    return enlarged


def pixel_window(box: Box, size: tuple[int, int]) -> IntBox:
    """The whole pixels of an (H, W) image that a box (xyxy) touches, at least one."""
    x0, y0 = (min(max(math.floor(low), 0), side - 1) for low, side in zip(box[:2], size[::-1], strict=True))
    x1, y1 = (
        min(max(math.ceil(high), low + 1), side) for high, low, side in zip(box[2:], (x0, y0), size[::-1], strict=True)
    )
    return x0, y0, x1, y1


def _centres(xs: NDArray[np.int64], ys: NDArray[np.int64]) -> Points:
    return np.stack([xs, ys], axis=1).astype(np.float32) + np.float32(0.5)
