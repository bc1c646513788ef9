"""What every detector by phrases does alike: phrases made comparable, boxes held to the image, repeats dropped."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.detectors.suppression import suppress
from maskwright.models.protocols import RGB, Detections
from maskwright.models.stages import StageDescription

_SENTENCE_ENDS = re.compile(r"[.?\s]+")


@dataclass(frozen=True)
class Thresholds:
    """What counts as found. The defaults suit a person who looks on; ``RECALL`` misses less and is wrong more often.

    Attributes:
        box: A box's score must lie above it.
        text: A word's probability must lie above it for the word to name a box; read only by families that score
            every word.

    Raises:
        InvalidInput: If one of them lies outside [0, 1].
    """

    box: float = 0.25
    text: float = 0.15

    def __post_init__(self) -> None:
        for name, value in (("box", self.box), ("text", self.text)):
            if not 0 <= value <= 1:
                raise InvalidInput(f"the {name} threshold is {value}; it must lie between 0 and 1")


INTERACTIVE = Thresholds()
RECALL = Thresholds(box=0.18, text=0.15)
"""Those of the training-free pipeline with a language model after the detector (BMVC 2024, Grounding DINO)."""


class PhraseDetector(ABC):
    """Implements ``Detector`` around what a family finds. Safe under threads.

    Args:
        description: Name and version of the model.
        thresholds: The family's own.
    """

    def __init__(self, description: StageDescription, thresholds: Thresholds) -> None:
        self.name = description.name
        self.version = description.version
        self.thresholds = thresholds
        self._description = description
        self._usual = thresholds

    def with_thresholds(self, thresholds: Thresholds) -> Self:
        """The same model under other thresholds, which its version then names; weights are shared."""
        other = copy.copy(self)
        other.thresholds = thresholds
        other.version = self._description.version
        if thresholds != self._usual:
            other.version += f"-box{thresholds.box:g}-text{thresholds.text:g}"
        return other

    def for_recall(self) -> Self:
        """The same model under ``RECALL``; a family with released thresholds of its own keeps them."""
        return self.with_thresholds(RECALL if self._usual == INTERACTIVE else self._usual)

    def detect(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """Every object that one of the phrases names, best first, each once.

        Args:
            image: (H, W, 3) uint8 RGB.
            phrases: In any case; a full stop or question mark counts as a blank. Of equal ones the first is answered.

        Returns:
            Boxes within the image, in its pixels.

        Raises:
            InvalidInput: If the image has another shape or dtype, or a phrase says nothing or is too long.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InvalidInput(f"an image must be (H, W, 3) uint8 and not empty, not {image.shape} {image.dtype}")
        wanted: dict[str, int] = {}
        for index, phrase in enumerate(phrases):
            cleaned = _SENTENCE_ENDS.sub(" ", phrase).strip().lower()
            if not cleaned:
                raise InvalidInput(f"phrase {index} ({phrase!r}) names nothing; leave it out")
            wanted.setdefault(cleaned, index)
        if not wanted:
            return joined([])
        kept = suppress(_within(self.find(image, list(wanted)), (image.shape[0], image.shape[1])))
        return replace(kept, phrase_indices=np.array(list(wanted.values()), dtype=np.int64)[kept.phrase_indices])

    @abstractmethod
    def find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """All that a checked image shows of one or more distinct phrases above the thresholds, with repeats."""


def joined(parts: Sequence[Detections]) -> Detections:
    """Several findings as one, in their order."""
    return Detections(
        np.concatenate([np.zeros((0, 4), dtype=np.float32), *(part.boxes for part in parts)]),
        np.concatenate([np.zeros(0, dtype=np.float32), *(part.scores for part in parts)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(part.phrase_indices for part in parts)]),
    )


def corners(centred: NDArray[np.float32], scale: tuple[float, float]) -> NDArray[np.float32]:
    """(N, 4) float32 xyxy in pixels of (N, 4) centres and sizes as parts of a frame of ``scale`` (width, height)."""
    middle, half = centred[:, :2], centred[:, 2:] * np.float32(0.5)
    boxes: NDArray[np.float32] = np.concatenate([middle - half, middle + half], axis=1)
    return boxes * np.array([*scale, *scale], dtype=np.float32)


def _within(found: Detections, size: tuple[int, int]) -> Detections:
    """The parts of the boxes that lie in an (H, W) image; what lies wholly outside goes."""
    height, width = size
    boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], dtype=np.float32))
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(boxes[seen], found.scores[seen], found.phrase_indices[seen])
