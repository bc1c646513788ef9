"""How the segmenter in service is asked about the regions it proposed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.learn.acquisition.candidates import ProposedRegion
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.prompts import Prompt
from maskwright.regions import Region

MOST_PROPOSALS = 12
"""Regions of an image that are asked about, the best first; each costs one decode."""


def proposed_regions(
    segmenter: Segmenter, embedding: ImageEmbedding, regions: Sequence[Region], most: int = MOST_PROPOSALS
) -> tuple[ProposedRegion, ...]:
    """The segmenter's answers to the boxes of a pre-annotation's regions, all in one pass.

    Pre-annotations keep no logits and may come from elsewhere than the decoder; its own answers are what learning
    improves and what tells what it is unsure of.

    Args:
        segmenter: In service.
        embedding: Of the image, by it.
        regions: Best first, of the image's size; empty masks are passed over.
        most: At most so many are asked about.
    """
    prompts = [Prompt(box=region.mask.box) for region in regions if not region.mask.is_empty][:most]
    if not prompts:
        return ()
    answer = segmenter.decode(embedding, prompts)
    shown = without_padding(answer.low_res_logits[:, 0], embedding)
    return tuple(
        ProposedRegion(prompt, logits, float(expected))
        for prompt, logits, expected in zip(prompts, shown, answer.predicted_iou[:, 0], strict=True)
    )


def without_padding(logits: NDArray[np.float32], embedding: ImageEmbedding) -> NDArray[np.float32]:
    """The part of (..., h, w) logits that shows the image, where the encoder padded it to a square."""
    height, width = embedding.input_size
    rows, columns = logits.shape[-2:]
    if rows != columns or height == width:
        return logits
    longest = max(height, width)
    return logits[..., : -(-rows * height // longest), : -(-columns * width // longest)]
