"""Masks of the working grid to logits and back to pixels of the image, with clicked pixels kept where they belong."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.prompts import Prompt

Logits = NDArray[np.float32]
CLICK_MARGIN = 1.0
"""Logit that a clicked pixel has at least (at most its negative, where the click is negative)."""
MIXTURE_WINDOW = (7, 7)
"""Pixels around a border pixel from which the colours of the two sides are taken."""
MIXTURE_CONTRAST = 24.0
"""Distance of the two sides' colours, of 255 a channel, below which a pixel's colour says nothing of its mixture."""
STEEPNESS = 16.0
"""Logit of a pixel whose soft membership is 1 (0: its negative)."""


def mask_to_logits(mask: NDArray[np.bool_], rgb: NDArray[np.uint8] | None = None) -> Logits:
    """(h, w) float32 logits of an (h, w) mask, positive inside, with a ramp of about two pixels at the border.

    With the (h, w, 3) uint8 picture, each pixel next to the border is as much inside as its colour lies between that
    of the near inside and that of the near outside, so that the border is found to a fraction of a pixel.
    """
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7, borderType=cv2.BORDER_REPLICATE)
    # The blur must not delete what is one pixel wide.
    inside = np.where(mask, np.maximum(soft, 0.55), np.minimum(soft, 0.45))
    if rgb is not None and mask.any():
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        part = np.s_[max(y - 6, 0) : y + h + 6, max(x - 6, 0) : x + w + 6]
        inside[part] = _mixture(mask[part], rgb[part], inside[part])
    logits: Logits = ((2 * inside - 1) * STEEPNESS).astype(np.float32)
    return logits


def _mixture(mask: NDArray[np.bool_], rgb: NDArray[np.uint8], inside: NDArray[np.float32]) -> NDArray[np.float32]:
    """Membership with the border's pixels replaced by their colour's place between the two sides, where they differ."""
    core = np.ones((3, 3), np.uint8)
    whole = mask.astype(np.uint8)
    sure_in = cv2.erode(whole, core, borderType=cv2.BORDER_REPLICATE)
    sure_out = 1 - cv2.dilate(whole, core, borderType=cv2.BORDER_REPLICATE)
    colour = rgb.astype(np.float32)
    means, amounts = [], []
    for side in (sure_in, sure_out):
        weight = side.astype(np.float32)
        amount = cv2.boxFilter(weight, -1, MIXTURE_WINDOW)
        total = cv2.boxFilter(colour * weight[..., None], -1, MIXTURE_WINDOW)
        means.append(total / np.maximum(amount, 1e-6)[..., None])
        amounts.append(amount)
    axis = means[0] - means[1]
    contrast = (axis**2).sum(axis=2)
    share = np.clip(((colour - means[1]) * axis).sum(axis=2) / np.maximum(contrast, 1.0), 0, 1)
    known = (sure_in + sure_out == 0) & (amounts[0] > 0.05) & (amounts[1] > 0.05) & (contrast > MIXTURE_CONTRAST**2)
    result: NDArray[np.float32] = np.where(known, share, inside).astype(np.float32)
    return result


def hold(logits: Logits, pixels: NDArray[np.int64], positive: bool) -> None:
    """Put (N, 2) xy pixels of the grid on their side, in place."""
    x, y = pixels[:, 0], pixels[:, 1]
    values = logits[y, x]
    logits[y, x] = np.maximum(values, CLICK_MARGIN) if positive else np.minimum(values, -CLICK_MARGIN)


def merge_logits(before: Logits, mask: NDArray[np.bool_], after: Logits) -> Logits:
    """The fed-back logits with new ones only near what changed, so that an answer never drifts where nobody pointed.

    Args:
        before: (h, w) float32 logits that were fed back.
        mask: (h, w) what is to be inside now.
        after: (h, w) float32 logits of that mask.
    """
    changed = (before > 0) != mask
    if not changed.any():
        return before
    near = cv2.dilate(changed.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    merged: Logits = np.where(near, after, before)
    return merged


def upsample_logits(logits: Logits, size: tuple[int, int]) -> Logits:
    """(H, W) bilinear interpolation of (h, w) logits, pixel centres aligned."""
    if logits.shape == size:
        return np.ascontiguousarray(logits, dtype=np.float32)
    full: Logits = cv2.resize(
        np.ascontiguousarray(logits, dtype=np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR
    )
    return full


def clicked_pixels(prompt: Prompt, size: tuple[int, int]) -> NDArray[np.int64]:
    """(N, 2) xy indices of the clicked pixels; clicks beyond the image count for its nearest pixel."""
    limit = np.array([size[1] - 1, size[0] - 1])
    clipped: NDArray[np.int64] = np.clip(np.floor(prompt.point_coords), 0, limit).astype(np.int64)
    return clipped


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
