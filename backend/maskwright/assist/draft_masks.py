"""From a coarse draft to a mask with sharp edges: the cells that a language model marked, refined by a segmenter.

The idea is Text4Seg's (ICLR 2025, arXiv 2410.09855, mask refinement with SAM): points inside and outside of the draft,
and the draft itself as logits. There, 20 points of each kind are drawn at random and two more passes feed the logits
back. Here a box goes in too, the few points are the deepest places by distance transform, none of them where cells are
unsure, and the answer is held to what the grid allows, one cell around the draft.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.masks.cells import mask_of_cells
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.prompts import Prompt

SURE = 6.9
"""The inverse sigmoid of 1 - 1e-3: logits of a draft, as the paper's code has them."""
_HALF_CELL = 0.45
_WINDOW = 3
"""Points outside lie within so many cells of the draft's box: further away they say nothing."""
Cells = NDArray[np.bool_]
"""(N, N) bool: which cells of a grid over the whole image belong to the object."""


@dataclass(frozen=True)
class Refinement:
    """How a draft is refined. The defaults suit the learnt segmenter (``bench_text4seg.py``); the weight-free one
    takes logits for settled and does better on drafts of small objects without ``draft_logits``.

    Attributes:
        points: Most points of each kind, on and off the object.
        box_margin: Cells by which the tight box around the draft is widened on every side; above -1/2.
        draft_logits: Whether the draft goes in as ``mask_input``.
        passes: Times that the segmenter is asked; from the second on it gets the logits of its last answer.
        leash: Cells by which the answer may leave the draft, inwards and outwards; None sets it free.

    Raises:
        InvalidInput: If a number is out of bounds.
    """

    points: int = 3
    box_margin: float = 0.25
    draft_logits: bool = True
    passes: int = 1
    leash: int | None = 1

    def __post_init__(self) -> None:
        if self.box_margin <= -0.5 or self.passes < 1 or self.points < 0 or (self.leash or 0) < 0:
            raise InvalidInput("a box margin is above -1/2 cells, passes 1 or more, points and leash 0 or more")


def refine_draft(segmenter: Segmenter, embedding: ImageEmbedding, cells: Cells, how: Refinement | None = None) -> Mask:
    """Ask a segmenter for the object that a draft shows.

    Args:
        segmenter: Any.
        embedding: Of the image, by the same segmenter.
        cells: The draft. Where no cell is marked the answer is empty, and the segmenter is not asked.
        how: How, or the measured default.

    Returns:
        A mask of the image's size.
    """
    how = how or Refinement()
    size = embedding.original_size
    if not cells.any():
        return Mask.empty(size)
    prompt = draft_prompt(cells, size, how)
    logits = _ask(segmenter, embedding, prompt)
    asked = 1
    if how.draft_logits:
        # The first answer only tells the shape of this segmenter's logits.
        logits = draft_logits(cells, (logits.shape[0], logits.shape[1]), embedding.input_size)
        asked = 0
    for _ in range(asked, how.passes):
        logits = _ask(segmenter, embedding, replace(prompt, mask_input=logits))
    found = segmenter.upsample(embedding, logits)
    if how.leash is None:
        return found
    near = mask_of_cells(grown(cells, how.leash), size)
    core = mask_of_cells(~grown(~cells, how.leash), size)
    return found.intersection(near).union(core)


def draft_prompt(cells: Cells, size: tuple[int, int], how: Refinement) -> Prompt:
    """Box and points for a draft, of which some cell is marked, in pixels of an (H, W) image.

    Points on the object lie at least half a cell deep in the draft; points off it are a cell away from the draft.
    """
    side = cells.shape[0]
    height, width = size
    draft, doubtful = mask_of_cells(cells, size), mask_of_cells(grown(cells, 1), size)
    if draft.is_empty:  # the image has fewer pixels than cells, and none in the marked ones
        draft = Mask.full(size)
    cell = np.array([width / side, height / side])
    left, top, right, bottom = draft.box
    reach = np.ceil(_WINDOW * cell)
    x0, y0 = int(max(0, left - reach[0])), int(max(0, top - reach[1]))
    x1, y1 = int(min(width, right + reach[0])), int(min(height, bottom + reach[1]))
    inside, outside = draft.crop_array(x0, y0, x1, y1), ~doubtful.crop_array(x0, y0, x1, y1)
    least = _HALF_CELL * float(cell.min())
    points = [
        (x0 + x + 0.5, y0 + y + 0.5, label)
        for part, label in ((inside, 1), (outside, 0))
        for x, y in deepest_places(part, how.points, least)
    ]
    dx, dy = cell * how.box_margin
    box = (max(0.0, left - dx), max(0.0, top - dy), min(float(width), right + dx), min(float(height), bottom + dy))
    return Prompt.from_points(points, box)


def deepest_places(inside: NDArray[np.bool_], most: int, least_depth: float = 0.0) -> list[tuple[int, int]]:
    """Up to ``most`` pixels far from the border of an (h, w) bool mask and from each other, deepest first.

    Each one taken lies deepest (L2 distance to a pixel outside; the frame is no border) among those that no earlier
    one's disc covers, whose radius is its depth. All but the first are at least ``least_depth`` pixels deep.

    Returns:
        (x, y) columns and rows.
    """
    if not inside.any():
        return []
    if inside.all():
        depth = np.full(inside.shape, max(inside.shape), dtype=np.float32)
        depth[inside.shape[0] // 2, inside.shape[1] // 2] += 1
    else:
        depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ys, xs = np.indices(inside.shape, sparse=True)
    free = depth.copy()
    places: list[tuple[int, int]] = []
    while len(places) < most and free.max() > (least_depth if places else 0):
        y, x = divmod(int(free.argmax()), inside.shape[1])
        places.append((x, y))
        free[(xs - x) ** 2 + (ys - y) ** 2 <= float(depth[y, x]) ** 2] = 0
    return places


def draft_logits(cells: Cells, shape: tuple[int, int], input_size: tuple[int, int]) -> NDArray[np.float32]:
    """The draft as low-resolution logits, enlarged bilinearly.

    Args:
        cells: The draft.
        shape: (h, w) of the segmenter's logits. Where it pads images to a square, the draft fills only the image's
            part: the longer side of the image always fills the input.
        input_size: (h, w) of the image inside the segmenter's input.
    """
    height, width = image_part(shape, input_size)
    coarse = np.where(cells, np.float32(SURE), np.float32(-SURE))
    logits = np.full(shape, -SURE, dtype=np.float32)
    logits[:height, :width] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return logits


def image_part(shape: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the upper left part of logits of a shape that shows an image of that size inside the padded input."""
    scale = max(shape) / max(input_size)
    height, width = (min(most, max(1, round(v * scale))) for v, most in zip(input_size, shape, strict=True))
    return height, width


def grown(cells: Cells, by: int) -> Cells:
    """The cells and their neighbours, corners included, up to so many cells away."""
    wide = cv2.dilate(cells.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), dtype=np.uint8))
    marked: Cells = wide.astype(np.bool_)
    return marked


def _ask(segmenter: Segmenter, embedding: ImageEmbedding, prompt: Prompt) -> NDArray[np.float32]:
    """(h, w) logits of a single mask."""
    answer = segmenter.decode(embedding, [prompt])
    logits: NDArray[np.float32] = answer.low_res_logits[0, 0]
    return logits
