"""Sessions of a simulated annotator with a segmenter, and what is measured on them.

Every object is asked for twice: once with its tight box, once by clicks (``clicker``) until every threshold of
``THRESHOLDS`` was reached, after at least the last and at most ``MOST_CLICKS`` clicks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.learn.clicker import Answer, Click, clicked_masks
from maskwright.learn.metrics import Pixels, boundary_iou, iou
from maskwright.masks import Mask
from maskwright.models.protocols import RGB, ImageEmbedding, Segmenter
from maskwright.prompts import Box, Prompt

MOST_CLICKS = 20
"""An object that never reaches a threshold counts as if it had taken so many clicks, and as a failure."""
REPORTED_CLICKS = (1, 3, 5)
THRESHOLDS = (0.80, 0.85, 0.90)
"""IoU to be reached, of NoC@80, NoC@85 and NoC@90."""


class Session:
    """One object in the making: every prompt goes out with the last chosen logits, as from a labelling platform.

    Attributes:
        seconds: Time of each answer, logits to pixels included.
        predicted_iou: What the segmenter thought of each answer.
    """

    def __init__(self, segmenter: Segmenter, embedding: ImageEmbedding) -> None:
        self._segmenter, self._embedding = segmenter, embedding
        self._logits: NDArray[np.float32] | None = None
        self.seconds: list[float] = []
        self.predicted_iou: list[float] = []

    def ask(self, clicks: Sequence[Click], box: Box | None = None) -> Pixels:
        """The mask, (H, W) bool, for all clicks so far and a box; a first click takes the best of three masks."""
        prompt = Prompt.from_points([click.at_centre for click in clicks], box)
        if self._logits is not None:
            prompt = Prompt(prompt.point_coords, prompt.point_labels, prompt.box, (), self._logits)
        start = time.perf_counter()
        found = self._segmenter.decode(self._embedding, [prompt], multimask_output=prompt.is_ambiguous)
        best = int(found.predicted_iou[0].argmax())
        self._logits = found.low_res_logits[0, best]
        mask = self._segmenter.upsample(self._embedding, self._logits).to_array()
        self.seconds.append(time.perf_counter() - start)
        self.predicted_iou.append(float(found.predicted_iou[0, best]))
        return mask


@dataclass(frozen=True)
class Quality:
    """How like the object a mask is: IoU, and IoU of the boundaries."""

    iou: float
    boundary_iou: float


@dataclass(frozen=True)
class Clicked:
    """What clicks on one object came to.

    Attributes:
        ious: IoU after each click made; fewer than were allowed if all thresholds were reached or nothing was wrong.
        reported: Quality after each number of clicks in ``REPORTED_CLICKS``.
    """

    ious: tuple[float, ...]
    reported: tuple[Quality, ...]

    def clicks_to(self, threshold: float) -> int | None:
        """Clicks until the IoU first was ``threshold`` or more; None if it never was."""
        return next((number for number, value in enumerate(self.ious, 1) if value >= threshold), None)


@dataclass(frozen=True)
class Outcome:
    """What was measured on one object.

    Attributes:
        area: Its pixels.
        box: Quality of the answer to its tight box.
        clicked: What clicks came to.
        click_seconds: Time of the answer to each click.
    """

    area: int
    box: Quality
    clicked: Clicked
    click_seconds: tuple[float, ...]


def click_until_good(truth: Mask, answer: Answer) -> Clicked:
    """Click on an object, which is not empty, as the module says."""
    wanted, ious, reported = truth.to_array(), [], []
    mask = np.zeros_like(wanted)
    for mask in clicked_masks(wanted, answer):
        ious.append(iou(mask, wanted))
        if len(ious) in REPORTED_CLICKS:
            reported.append(Quality(ious[-1], boundary_iou(Mask.from_array(mask), truth)))
        good = len(ious) >= max(REPORTED_CLICKS) and max(ious) >= max(THRESHOLDS)
        if good or len(ious) == MOST_CLICKS:
            break
    if len(reported) < len(REPORTED_CLICKS):  # nothing was left to click on: the mask stays as it is
        last = Quality(ious[-1], boundary_iou(Mask.from_array(mask), truth))
        reported += [last] * (len(REPORTED_CLICKS) - len(reported))
    return Clicked(tuple(ious), tuple(reported))


def evaluate_object(segmenter: Segmenter, embedding: ImageEmbedding, truth: Mask) -> Outcome:
    """Ask for one object of an encoded image by box and by clicks.

    Args:
        segmenter: Any.
        embedding: Of the object's image, by the same segmenter.
        truth: The object, not empty, a mask of the image's size.
    """
    boxed = Mask.from_array(Session(segmenter, embedding).ask([], truth.box))
    session = Session(segmenter, embedding)
    clicked = click_until_good(truth, session.ask)
    box = Quality(boxed.iou(truth), boundary_iou(boxed, truth))
    return Outcome(truth.area, box, clicked, tuple(session.seconds))


def evaluate_image(segmenter: Segmenter, image: RGB, truths: Sequence[Mask]) -> tuple[list[Outcome], float]:
    """Encode an image once and ask for each of its objects.

    Args:
        segmenter: Any.
        image: (H, W, 3) uint8 RGB.
        truths: Objects, none of them empty, masks of the image's size.

    Returns:
        What was measured on each object, and the seconds that encoding took.
    """
    start = time.perf_counter()
    (embedding,) = segmenter.encode([image])
    seconds = time.perf_counter() - start
    return [evaluate_object(segmenter, embedding, truth) for truth in truths], seconds
