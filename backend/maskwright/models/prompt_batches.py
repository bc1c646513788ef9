"""Prompts on one image, grouped so that each group is one pass of a mask decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.preprocessing import InputFrame
from maskwright.models.scribbles import with_scribbles_as_points
from maskwright.prompts import Prompt


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """B prompts of one shape, in the coordinates of the model's input.

    Attributes:
        indices: Positions of the prompts in the caller's sequence.
        points: (B, N, 2) float32 xy, or None where no prompt of the batch has points.
        labels: (B, N) int64, 1 = on the object, 0 = not on it; None with ``points``.
        boxes: (B, 4) float32 xyxy, or None.
        masks: (B, 1, h, w) float32 logits of an earlier answer, or None.
    """

    indices: tuple[int, ...]
    points: NDArray[np.float32] | None
    labels: NDArray[np.int64] | None
    boxes: NDArray[np.float32] | None
    masks: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class _Arrays:
    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    box: NDArray[np.float32] | None
    mask: NDArray[np.float32] | None

    @property
    def shape(self) -> tuple[int, bool, bool]:
        return len(self.points), self.box is not None, self.mask is not None


def batch_prompts(
    prompts: Sequence[Prompt],
    frame: InputFrame,
    original_size: tuple[int, int],
    *,
    mask_side: int,
    limit: int,
) -> Iterator[PromptBatch]:
    """Group prompts by number of points, presence of a box and presence of logits.

    Points are not padded to equal counts: a padding token takes part in the decoder's attention, and would change the
    answer. Strokes count as the points that stand for them.

    Args:
        prompts: In image pixels.
        frame: The model's input.
        original_size: (H, W) of the image.
        mask_side: Side of the square logits that the model takes as ``mask_input``.
        limit: Most prompts in one batch.

    Raises:
        InvalidInput: If a prompt holds nothing spatial and no ``mask_input``, or the latter has another shape.
    """
    groups: dict[tuple[int, bool, bool], list[tuple[int, _Arrays]]] = {}
    for index, prompt in enumerate(prompts):
        arrays = _prepare(prompt, frame, original_size, mask_side)
        groups.setdefault(arrays.shape, []).append((index, arrays))
    for members in groups.values():
        for start in range(0, len(members), limit):
            yield _stack(members[start : start + limit])


def _prepare(prompt: Prompt, frame: InputFrame, original_size: tuple[int, int], mask_side: int) -> _Arrays:
    points, labels = with_scribbles_as_points(prompt, original_size)
    if not len(points) and prompt.box is None and prompt.mask_input is None:
        raise InvalidInput(
            "a prompt for this model needs a point, a box, a scribble or the logits of an earlier answer"
        )
    mask = prompt.mask_input
    if mask is not None and mask.shape != (mask_side, mask_side):
        raise InvalidInput(
            f"mask_input is {mask.shape}, but this model takes ({mask_side}, {mask_side}): "
            "give the low-resolution logits that it answered before"
        )
    box = None if prompt.box is None else np.array(prompt.box, dtype=np.float64).reshape(2, 2)
    return _Arrays(
        frame.coordinates(points, original_size),
        labels,
        None if box is None else frame.coordinates(box, original_size).reshape(4),
        None if mask is None else np.asarray(mask, dtype=np.float32)[None],
    )


def _stack(members: Sequence[tuple[int, _Arrays]]) -> PromptBatch:
    count, has_box, has_mask = members[0][1].shape
    return PromptBatch(
        indices=tuple(index for index, _ in members),
        points=np.stack([arrays.points for _, arrays in members]) if count else None,
        labels=np.stack([arrays.labels for _, arrays in members]) if count else None,
        boxes=np.stack([arrays.box for _, arrays in members if arrays.box is not None]) if has_box else None,
        masks=np.stack([arrays.mask for _, arrays in members if arrays.mask is not None]) if has_mask else None,
    )
