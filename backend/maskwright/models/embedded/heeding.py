"""What was clicked is heeded, and not on the clicked pixel only.

The network weighs its clicks as it has learnt to, and now and then overrules one. A person who clicks again means more
than a pixel: the middle of something wrong. So where a clicked pixel's logit is on the wrong side, a bump centred on it
is added, about a third as wide as the object: far inside and far outside nothing changes, borders near the click move.
And who has clicked several times has found the picture's borders, to which answers are drawn, misleading here: from
then on they hardly count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_logits import upsample_logits
from maskwright.models.classical_regions import Scene
from maskwright.models.embedded.finishing import SURE, finish

Logits = NDArray[np.float32]
REACH = 0.3
"""Standard deviation of a bump as a share of the side of a square of the object's area; .2 to .3 were best."""
HEEDED = 0.25
"""Logit (or its negative) from which a click counts as heeded."""
MARGIN = 0.5
"""Logit (or its negative) that a click which was not is given."""
SMALLEST_AREA = 9.0
"""Of an object, in pixels; a bump is never narrower than ``REACH`` times its root."""
PASSES = 3
"""Bumps of near and contradicting clicks undo each other; so often they are gone through."""
INSISTING = 4
"""From so many clicks on, the picture's borders count ``BORDER_SHARE`` and the network's own answer the rest."""
BORDER_SHARE = 0.2
"""On 88 nuclei of 30 tuning pictures, clicks to IoU .85 fell from 6.25 to 4.72, objects that never reach it from 14 to
2 %; bumps alone gave 5.67. On 38 regions of bsds, 5.53 fell to 5.18 and 11 to 3 %."""


def heed(logits: Logits, pixels: NDArray[np.int64], labels: NDArray[np.int64]) -> Logits:
    """Move logits around clicked pixels that lie on the wrong side of 0.

    Args:
        logits: (h, w) float32, positive inside.
        pixels: (N, 2) xy indices into them.
        labels: (N,) 1 = on the object, 0 = not.

    Returns:
        (h, w) float32; the argument itself where every click is heeded. Among contradicting clicks the later wins.
    """
    spread = 2 * REACH**2 * max(float(np.count_nonzero(logits > 0)), SMALLEST_AREA)
    rows, columns = (np.arange(side, dtype=np.float32) for side in logits.shape)
    moved = logits
    for _ in range(PASSES):
        before = moved
        for (x, y), label in zip(pixels, labels, strict=True):
            sign = 1.0 if label == 1 else -1.0
            value = float(moved[y, x])
            if sign * value >= HEEDED:
                continue
            height = np.float32(sign * MARGIN - value)
            bump = np.outer(height * np.exp(-((rows - y) ** 2) / spread), np.exp(-((columns - x) ** 2) / spread))
            moved = moved + bump.astype(np.float32)
        if moved is before:
            break
    return moved


def finish_heeding(scene: Scene, coarse: Logits, pixels: NDArray[np.int64], labels: NDArray[np.int64]) -> Logits:
    """(h, w) float32 logits over the working grid from the network's, drawn to the picture's borders, clicks heeded.

    Args:
        scene: The image.
        coarse: Logits of any size, positive inside.
        pixels: (N, 2) xy indices of the clicked pixels of the working grid.
        labels: (N,) 1 = on the object, 0 = not.
    """
    own = heed(upsample_logits(coarse, scene.size), pixels, labels)
    finished = heed(finish(scene, own), pixels, labels)
    if len(pixels) < INSISTING:
        return finished
    borders, network = (np.clip(logits, -SURE, SURE) for logits in (finished, own))
    return heed(BORDER_SHARE * borders + (1 - BORDER_SHARE) * network, pixels, labels)
