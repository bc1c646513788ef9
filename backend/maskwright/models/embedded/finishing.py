"""From the network's coarse logits to the picture's own borders.

The network answers on every second pixel. Where it is unsure of single pixels it is mostly sure of the region of the
finest partition that they lie in, whose border is one of the picture: so a pixel's logit and the mean of its region's
decide together, and the border is then found to a fraction of a pixel by the colours on its two sides.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_logits import mask_to_logits, upsample_logits
from maskwright.models.classical_regions import Scene

Logits = NDArray[np.float32]
SURE = 4.0
"""Logits count for their region's mean up to this size; what lies away from a border is at least so sure."""
NEAR = -2.0
"""Pixels with larger logits, and ``MARGIN`` pixels around them, are looked at closely."""
MARGIN = 12


def finish(scene: Scene, coarse: Logits) -> Logits:
    """(h, w) float32 logits over the working grid from coarser ones; positive inside."""
    logits = upsample_logits(coarse, scene.size)
    close = (logits > NEAR).view(np.uint8)
    x, y, w, h = cv2.boundingRect(close)
    if not w:
        return np.minimum(logits, -SURE)
    window = np.s_[max(y - MARGIN, 0) : y + h + MARGIN, max(x - MARGIN, 0) : x + w + MARGIN]
    part, leaf = logits[window], scene.tree.leaf[window]
    flat = leaf.ravel()
    count = np.bincount(flat)
    total = np.bincount(flat, np.clip(part, -SURE, SURE).ravel())
    mean = (total / np.maximum(count, 1))[leaf]
    sharp = mask_to_logits(mean + part > 0, scene.rgb[window])
    finished = np.minimum(logits, -SURE)
    finished[window] = np.where(np.abs(sharp) > SURE, np.sign(sharp) * np.maximum(np.abs(part), SURE), sharp)
    return finished
