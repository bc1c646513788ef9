"""A painted stroke, which arrives as a mask, back to the line that the brush went along."""

from __future__ import annotations

import heapq
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.prompts import Scribble

MAX_STROKES = 16
_GRID = 64
_STEPS = tuple((dy, dx, math.hypot(dy, dx)) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)


def strokes_of(mask: Mask, *, positive: bool) -> list[Scribble]:
    """One scribble per connected part of a painted mask, the largest parts first and at most ``MAX_STROKES``.

    The line is the longest of the shortest paths inside the part that keep away from its border (found on a grid of at
    most 64 x 64 cells by two Dijkstra searches); its radius is the middle distance from line to border.
    """
    parts = sorted(mask.components(), key=lambda part: -part.area)[:MAX_STROKES]
    return [_stroke(part, positive) for part in parts]


def _stroke(part: Mask, positive: bool) -> Scribble:
    x0, y0, x1, y1 = (int(v) for v in part.box)
    pixels = part.crop_array(x0, y0, x1, y1)
    cell = math.ceil(max(pixels.shape) / _GRID)
    coarse = _any_in_cells(pixels, cell)
    depth = cv2.distanceTransform(np.pad(coarse, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    first = np.unravel_index(int(depth.argmax()), depth.shape)
    start, _ = _farthest(depth, (int(first[0]), int(first[1])))
    _, path = _farthest(depth, start)
    cells = np.array(path)
    points = (cells[:, ::-1] + 0.5) * cell + (x0, y0)
    inside = np.clip(points, (x0 + 0.5, y0 + 0.5), (x1 - 0.5, y1 - 0.5)).astype(np.float32)
    radius = max(1.0, float(np.median(depth[cells[:, 0], cells[:, 1]])) * cell - cell / 2)
    return Scribble(inside, positive=positive, radius=radius)


def _any_in_cells(pixels: NDArray[np.bool_], cell: int) -> NDArray[np.bool_]:
    # "Any" rather than "most", so that a thin stroke stays in one piece.
    height, width = (-(-side // cell) * cell for side in pixels.shape)
    padded = np.zeros((height, width), dtype=bool)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    cells = padded.reshape(height // cell, cell, width // cell, cell)
    return np.asarray(cells.any(axis=(1, 3)), dtype=bool)


def _farthest(depth: NDArray[np.float32], start: tuple[int, int]) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The cell farthest from ``start`` by the cost of getting there, and the way to it."""
    height, width = depth.shape
    cost = {start: 0.0}
    previous: dict[tuple[int, int], tuple[int, int]] = {}
    done: set[tuple[int, int]] = set()
    queue = [(0.0, start)]
    last = start
    while queue:
        reached, here = heapq.heappop(queue)
        if here in done:
            continue
        done.add(here)
        last = here
        for dy, dx, step in _STEPS:
            there = (here[0] + dy, here[1] + dx)
            if not (0 <= there[0] < height and 0 <= there[1] < width) or depth[there] <= 0 or there in done:
                continue
            candidate = reached + step * (1.0 + 2.0 / float(depth[there]) ** 2)
            if candidate < cost.get(there, math.inf):
                cost[there] = candidate
                previous[there] = here
                heapq.heappush(queue, (candidate, there))
    path = [last]
    while path[-1] in previous:
        path.append(previous[path[-1]])
    return last, path
