"""An annotator who exists only in training: boxes drawn in haste, clicks near the middle of what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.prompts import Box, Prompt

Pixels = NDArray[np.bool_]
BOX_SHARE, BOX_AND_CLICK_SHARE = 0.4, 0.05
BOX_JITTER = 0.035
"""Standard deviation of a box's sides as a share of its width and height; half of all boxes are tight."""
CENTRE_SHARE = 0.6
"""Share of clicks exactly at the centre of the error; the others lie anywhere in its deeper half."""
FORGETFUL = 0.08
"""Share of later prompts that come without the previous answer."""


@dataclass(eq=False)
class Session:
    """One object that is being pointed at.

    Attributes:
        truth: (h, w) bool on the working grid.
        share: (h / 2, w / 2) float32 share of every cell in the object.
        box: xyxy or None.
        clicks: (x, y, label) in pixels of the grid.
        logits: (h, w) float32 of the last answer, or None.
    """

    truth: Pixels
    share: NDArray[np.float32]
    box: Box | None = None
    clicks: list[tuple[float, float, int]] = field(default_factory=list)
    logits: NDArray[np.float32] | None = None

    @classmethod
    def begin(cls, truth: Pixels, rng: np.random.Generator) -> Session:
        """Point at an object for the first time: with a box, a click, or both."""
        height, width = truth.shape
        share = cv2.resize(truth.astype(np.float32), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        session = cls(truth, share)
        choice = rng.random()
        if choice < BOX_SHARE + BOX_AND_CLICK_SHARE:
            session.box = hasty_box(truth, rng)
        if choice >= BOX_SHARE:
            session.click(rng)
        return session

    def click(self, rng: np.random.Generator) -> None:
        """Click on what is wrong with the last answer; where nothing is, on the object."""
        found = np.zeros(self.share.shape, dtype=bool) if self.logits is None else self.logits[::2, ::2] > 0
        wanted = self.share > 0.5
        if not wanted.any():
            wanted = self.share > 0.5 * self.share.max()
        missed, wrong = _depth(wanted & ~found), _depth(found & ~wanted)
        positive = missed.max() > wrong.max()
        depth = missed if positive or wrong.max() == 0 else wrong
        if depth.max() == 0:
            depth, positive = _depth(wanted), True
        if rng.random() < CENTRE_SHARE:
            index = int(depth.argmax())
        else:
            index = int(rng.choice(np.flatnonzero(depth >= 0.5 * depth.max())))
        y, x = divmod(index, depth.shape[1])
        jitter = rng.integers(0, 2, 2)
        self.clicks.append((2.0 * x + float(jitter[0]) + 0.5, 2.0 * y + float(jitter[1]) + 0.5, int(positive)))

    def prompt(self, rng: np.random.Generator) -> Prompt:
        """What is known of the object so far."""
        said = Prompt.from_points(self.clicks, box=self.box)
        if self.logits is None or (self.clicks and rng.random() < FORGETFUL):
            return said
        return Prompt(said.point_coords, said.point_labels, said.box, (), self.logits)


def hasty_box(truth: Pixels, rng: np.random.Generator) -> Box:
    """The tight box, or half of the time one whose sides are off by a few per cent."""
    x, y, w, h = cv2.boundingRect(truth.astype(np.uint8))
    sides = np.array([x, y, x + w, y + h], dtype=np.float64)
    if rng.random() < 0.5:
        sides += rng.normal(0, BOX_JITTER, 4) * [w, h, w, h]
        sides = np.clip(sides, 0, [truth.shape[1], truth.shape[0]] * 2)
    x1, y1, x2, y2 = (float(v) for v in sides)
    return (x1, y1, x2, y2) if x2 > x1 + 1 and y2 > y1 + 1 else (float(x), float(y), float(x + w), float(y + h))


def _depth(error: Pixels) -> NDArray[np.float32]:
    """(h, w) distance of every wrong cell to the border of its region, the image's edge counting as a border."""
    inside: NDArray[np.float32] = cv2.distanceTransform(np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return inside
