"""Free-hand strokes as the handful of clicks that promptable models understand."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from maskwright.prompts import Prompt, Scribble

FEWEST_POINTS = 3
MOST_POINTS = 10
_DENSE = 129
_CORNER_RADIANS = math.radians(30)


def scribble_points(stroke: Scribble, original_size: tuple[int, int]) -> NDArray[np.float32]:
    """Resample a stroke to 3 to 10 points that keep its shape.

    The number grows with the stroke's length (one per twelfth of the image's diagonal). Points lie at equal arc
    lengths; first and last are kept, and each sharp turn pulls the nearest inner point onto itself.

    Args:
        stroke: At least one point.
        original_size: (H, W) of the image in pixels.

    Returns:
        (n, 2) float32 xy in drawing order; one point for a stroke without length.
    """
    points = stroke.points.astype(np.float64).reshape(-1, 2)
    steps = np.hypot(*np.diff(points, axis=0).T)
    points, steps = points[np.concatenate([[True], steps > 0])], steps[steps > 0]
    if not len(steps):
        return stroke.points.reshape(-1, 2)[:1]
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = along[-1]
    count = int(np.clip(math.ceil(length / (math.hypot(*original_size) / 12)), FEWEST_POINTS, MOST_POINTS))
    positions = np.linspace(0.0, length, count)
    for corner in _corners(points, along)[: count - 2]:
        inner = positions[1:-1]
        inner[np.argmin(np.abs(inner - corner))] = corner
    return _at(points, along, np.sort(positions)).astype(np.float32)


def with_scribbles_as_points(
    prompt: Prompt, original_size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The prompt's clicks followed by the points of its strokes.

    Returns:
        (N, 2) float32 xy in image pixels and (N,) int64 labels.
    """
    strokes = [scribble_points(stroke, original_size) for stroke in prompt.scribbles if len(stroke.points)]
    signs = [stroke.positive for stroke in prompt.scribbles if len(stroke.points)]
    labels = [np.full(len(xy), int(sign), dtype=np.int64) for xy, sign in zip(strokes, signs, strict=True)]
    return np.concatenate([prompt.point_coords, *strokes]), np.concatenate([prompt.point_labels, *labels])


def _at(points: NDArray[np.float64], along: NDArray[np.float64], where: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) points of a polyline at given arc lengths."""
    return np.stack([np.interp(where, along, points[:, axis]) for axis in (0, 1)], axis=1)


def _corners(points: NDArray[np.float64], along: NDArray[np.float64]) -> list[float]:
    """Arc lengths of the inner turns sharper than 30 degrees, sharpest first, none next to a sharper one."""
    where = np.linspace(0.0, along[-1], _DENSE)
    dense = _at(points, along, where)
    # A window of a sixteenth of the stroke looks past the jitter of a hand and of whole-pixel coordinates.
    reach = _DENSE // 16
    before, after = dense[reach:-reach] - dense[: -2 * reach], dense[2 * reach :] - dense[reach:-reach]
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turns = np.abs(np.arctan2(cross, (before * after).sum(axis=1)))
    found: list[int] = []
    for index in np.argsort(-turns, kind="stable"):
        if turns[index] < _CORNER_RADIANS:
            break
        if all(abs(int(index) - other) > reach for other in found):
            found.append(int(index))
    return [float(where[index + reach]) for index in found]
