"""Boxes to masks: a segmenter is asked with each box, then again with points from its own first answer.

Steps 6 to 8 of the training-free pipeline (Huang et al., BMVC 2024), and a rule that is not theirs: a second answer
that is another object than the first is only believed where the segmenter itself is surer of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.suggestion.points import Points, box_points
from maskwright.assist.suggestion.values import PointRule
from maskwright.masks import Mask
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.prompts import Box, Prompt

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
        segmenter: Asked once or twice, for all boxes together.
        embedding: Of the whole image.
        boxes: xyxy in pixels of the image.
        rule: Which points go with a box; ``none`` = the segmenter is asked once.
        count: Most points with ``spread``.
        negative_points: Whether what lies deepest in another box's first answer is marked as not part of the object,
            where it lies in this box.
    """
    if not boxes:
        return []
    with_boxes = [Prompt(box=box) for box in boxes]
    logits, qualities = _decode(segmenter, embedding, with_boxes)
    first = [
        BoxMask(segmenter.upsample(embedding, answer), quality, 1.0, False, prompt.content_hash())
        for answer, quality, prompt in zip(logits, qualities, with_boxes, strict=True)
    ]
    if rule == "none":
        return first
    points = box_points(rule, embedding, logits, boxes, count)
    off: list[Points] = [np.zeros((0, 2), dtype=np.float32)] * len(boxes)
    if negative_points:
        deepest = [one[0] for one in box_points("spread", embedding, logits, boxes, 1)]
        off = [_others_within(box, index, deepest) for index, box in enumerate(boxes)]
    with_points = [
        Prompt(np.concatenate([on, not_on]), np.repeat([1, 0], [len(on), len(not_on)]), box)
        for on, not_on, box in zip(points, off, boxes, strict=True)
    ]
    logits, qualities = _decode(segmenter, embedding, with_points)
    second = [
        BoxMask(segmenter.upsample(embedding, answer), quality, 1.0, False, prompt.content_hash())
        for answer, quality, prompt in zip(logits, qualities, with_points, strict=True)
    ]
    return [_believed(*pair) for pair in zip(first, second, strict=True)]


def _decode(
    segmenter: Segmenter, embedding: ImageEmbedding, prompts: Sequence[Prompt]
) -> tuple[NDArray[np.float32], list[float]]:
    """(n, h, w) logits of one mask per prompt, and estimates of their IoU in [0, 1]."""
    answer = segmenter.decode(embedding, prompts)
    qualities = np.clip(np.nan_to_num(answer.predicted_iou[:, 0].astype(np.float64), nan=0.0), 0, 1)
    return answer.low_res_logits[:, 0], qualities.tolist()


def _others_within(box: Box, own: int, points: Sequence[Points]) -> Points:
    """Those of the points of other boxes that lie in a box."""
    x0, y0, x1, y1 = box
    inside = [p for i, p in enumerate(points) if i != own and x0 <= p[0] < x1 and y0 <= p[1] < y1]
    return np.array(inside, dtype=np.float32).reshape(-1, 2)


def _believed(first: BoxMask, second: BoxMask) -> BoxMask:
    agreement = first.mask.iou(second.mask)
    if agreement >= SAME or second.quality > first.quality or first.mask.is_empty:
        return BoxMask(second.mask, second.quality, agreement, False, second.prompt_hash)
    return BoxMask(first.mask, first.quality, agreement, True, first.prompt_hash)
