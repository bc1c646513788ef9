"""A segmenter that knows the truth: the picture itself says which object each pixel belongs to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from maskwright.images import Image
from maskwright.masks import Mask
from maskwright.models.language.prompt_sets import read_data
from maskwright.models.protocols import Candidates, ImageEmbedding, Message
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


class CountingSegmenter:
    """Painted objects again, for tests of traffic: it counts what it does, and can be held at the encoder's door.

    The last click adds its object to what ``mask_input`` shows (a negative one takes it away), so an answer tells
    whether the clicks before it were fed back. Of three masks the middle one is the best: the object under the click.
    """

    name = "counting"
    version = "counting-v"
    embedding_version = "counting-1"
    embedding_nbytes = 1 << 16

    def __init__(self, name: str = "counting") -> None:
        self.name, self.version, self.embedding_version = name, f"{name}-v", f"{name}-1"
        self.batches: list[list[int]] = []
        self.decodes: list[tuple[int, bool, bool]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.poison: set[int] = set()
        self._lock = threading.Lock()

    @property
    def encoded(self) -> list[int]:
        """The painted numbers (blue of the first pixel) of all images, in the order of their encodes."""
        return [number for batch in self.batches for number in batch]

    def encode(self, images: Sequence[np.ndarray]) -> list[ImageEmbedding]:
        numbers = [int(image[0, 0, 2]) for image in images]
        with self._lock:
            self.batches.append(numbers)
        self.entered.release()
        assert self.open.wait(20)
        if self.poison.intersection(numbers):
            raise ValueError("this image cannot be encoded")
        return [
            ImageEmbedding({"objects": i[..., 0].copy()}, i.shape[:2], i.shape[:2], self.embedding_version)
            for i in images
        ]

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        objects = embedding.arrays["objects"]
        logits, iou = [], []
        for prompt in prompts:
            with self._lock:
                self.decodes.append((len(prompt.point_labels), prompt.mask_input is not None, multimask_output))
            mask = np.zeros(objects.shape, bool) if prompt.mask_input is None else prompt.mask_input > 0
            if prompt.box is not None and prompt.mask_input is None:
                x0, y0, x1, y1 = (int(v) for v in prompt.box)
                mask[y0:y1, x0:x1] = objects[y0:y1, x0:x1] > 0
            if len(prompt.point_labels):
                x, y = prompt.point_coords[-1].astype(int)
                touched = (objects == objects[y, x]) & (objects > 0)
                mask = mask | touched if prompt.point_labels[-1] else mask & ~touched
            soft = np.where(mask, 8.0, -8.0).astype(np.float32)
            logits.append([-soft, soft, np.abs(soft)] if multimask_output else [soft])
            iou.append([0.2, 0.9, 0.4] if multimask_output else [0.8])
        return Candidates(np.array(logits), np.array(iou, dtype=np.float32))

    def upsample(self, embedding: ImageEmbedding, low_res_logits: np.ndarray) -> Mask:
        return Mask.from_array(low_res_logits > 0)


@pytest.fixture
def counting() -> CountingSegmenter:
    return CountingSegmenter()


@pytest.fixture
def make_counting() -> Callable[[str], CountingSegmenter]:
    return CountingSegmenter


@pytest.fixture
def picture() -> Callable[..., Image]:
    """Image number ``number`` with boxes (xyxy) painted as objects 1, 2, ..."""

    def of(number: int, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (40, 60)) -> Image:
        pixels = np.zeros((*size, 3), dtype=np.uint8)
        for value, (x0, y0, x1, y1) in enumerate(boxes, start=1):
            pixels[y0:y1, x0:x1, 0] = value
        pixels[..., 2] = number
        pixels.setflags(write=False)
        return Image(pixels, f"{number:064d}", f"{number:064d}")

    return of


class ScriptedLanguage:
    """Answers with what it was given, or a function of what was read off the picture; notes what it was asked."""

    name = "scripted"
    version = "scripted-1"

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[dict[str, Any]] = []

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Any:
        data = read_data(messages)
        self.asked.append(data)
        found = self._answer(data) if callable(self._answer) else self._answer
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def scripted() -> type[ScriptedLanguage]:
    return ScriptedLanguage


class BoxOracle:
    """Painted objects, by a segmenter that is as unsure about boxes as segmenters are.

    Objects are numbered pixels. A box alone means all that lies in it, the more of an object the surer; with points
    it means the object under most of those on the object, less those under the others.
    """

    name, version, embedding_version, embedding_nbytes = "oracle", "oracle-1", "oracle-1", 1

    def __init__(self) -> None:
        self.prompts = []

    def encode(self, images):
        return [ImageEmbedding({"objects": i[..., 0]}, i.shape[:2], i.shape[:2], self.version) for i in images]

    def decode(self, embedding, prompts, *, multimask_output=False):
        self.prompts.append(list(prompts))
        answers = [self._answer(embedding.arrays["objects"], prompt) for prompt in prompts]
        logits = np.stack([one for one, _ in answers])[:, None]
        return Candidates(logits, np.array([[quality] for _, quality in answers], dtype=np.float32))

    def _answer(self, objects, prompt):
        if not len(prompt.point_labels):
            x0, y0, x1, y1 = (int(v) for v in prompt.box)
            inside = np.zeros(objects.shape, dtype=bool)
            inside[y0:y1, x0:x1] = True
            logits = np.full(objects.shape, -8, dtype=np.float32)
            for number in np.unique(objects[inside & (objects > 0)]):
                share = (inside & (objects == number)).sum() / (objects == number).sum()
                logits[inside & (objects == number)] = 1 + 7 * share
            return logits, 0.7
        under = [int(objects[int(y), int(x)]) for x, y in prompt.point_coords]
        on = [n for n, label in zip(under, prompt.point_labels, strict=True) if label and n]
        off = {n for n, label in zip(under, prompt.point_labels, strict=True) if not label}
        meant = max([n for n in on if n not in off] or [0], key=on.count)
        return np.where((objects == meant) & (meant > 0), np.float32(8), np.float32(-8)), 0.9

    def upsample(self, embedding, low_res_logits):
        return Mask.from_array(low_res_logits > 0)


@pytest.fixture
def box_oracle() -> type[BoxOracle]:
    return BoxOracle
