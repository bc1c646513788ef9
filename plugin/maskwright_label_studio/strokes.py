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
    most 64 x 64 cells by two Dijkstra searches), through the deepest pixel of each cell; its radius is the median
    distance from line to border.
    """
    parts = sorted(mask.components(), key=lambda part: -part.area)[:MAX_STROKES]
    return [_stroke(part, positive) for part in parts]


def _stroke(part: Mask, positive: bool) -> Scribble:
    x0, y0, x1, y1 = (int(v) for v in part.box)
    pixels = part.crop_array(x0, y0, x1, y1)
    cell = math.ceil(max(pixels.shape) / _GRID)
    depth, deepest = _cells(pixels, cell)
    first = np.unravel_index(int(depth.argmax()), depth.shape)
    start, _ = _farthest(depth, (int(first[0]), int(first[1])))
    _, path = _farthest(depth, start)
    rows, columns = np.array(path).T
    depths = depth[rows, columns]
    radius = max(1.0, float(np.median(depths)) - 0.5)
    # The farthest cells lie on the border of the stroke's round ends, off the line.
    deep = np.flatnonzero(depths >= min(radius / 2, float(depths.max())))
    inner = slice(int(deep[0]), int(deep[-1]) + 1)
    points = (deepest[rows, columns][inner] + (x0 + 0.5, y0 + 0.5)).astype(np.float32)
    return Scribble(points, positive=positive, radius=radius)


def _cells(pixels: NDArray[np.bool_], cell: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For each cell of a grid: the greatest distance to the border in it (0 = outside), and its deepest pixel (xy)."""
    height, width = (-(-side // cell) * cell for side in pixels.shape)
    padded = np.zeros((height + 2, width + 2), dtype=np.uint8)
    padded[1 : pixels.shape[0] + 1, 1 : pixels.shape[1] + 1] = pixels
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = height // cell, width // cell
    grid = distance.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(rows, columns, cell * cell)
    best = grid.argmax(axis=2)
    y, x = np.indices((rows, columns)) * cell + np.stack([best // cell, best % cell])
    return grid.max(axis=2).astype(np.float32), np.stack([x, y], axis=2)


def _farthest(depth: NDArray[np.float32], start: tuple[int, int]) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The cell farthest from ``start`` by the cost of getting there, and the way to it."""
    height, width = depth.shape
    deepest = float(depth.max())
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
            candidate = reached + step * (1.0 + (deepest / float(depth[there])) ** 2)
            if candidate < cost.get(there, math.inf):
                cost[there] = candidate
                previous[there] = here
                heapq.heappush(queue, (candidate, there))
    path = [last]
    while path[-1] in previous:
        path.append(previous[path[-1]])
    return last, path
