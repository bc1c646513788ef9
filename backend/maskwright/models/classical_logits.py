"""Masks of the working grid to logits and back to pixels of the image, with clicked pixels kept where they belong."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
CLICK_MARGIN = 1.0
"""Logit that a clicked pixel has at least (at most its negative, where the click is negative)."""
STEEPNESS = 16.0
"""Logit of a pixel whose soft membership is 1 (0: its negative)."""


def mask_to_logits(mask: NDArray[np.bool_]) -> Logits:
    """(h, w) float32 logits of an (h, w) mask, positive inside, with a ramp of about two pixels at the border."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7, borderType=cv2.BORDER_REPLICATE)
    # The blur must not delete what is one pixel wide.
    inside = np.where(mask, np.maximum(soft, 0.55), np.minimum(soft, 0.45))
    logits: Logits = ((2 * inside - 1) * STEEPNESS).astype(np.float32)
    return logits


def upsample_logits(logits: Logits, size: tuple[int, int]) -> Logits:
    """(H, W) bilinear interpolation of (h, w) logits, pixel centres aligned."""
    if logits.shape == size:
        return logits
    full: Logits = cv2.resize(logits, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return full


def keep_clicks(logits: Logits, pixels: NDArray[np.int64], labels: NDArray[np.int64], size: tuple[int, int]) -> Logits:
    """Change the logits as little as possible so that every clicked pixel lies on its side after upsampling.

    Each upsampled pixel is a weighted mean of at most four logits; violated clicks are projected onto their
    constraint in turn (Kaczmarz's method) until none is violated. More than four contradicting clicks between four
    neighbouring logits can be unsatisfiable; then the latest click of the last pass wins.

    Args:
        logits: (h, w) float32.
        pixels: (N, 2) xy pixel indices of the image, inside it.
        labels: (N,) 1 or 0.
        size: (H, W) of the image.

    Returns:
        (h, w) float32; the argument itself where no click was violated.
    """
    if not len(pixels):
        return logits
    signs = np.where(labels == 1, 1.0, -1.0)
    ys, wy = _taps(pixels[:, 1], size[0], logits.shape[0])
    xs, wx = _taps(pixels[:, 0], size[1], logits.shape[1])
    changed = logits.astype(np.float64)
    for _ in range(200):
        violated = False
        for i, sign in enumerate(signs):
            cell = np.ix_(np.unique(ys[i]), np.unique(xs[i]))
            weights = np.outer(_folded(ys[i], wy[i]), _folded(xs[i], wx[i]))
            value = float((changed[cell] * weights).sum())
            if sign * value < CLICK_MARGIN / 2:
                changed[cell] += weights * ((sign * CLICK_MARGIN - value) / (weights**2).sum())
                violated = True
        if not violated:
            break
    result: Logits = changed.astype(np.float32)
    return result


def _taps(index: NDArray[np.int64], full: int, low: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The two low-resolution indices that bilinear interpolation reads for a pixel, and their weights."""
    position = (index + 0.5) * (low / full) - 0.5
    base = np.floor(position).astype(np.int64)
    share = position - base
    taps = np.clip(np.stack([base, base + 1], axis=1), 0, low - 1)
    return taps, np.stack([1 - share, share], axis=1)


def _folded(taps: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights per distinct tap: at the image's edge both taps are the same logit."""
    return np.array([weights.sum()]) if taps[0] == taps[1] else weights
