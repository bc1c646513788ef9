"""The weight-free segmenter: clicks, boxes and strokes choose among the regions of a hierarchy; numpy and OpenCV only.

Encoding partitions the image and merges the parts up to one (``classical_hierarchy``). Every prompt yields nested
candidates, which are measured (``classical_regions``) and judged (``classical_scores``); marks add the likeliest
region or take it away, one after the other (``classical_answers``). Nothing is random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.classical_answers import DECODE_ALGORITHM, answer, marks_of
from maskwright.models.classical_arrays import ENCODE_ALGORITHM, scene_arrays, scene_nbytes, scene_of
from maskwright.models.classical_logits import (
    clicked_pixels,
    hold,
    keep_clicks,
    mask_to_logits,
    merge_logits,
    upsample_logits,
)
from maskwright.models.classical_proposals import propose_regions
from maskwright.models.classical_regions import Scene
from maskwright.models.protocols import RGB, Candidates, ImageEmbedding, Proposals
from maskwright.prompts import Prompt

WORKING_SIDE = 512
"""Longest side in pixels of the working grid; smaller images are enlarged at most twice."""


def _version(*parts: str) -> str:
    return "classical-" + hashlib.blake2b("/".join(parts).encode(), digest_size=4).hexdigest()


class ClassicalSegmenter:
    """``Segmenter`` and ``Proposer`` without weights; stateless, so any number of threads may share it."""

    def __init__(self) -> None:
        self.name = "classical"
        self.embedding_version = _version(ENCODE_ALGORITHM, str(WORKING_SIDE))
        self.version = _version(ENCODE_ALGORITHM, DECODE_ALGORITHM, str(WORKING_SIDE))
        self.embedding_nbytes = scene_nbytes(WORKING_SIDE)

    def encode(self, images: Sequence[RGB]) -> list[ImageEmbedding]:
        """Encode a batch of (H, W, 3) uint8 RGB images of any sizes.

        Raises:
            InvalidInput: If an image is empty, not uint8, or not (H, W, 3).
        """
        return [self._encode(image) for image in images]

    def _encode(self, image: RGB) -> ImageEmbedding:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InvalidInput(f"an image must be (H, W, 3) uint8 and not empty, got {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        scale = min(2.0, WORKING_SIDE / max(height, width))
        # A sliver keeps a few pixels across, or clicks on its two sides could not be told apart.
        size = (max(min(height, 8), round(height * scale)), max(min(width, 8), round(width * scale)))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=interpolation)
        return ImageEmbedding(scene_arrays(small), (height, width), size, self.embedding_version)

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        """Answer B prompts on one image; K is 3 (part to whole) with ``multimask_output``, else 1.

        Raises:
            InvalidInput: If a prompt holds nothing spatial and no mask_input, or the embedding is another version's.
        """
        scene = self._scene(embedding)
        scale = (scene.size[1] / embedding.original_size[1], scene.size[0] / embedding.original_size[0])
        count = 3 if multimask_output else 1
        logits = np.zeros((len(prompts), count, *embedding.input_size), dtype=np.float32)
        scores = np.zeros((len(prompts), count), dtype=np.float32)
        for index, prompt in enumerate(prompts):
            if not prompt.has_spatial and prompt.mask_input is None:
                raise InvalidInput(f"prompt {index} points at nothing: give a click, a box, a scribble or a mask_input")
            pixels = clicked_pixels(prompt, embedding.original_size)
            on_grid = prompt.scaled(*scale)
            before = None if prompt.mask_input is None else upsample_logits(prompt.mask_input, scene.size)
            for k, found in enumerate(answer(scene, on_grid, count)):
                made = mask_to_logits(found.mask, scene.rgb)
                for mark in marks_of(on_grid, scene.size):
                    hold(made, mark.pixels, mark.positive)
                if before is not None:
                    made = merge_logits(before, found.mask, made)
                logits[index, k] = keep_clicks(made, pixels, prompt.point_labels, embedding.original_size)
                scores[index, k] = found.predicted_iou
        return Candidates(logits, scores)

    def upsample(self, embedding: ImageEmbedding, low_res_logits: NDArray[np.float32]) -> Mask:
        """Turn one (h, w) array of logits into a mask of ``embedding.original_size``, threshold 0."""
        return Mask.from_array(upsample_logits(low_res_logits, embedding.original_size) > 0)

    def propose(self, embedding: ImageEmbedding) -> Proposals:
        """Candidate objects of the whole image, best first; see ``classical_proposals``.

        Raises:
            InvalidInput: If the embedding is another version's.
        """
        return propose_regions(self._scene(embedding), embedding.original_size)

    def _scene(self, embedding: ImageEmbedding) -> Scene:
        if embedding.model_version != self.embedding_version:
            raise InvalidInput(
                f"the image embedding was made by {embedding.model_version}, this is {self.embedding_version}: "
                "encode the image again"
            )
        return scene_of(embedding.arrays)
