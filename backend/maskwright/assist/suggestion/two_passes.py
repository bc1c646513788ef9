"""Boxes to masks: a segmenter is asked with each box, then again with points from its own first answer.

Steps 6 to 8 of the training-free pipeline (Huang et al., BMVC 2024), and a rule that is not theirs: a second answer
that is another object than the first is only believed where the segmenter itself is surer of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.suggestion.points import Points, box_points, logit_span
from maskwright.assist.suggestion.values import PointRule
from maskwright.masks import Mask
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.prompts import Box, Prompt

AT_ONCE = 100
"""Boxes that the segmenter answers together: each takes megabytes while it does."""
MOST_OTHERS = 100
"""Points of a box that are not on its object, of the surest of the other boxes: each is paid for in every answer."""
SAME = 0.5
"""IoU of the two answers from which they are the same object."""


@dataclass(frozen=True, eq=False)
class BoxMask:
    """What a box led to.

    Attributes:
        mask: Of the image's size; may be empty.
        quality: The segmenter's estimate of its IoU, in [0, 1].
        agreement: IoU of the two answers; 1 where the segmenter was asked once.
        is_first: Whether the points' answer was refused and this is the box's.
        prompt_hash: Of the prompt that led to the mask.
    """

    mask: Mask
    quality: float
    agreement: float
    is_first: bool
    prompt_hash: str


def segment_boxes(
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    boxes: Sequence[Box],
    *,
    rule: PointRule,
    count: int,
    negative_points: bool = False,
) -> list[BoxMask]:
    """The object in each box.

    Args:
        segmenter: Asked once or twice, for up to ``AT_ONCE`` boxes together; of more boxes with ``top20``, whose
            points depend on the answers to all of them, once more.
        embedding: Of the whole image.
        boxes: xyxy in pixels of the image.
        rule: Which points go with a box; ``none`` = the segmenter is asked once.
        count: Most points with ``spread``.
        negative_points: Whether what lies deepest in another box's first answer is marked as not part of the object,
            where it lies in this box; ``MOST_OTHERS`` of the first boxes at most.
    """
    if not boxes:
        return []
    with_boxes = [Prompt(box=box) for box in boxes]
    span = None
    if rule == "top20" and len(boxes) > AT_ONCE:
        spans = [logit_span(embedding, logits) for _, logits, _ in _answers(segmenter, embedding, with_boxes)]
        span = min(low for low, _ in spans), max(high for _, high in spans)
    first: list[BoxMask] = []
    points: list[Points] = []
    deepest: list[Points] = []
    for part, logits, qualities in _answers(segmenter, embedding, with_boxes):
        own = boxes[len(first) : len(first) + len(part)]
        first += _masks(segmenter, embedding, part, logits, qualities)
        if rule != "none":
            points += box_points(rule, embedding, logits, own, count, span)
            deepest += box_points("spread", embedding, logits, own, 1) if negative_points else []
    if rule == "none":
        return first
    off: list[Points] = [np.zeros((0, 2), dtype=np.float32)] * len(boxes)
    if negative_points:
        others = np.stack([one[0] for one in deepest])
        off = [_others_within(box, index, others) for index, box in enumerate(boxes)]
    with_points = [
        Prompt(np.concatenate([on, not_on]), np.repeat([1, 0], [len(on), len(not_on)]), box)
        for on, not_on, box in zip(points, off, boxes, strict=True)
    ]
    second = [
        mask
        for part, logits, qualities in _answers(segmenter, embedding, with_points)
        for mask in _masks(segmenter, embedding, part, logits, qualities)
    ]
    return [_believed(*pair) for pair in zip(first, second, strict=True)]


def _answers(
    segmenter: Segmenter, embedding: ImageEmbedding, prompts: Sequence[Prompt]
) -> Iterator[tuple[Sequence[Prompt], NDArray[np.float32], list[float]]]:
    """Some n of the prompts after others: they, (n, h, w) logits of a mask for each, estimates of IoU in [0, 1]."""
    for start in range(0, len(prompts), AT_ONCE):
        part = prompts[start : start + AT_ONCE]
        answer = segmenter.decode(embedding, part)
        qualities = np.clip(np.nan_to_num(answer.predicted_iou[:, 0].astype(np.float64), nan=0.0), 0, 1)
        yield part, answer.low_res_logits[:, 0], qualities.tolist()


def _masks(
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    prompts: Sequence[Prompt],
    logits: NDArray[np.float32],
    qualities: Sequence[float],
) -> list[BoxMask]:
    return [
        BoxMask(segmenter.upsample(embedding, answer), quality, 1.0, False, prompt.content_hash())
        for answer, quality, prompt in zip(logits, qualities, prompts, strict=True)
    ]


def _others_within(box: Box, own: int, points: Points) -> Points:
    """Those of the (n, 2) points of all boxes that lie in a box and are not its own, ``MOST_OTHERS`` at most."""
    x0, y0, x1, y1 = box
    xs, ys = points.T
    inside = (x0 <= xs) & (xs < x1) & (y0 <= ys) & (ys < y1)
    inside[own] = False
    others: Points = points[inside][:MOST_OTHERS]
    return others


def _believed(first: BoxMask, second: BoxMask) -> BoxMask:
    agreement = first.mask.iou(second.mask)
    if agreement >= SAME or second.quality > first.quality or first.mask.is_empty:
        return BoxMask(second.mask, second.quality, agreement, False, second.prompt_hash)
    return BoxMask(first.mask, first.quality, agreement, True, first.prompt_hash)
