"""A simulated annotator who knows the object and clicks where the mask is most wrong.

The rules are those of RITM (Sofiiuk et al., "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation", 2021, arXiv 2102.06583), so that clicks can be compared with published figures: the next click lies
where the L2 distance to the border of the missed or of the wrongly taken pixels is largest, the frame's border
included; it is positive only if the missed ones are strictly deeper; no pixel is clicked twice; among equals the first
in reading order is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.learn.metrics import Pixels, iou


class Click(NamedTuple):
    """A click on one pixel.

    Attributes:
        x: Column of the pixel.
        y: Row of the pixel.
        label: 1 = on the object, 0 = not on it.
    """

    x: int
    y: int
    label: int

    @property
    def at_centre(self) -> tuple[float, float, int]:
        """x and y of the pixel's centre in absolute pixels, and the label: what a prompt is made of."""
        return self.x + 0.5, self.y + 0.5, self.label


Answer = Callable[[list[Click]], Pixels]
"""A segmenter as the annotator sees it: all clicks so far in, a mask out."""


def next_click(truth: Pixels, mask: Pixels, taken: Pixels) -> Click | None:
    """The next click, or None if nothing is wrong but pixels that were clicked already.

    Args:
        truth: (H, W) bool, the object.
        mask: (H, W) bool, the answer so far; empty before the first click.
        taken: (H, W) bool, the pixels clicked so far.
    """
    missed_depth, missed_x, missed_y = _deepest(truth & ~mask, taken)
    wrong_depth, wrong_x, wrong_y = _deepest(mask & ~truth, taken)
    if missed_depth > wrong_depth:
        return Click(missed_x, missed_y, 1)
    return Click(wrong_x, wrong_y, 0) if wrong_depth > 0 else None


def clicked_masks(truth: Pixels, answer: Answer) -> Iterator[Pixels]:
    """The answer to one click, to two, and so on, until nothing is left to click on; take as many as are wanted."""
    mask, taken = np.zeros_like(truth), np.zeros_like(truth)
    clicks: list[Click] = []
    while (click := next_click(truth, mask, taken)) is not None:
        taken[click.y, click.x] = True
        clicks.append(click)
        mask = answer(clicks)
        yield mask


def click_through(truth: Pixels, answer: Answer, clicks: int) -> list[float]:
    """IoU after each of so many clicks; where nothing is left to click on, the last IoU stays."""
    found: list[float] = []
    for mask in clicked_masks(truth, answer):
        found.append(iou(mask, truth))
        if len(found) == clicks:
            return found
    return found + found[-1:] * (clicks - len(found))


def _deepest(error: Pixels, taken: Pixels) -> tuple[float, int, int]:
    """Depth, x and y of the deepest pixel that is not taken; depth 0 where there is none.

    Everything around the bounding box is outside, so one row of zeros around it stands for the rest of the frame.
    """
    left, top, width, height = cv2.boundingRect(error.view(np.uint8))
    if not width:
        return 0.0, 0, 0
    part = np.s_[top : top + height, left : left + width]
    framed = np.pad(error[part], 1).view(np.uint8)
    depth: NDArray[np.float32] = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    depth = np.where(taken[part], np.float32(0), depth)
    y, x = divmod(int(depth.argmax()), width)
    return float(depth[y, x]), left + x, top + y
