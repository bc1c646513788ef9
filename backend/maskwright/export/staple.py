"""STAPLE: the most likely true mask, and how good each person is, from several people's masks of one object.

Simon K. Warfield, Kelly H. Zou, William M. Wells: Simultaneous truth and performance level estimation (STAPLE): an
algorithm for the validation of image segmentation. IEEE Transactions on Medical Imaging 23(7), 2004. Binary, without
a spatial prior.

Expectation maximisation runs over the patterns of who holds a pixel, of which there are few, and never over pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask

_START = 0.99
_SMALLEST = 1e-9
"""Bound that keeps sensitivities and specificities off 0 and 1, where no evidence could change them."""
_TOLERANCE = 1e-7
_MOST_ROUNDS = 500


@dataclass(frozen=True)
class Estimate:
    """What STAPLE found.

    Attributes:
        mask: Pixels that are more likely inside than not.
        sensitivities: Per person, the probability of marking a pixel that is inside.
        specificities: Per person, the probability of leaving a pixel out that is outside.
        rounds: Steps until the probabilities stood still.
    """

    mask: Mask
    sensitivities: tuple[float, ...]
    specificities: tuple[float, ...]
    rounds: int


def staple(masks: Sequence[Mask], margin: float = 0.25) -> Estimate:
    """The most likely true mask.

    Specificity and prior depend on how much background is looked at: here the box around the union, and a margin. The
    prior is the mean of all masks in this box. Where inside and outside are equally likely a pixel is left out.

    Args:
        masks: At least one, of one size.
        margin: Width of the margin at every side, as a share of the longer side of the box; at least 1 pixel. It ends
            at the border of the image.

    Raises:
        InvalidInput: If there is no mask, or they differ in size.
    """
    if not masks:
        raise InvalidInput("STAPLE needs at least one mask")
    if len({mask.size for mask in masks}) > 1:
        raise InvalidInput("masks of different sizes do not go together")
    filled = [mask.box for mask in masks if not mask.is_empty]
    if not filled:
        return Estimate(masks[0], (1.0,) * len(masks), (1.0,) * len(masks), 0)
    (left, top, right, bottom), (height, width) = _around(filled), masks[0].size
    pad = max(1, round(margin * max(right - left, bottom - top)))
    x0, y0, x1, y1 = max(0, left - pad), max(0, top - pad), min(width, right + pad), min(height, bottom + pad)
    parts = [mask.crop((x0, y0, x1, y1)) for mask in masks]
    positions, held = _stretches(parts)
    lengths = np.diff(positions, append=(y1 - y0) * (x1 - x0)).astype(np.float64)
    patterns, which = np.unique(held, axis=0, return_inverse=True)
    which = which.reshape(-1)
    weights = np.bincount(which, lengths).astype(np.float64)
    inside, sensitivities, specificities, rounds = _expectation_maximisation(patterns, weights)
    state = np.concatenate([[False], (inside > 0.5)[which]])
    edges = positions[state[1:] != state[:-1]]
    if state[-1]:
        edges = np.append(edges, (y1 - y0) * (x1 - x0))
    mask = Mask(parts[0].size, edges).pasted(masks[0].size, (x0, y0))
    return Estimate(mask, tuple(sensitivities.tolist()), tuple(specificities.tolist()), rounds)


def _around(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[int, int, int, int]:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return int(min(lefts)), int(min(tops)), int(max(rights)), int(max(bottoms))


def _stretches(masks: Sequence[Mask]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stretches of pixels, down the columns, over which nothing changes.

    Returns:
        (s,) int64 first positions, the first of them 0, and (s, n) bool who of the n people holds them.
    """
    positions = np.unique(np.concatenate([[0], *(mask.edges for mask in masks)]).astype(np.int64))
    positions = positions[positions < masks[0].height * masks[0].width]
    held = [np.searchsorted(mask.edges, positions, side="right") % 2 == 1 for mask in masks]
    return positions, np.stack(held, axis=1)


def _expectation_maximisation(
    patterns: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Run to the fixed point.

    Args:
        patterns: (m, n) bool, who marks the pixels of a pattern.
        weights: (m,) how many pixels have it.

    Returns:
        (m,) probability of inside, (n,) sensitivities, (n,) specificities, rounds.
    """
    marked, left_out = patterns.astype(np.float64), (~patterns).astype(np.float64)
    prior = float(weights @ marked.mean(axis=1) / weights.sum())
    prior = min(max(prior, _SMALLEST), 1 - _SMALLEST)
    offset = np.log(prior) - np.log1p(-prior)
    sensitivities = np.full(patterns.shape[1], _START)
    specificities = sensitivities.copy()
    inside = np.zeros(len(patterns))
    rounds, moved = 0, 1.0
    while moved >= _TOLERANCE and rounds < _MOST_ROUNDS:
        rounds += 1
        evidence = marked @ np.log(sensitivities / (1 - specificities)) + left_out @ np.log(
            (1 - sensitivities) / specificities
        )
        before, inside = inside, 1 / (1 + np.exp(-np.clip(offset + evidence, -700, 700)))
        foreground, background = weights * inside, weights * (1 - inside)
        sensitivities = (foreground @ marked) / max(foreground.sum(), _SMALLEST)
        specificities = (background @ left_out) / max(background.sum(), _SMALLEST)
        sensitivities = np.clip(sensitivities, _SMALLEST, 1 - _SMALLEST)
        specificities = np.clip(specificities, _SMALLEST, 1 - _SMALLEST)
        moved = float(np.abs(inside - before).max())
    return inside, sensitivities, specificities, rounds
