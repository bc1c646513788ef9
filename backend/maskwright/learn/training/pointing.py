"""People who point at objects, as training plays them: jittered boxes, clicks in the middle of what is wrong.

Sources: Segment Anything (Kirillov et al. 2023, appendix A) for boxes, RITM (Sofiiuk et al. 2021) for clicks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.learn.training.trainable import Grid
from maskwright.prompts import Box, Prompt

BOX_JITTER, MOST_JITTER = 0.1, 20.0
"""Standard deviation of a hasty box's sides as a share of its width and height, and the most pixels a side is off."""
TIGHT_SHARE = 0.5
"""Share of boxes that are as tight as can be."""
CENTRE_SHARE = 0.6
"""Share of clicks exactly at the centre of the error; the others lie anywhere in its deeper half."""

Cells = NDArray[np.bool_]


@dataclass(eq=False)
class Pointing:
    """One object that is being pointed at.

    Attributes:
        share: (h, w) float32 share of every cell in the object.
        changed: (h, w) float32 share of every cell that a person changed.
        grid: Where the cells lie.
        box: xyxy in pixels of the image, or None.
        clicks: x, y in pixels of the image, and label.
        found: (h, w) cells that are shown as the last answer: people click on what they see.
        previous: Its logits as the segmenter takes them back, or None.
    """

    share: NDArray[np.float32]
    changed: NDArray[np.float32]
    grid: Grid
    box: Box | None = None
    clicks: list[tuple[float, float, int]] = field(default_factory=list)
    found: Cells | None = None
    previous: NDArray[np.float32] | None = None

    def click(self, rng: np.random.Generator | None) -> None:
        """Click where the answer is most wrong; without a generator exactly at its centre."""
        wanted = self.share > min(0.5, 0.5 * float(self.share.max()))
        found = np.zeros_like(wanted) if self.found is None else self.found
        missed, wrong = _depth(wanted & ~found), _depth(found & ~wanted)
        positive = bool(missed.max() > wrong.max())
        depth = missed if positive else wrong
        if depth.max() == 0:
            depth, positive = _depth(wanted), True
        index, inside = int(depth.argmax()), np.array([0.5, 0.5])
        if rng is not None:
            if rng.random() >= CENTRE_SHARE:
                index = int(rng.choice(np.flatnonzero(depth >= 0.5 * depth.max())))
            inside = rng.uniform(0.25, 0.75, 2)
        y, x = divmod(index, depth.shape[1])
        width, height = self.grid.cell
        self.clicks.append(((x + inside[0]) * width, (y + inside[1]) * height, int(positive)))

    def prompt(self, fed_back: bool) -> Prompt:
        """What is known of the object so far, the last answer with it or not."""
        said = Prompt.from_points(self.clicks, box=self.box)
        if not fed_back or self.previous is None:
            return said
        return Prompt(said.point_coords, said.point_labels, said.box, (), self.previous)


def jittered(box: Box, size: tuple[int, int], rng: np.random.Generator) -> Box:
    """A box as people draw it around the tight one given, inside an image of (H, W) pixels: half of them in haste."""
    if rng.random() < TIGHT_SHARE:
        return box
    x1, y1, x2, y2 = box
    spread = np.array([x2 - x1, y2 - y1] * 2)
    off = np.clip(rng.normal(0, BOX_JITTER, 4) * spread, -MOST_JITTER, MOST_JITTER)
    a, b, c, d = (float(v) for v in np.clip(np.array(box) + off, 0, [size[1], size[0]] * 2))
    return (a, b, c, d) if c > a + 1 and d > b + 1 else box


def _depth(error: Cells) -> NDArray[np.float32]:
    """(h, w) distance of every wrong cell to the border of its region, the image's edge counting as a border."""
    inside: NDArray[np.float32] = cv2.distanceTransform(np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return inside
