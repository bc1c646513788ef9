"""A segmenter that knows the truth: the picture itself says which object each pixel belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from maskwright.masks import Mask
from maskwright.models.protocols import Candidates, ImageEmbedding
from maskwright.prompts import Prompt


class OracleSegmenter:
    """Objects are painted: a pixel's red value is its object's number, 0 is nothing.

    A click answers with the object under it, three times: sure, less sure, and a fuzzy one that deserves no trust.
    """

    name = "oracle"
    version = embedding_version = "oracle-1"
    embedding_nbytes = 1 << 20

    def __init__(self) -> None:
        self.prompts = 0
        self.calls: list[int] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[ImageEmbedding]:
        return [ImageEmbedding({"objects": i[..., 0].copy()}, i.shape[:2], i.shape[:2], self.version) for i in images]

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        self.calls.append(len(prompts))
        objects = embedding.arrays["objects"]
        logits, iou = [], []
        for prompt in prompts:
            x, y = prompt.point_coords[0].astype(int)
            number = objects[y, x]
            mask = np.where((objects == number) & (number > 0), 8.0, -8.0).astype(np.float32)
            logits.append([mask, mask, mask / 16])
            iou.append([0.97, 0.9, 0.99] if number else [0.1, 0.1, 0.1])
        k = 3 if multimask_output else 1
        return Candidates(np.array(logits)[:, :k], np.array(iou, dtype=np.float32)[:, :k])

    def upsample(self, embedding: ImageEmbedding, low_res_logits: np.ndarray) -> Mask:
        return Mask.from_array(low_res_logits > 0)


@pytest.fixture
def oracle() -> OracleSegmenter:
    return OracleSegmenter()


@pytest.fixture
def windows() -> Callable[..., Callable]:
    """What gives the embedding of a window of one picture."""

    def of(segmenter: OracleSegmenter, pixels: np.ndarray) -> Callable:
        def encode(window: tuple[int, int, int, int]) -> ImageEmbedding:
            x0, y0, x1, y1 = window
            return segmenter.encode([pixels[y0:y1, x0:x1]])[0]

        return encode

    return of


@pytest.fixture
def painted() -> Callable[..., np.ndarray]:
    """A picture of numbered objects from masks; later ones lie on top."""

    def of(size: tuple[int, int], *masks: Mask) -> np.ndarray:
        pixels = np.zeros((*size, 3), dtype=np.uint8)
        for number, mask in enumerate(masks, start=1):
            pixels[mask.to_array()] = number
        return pixels

    return of
