"""What detectors around a network of transformers hold alike: the network, its words, its input, and where it runs."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.models.detectors.phrases import INTERACTIVE, PhraseDetector, Thresholds
from maskwright.models.detectors.words import Words
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription


class Frame(Protocol):
    """How an image becomes a network's input."""

    def pixels(self, image: RGB) -> NDArray[np.float32]:
        """(3, h, w) float32 of an (H, W, 3) uint8 RGB image."""
        ...


class NetworkDetector(PhraseDetector):
    """Implements ``Detector`` but for ``find``.

    Args:
        model: The family's class of transformers, in evaluation mode on ``device``.
        words: Its tokenizer.
        description: Name and version.
        device: Where it runs.
        frame: Its input.
        thresholds: What counts as found; None for ``released``.
    """

    released: ClassVar[Thresholds] = INTERACTIVE
    """Those that the family was released with."""

    def __init__(
        self,
        model: Any,
        words: Words,
        description: StageDescription,
        device: ComputeDevice,
        frame: Frame,
        thresholds: Thresholds | None = None,
    ) -> None:
        super().__init__(description, self.released if thresholds is None else thresholds)
        self._model, self._words, self._device, self._frame = model, words, device, frame
        self._length = int(model.config.text_config.max_position_embeddings)

    def _pixels(self, image: RGB) -> torch.Tensor:
        """(1, 3, h, w) on the device."""
        return torch.from_numpy(self._frame.pixels(image))[None].to(self._device.torch)
