"""The small protocols behind which every model family stands.

Implementations are loaded once per process and shared by threads: ``encode`` and ``decode`` keep no state between
calls and may run concurrently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.prompts import Prompt

RGB = NDArray[np.uint8]
"""(H, W, 3) uint8."""


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """What an image encoder leaves for the mask decoder. Host memory only, so that it can be cached and shared.

    Attributes:
        arrays: Named arrays, dtype and shape chosen by the family; read-only.
        original_size: (H, W) of the encoded image in pixels.
        input_size: (h, w) of the resized image inside the encoder's padded input.
        model_version: Version of the segmenter that made it; ``decode`` refuses another.
    """

    arrays: Mapping[str, NDArray[Any]]
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    model_version: str

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        return sum(a.nbytes for a in self.arrays.values())


@dataclass(frozen=True, eq=False)
class Candidates:
    """Answers of a mask decoder to B prompts, K masks each.

    Attributes:
        low_res_logits: (B, K, h, w) float32; a pixel belongs to the mask where its logit is above 0.
        predicted_iou: (B, K) float32, the decoder's own estimate of each mask's IoU.
        object_score: (B,) float32 probability that anything is there, or None where the family has no such head.
    """

    low_res_logits: NDArray[np.float32]
    predicted_iou: NDArray[np.float32]
    object_score: NDArray[np.float32] | None = None


@runtime_checkable
class Segmenter(Protocol):
    """Prompts to masks.

    Attributes:
        name: Readable name, e.g. ``classical`` or ``sam-vit-base``.
        version: Name + short hash of everything that changes its answers (weights, algorithm version, dtype).
        embedding_version: As ``version`` but only of what changes ``encode``; the key of cached embeddings.
        embedding_nbytes: Upper bound of bytes that one image's embedding takes, for budgets.
    """

    name: str
    version: str
    embedding_version: str
    embedding_nbytes: int

    def encode(self, images: Sequence[RGB]) -> list[ImageEmbedding]:
        """Encode a batch of (H, W, 3) uint8 RGB images of any sizes."""
        ...

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        """Answer B prompts on one image in one pass; K is 3 with ``multimask_output``, else 1.

        Raises:
            InvalidInput: If a prompt holds nothing spatial and no mask_input, or the embedding is another version's.
        """
        ...

    def upsample(self, embedding: ImageEmbedding, low_res_logits: NDArray[np.float32]) -> Mask:
        """Turn one (h, w) array of logits into a mask of ``embedding.original_size``, threshold 0."""
        ...


@dataclass(frozen=True)
class Tag:
    """A word for what an image shows, with a probability in [0, 1]."""

    word: str
    confidence: float


class Tagger(Protocol):
    """Images to words."""

    name: str
    version: str

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """The ``top`` most probable tags of each image, most probable first."""
        ...


@runtime_checkable
class FixedVocabulary(Protocol):
    """A tagger that knows certain words and no others, so that its silence says nothing of what it has no word for."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """Every word that it can give."""
        ...


@runtime_checkable
class LearnsWords(Protocol):
    """A tagger that can be told of more words."""

    def knowing(self, words: Sequence[str]) -> Tagger:
        """One that may also give these words, written as here; the same object for the same words while it is kept."""
        ...


class Captioner(Protocol):
    """Images to sentences."""

    name: str
    version: str

    def captions(self, images: Sequence[RGB]) -> list[str]:
        """One sentence or two for each image; empty where nothing can be said."""
        ...


class DenseFeatures(Protocol):
    """Images to a vector for every place, comparable with each other and, in most families, with phrases."""

    name: str
    version: str

    def features(self, image: RGB) -> NDArray[np.float32]:
        """(h, w, d) float32, vectors of length 1 on a grid laid over the whole (H, W, 3) uint8 RGB image."""
        ...

    def text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32, rows of length 1.

        Raises:
            InvalidInput: If the family knows no language.
        """
        ...


class TextEncoder(Protocol):
    """Phrases to unit vectors whose dot product is their similarity in meaning."""

    name: str
    version: str

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32, rows of length 1."""
        ...


class RegionClassifier(Protocol):
    """A class for each region, from a label set."""

    name: str
    version: str

    def classify(self, image: RGB, masks: Sequence[Mask], phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Probabilities.

        Args:
            image: (H, W, 3) uint8 RGB.
            masks: M masks of the image's size.
            phrases: For each of C classes the words that mean it.

        Returns:
            (M, C) float32; what a row's sum lacks to 1 is the probability that the region shows none of the classes.
        """
        ...


@dataclass(frozen=True, eq=False)
class Evidence:
    """Where an image shows which class.

    Attributes:
        maps: (h, w, C) float32 in [0, 1] on a grid laid over the whole image: how sure each place is of each class,
            beyond what chance would say.
        heads: (n, 4) float32 xyxy in pixels of the image: faces.
        head_classes: (n, C) float32: the probability of each class for what each face belongs to.
        learnt: (C,) bool: classes that are known by examples, so that a lack of evidence from their words says nothing
            against them; None = none.
    """

    maps: NDArray[np.float32]
    heads: NDArray[np.float32]
    head_classes: NDArray[np.float32]
    learnt: NDArray[np.bool_] | None = None


@runtime_checkable
class Locator(Protocol):
    """A region classifier that can also say where an image shows its classes."""

    def locate(self, image: RGB, phrases: Sequence[Sequence[str]]) -> Evidence:
        """Where an (H, W, 3) uint8 RGB image shows each of C classes, each given by the words that mean it."""
        ...


@dataclass(frozen=True)
class Message:
    """One turn of a conversation with a language model; ``role`` is system, user or assistant."""

    role: str
    content: str
    images: tuple[bytes, ...] = field(default=())


class LanguageModel(Protocol):
    """A language model that answers in JSON."""

    name: str
    version: str

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        """An object valid under ``schema`` (JSON Schema), or ``ModelUnavailable``."""
        ...


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found: boxes (N, 4) float32 xyxy, scores (N,) float32, phrase_indices (N,) int64."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    phrase_indices: NDArray[np.int64]


class Detector(Protocol):
    """Phrases to boxes."""

    name: str
    version: str

    def detect(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """Find every object that one of the phrases names."""
        ...


@dataclass(frozen=True, eq=False)
class Proposals:
    """Class-agnostic masks over a whole image.

    Attributes:
        masks: M masks of the image's size.
        predicted_iou: (M,) float32 estimate of each mask's IoU with some object.
        stability: (M,) float32 in [0, 1]: IoU of the mask under a shifted threshold with itself, or what a family
            puts in its place.
    """

    masks: tuple[Mask, ...]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]

    def select(self, indices: Sequence[int]) -> Proposals:
        """The proposals at these positions, in this order."""
        chosen = list(indices)
        return Proposals(tuple(self.masks[i] for i in chosen), self.predicted_iou[chosen], self.stability[chosen])


@runtime_checkable
class Proposer(Protocol):
    """A segmenter that knows a better way to whole-image proposals than a grid of clicks."""

    def propose(self, embedding: ImageEmbedding) -> Proposals:
        """Candidate objects of the whole image, unfiltered, in no order that callers may rely on."""
        ...
