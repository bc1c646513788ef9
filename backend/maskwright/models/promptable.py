"""What the SAM families share: one image encoder pass, then any number of prompt batches through a small decoder."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.device import ComputeDevice
from maskwright.models.families import ModelDescription
from maskwright.models.preprocessing import InputFrame
from maskwright.models.prompt_batches import PromptBatch, batch_prompts
from maskwright.models.protocols import RGB, Candidates, ImageEmbedding
from maskwright.models.upsample import mask_from_logits
from maskwright.prompts import Prompt

MULTIMASK_COUNT = 3
"""Masks per ambiguous prompt in every SAM family: whole, part, sub-part."""


@dataclass(frozen=True, eq=False)
class PromptTensors:
    """A ``PromptBatch`` on the model's device; see there for shapes."""

    points: torch.Tensor | None
    labels: torch.Tensor | None
    boxes: torch.Tensor | None
    masks: torch.Tensor | None


class PromptableSegmenter(ABC):
    """A ``Segmenter`` around a loaded SAM-like network. Holds no state of any image; safe under threads.

    Args:
        model: The network, in evaluation mode on ``device``.
        description: Name and versions.
        device: Where the network runs.
        frame: The encoder's input.
        mask_side: Side of the square low-resolution logits, as answered and as taken for ``mask_input``.
    """

    def __init__(
        self, model: Any, description: ModelDescription, device: ComputeDevice, frame: InputFrame, mask_side: int
    ) -> None:
        self._model = model
        self._describe(description)
        self._device = device
        self._frame = frame
        self._mask_side = mask_side

    @property
    def network(self) -> Any:
        """The network, not to be changed."""
        return self._model

    @property
    def device(self) -> ComputeDevice:
        """Where the network runs."""
        return self._device

    @property
    def frame(self) -> InputFrame:
        """The encoder's input."""
        return self._frame

    @property
    def mask_side(self) -> int:
        """Side of the square low-resolution logits."""
        return self._mask_side

    def with_network(self, network: Any, description: ModelDescription) -> Self:
        """The same around another network that differs in nothing that this class keeps of it: an adapted copy."""
        other = copy.copy(self)
        other._model = network
        other._describe(description)
        return other

    def _describe(self, description: ModelDescription) -> None:
        self.name = description.name
        self.version = description.version
        self.embedding_version = description.embedding_version
        self.embedding_nbytes = description.embedding_nbytes

    def encode(self, images: Sequence[RGB]) -> list[ImageEmbedding]:
        """Encode a batch; see ``Segmenter.encode``.

        Raises:
            InvalidInput: If an image is not (H, W, 3) uint8.
        """
        if not images:
            return []
        batch = torch.from_numpy(np.stack([self._frame.pixels(image) for image in images]))
        with self._device.encoder_inference():
            features = {
                name: tensor.to("cpu", torch.float32).numpy()
                for name, tensor in self.features(batch.to(self._device.torch)).items()
            }
        return [
            ImageEmbedding(
                arrays={name: _frozen(array[index]) for name, array in features.items()},
                original_size=(height, width),
                input_size=self._frame.input_size((height, width)),
                model_version=self.embedding_version,
            )
            for index, (height, width) in enumerate(image.shape[:2] for image in images)
        ]

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        """Answer prompts on one image; see ``Segmenter.decode``.

        Prompts with equal numbers of points (and boxes, and logits) share a pass.

        Raises:
            InvalidInput: If a prompt holds nothing spatial and no mask_input, its mask_input has another shape than
                this model's logits, or the embedding is another model's.
        """
        if embedding.model_version != self.embedding_version:
            raise InvalidInput(
                f"the image was encoded by {embedding.model_version}, not by {self.embedding_version}; encode it again"
            )
        count, masks = len(prompts), MULTIMASK_COUNT if multimask_output else 1
        logits = np.empty((count, masks, self._mask_side, self._mask_side), dtype=np.float32)
        scores = np.empty((count, masks), dtype=np.float32)
        objects: NDArray[np.float32] | None = None
        batches = batch_prompts(
            prompts,
            self._frame,
            embedding.original_size,
            mask_side=self._mask_side,
            limit=self._device.prompts_per_pass,
        )
        with self._device.inference():
            # Copied, because PyTorch cannot share the embedding's read-only memory.
            features = {
                name: torch.tensor(array)[None].to(self._device.torch) for name, array in embedding.arrays.items()
            }
            for batch in batches:
                rows = list(batch.indices)
                answer, iou, present = self.answers(features, self.tensors(batch), multimask_output)
                logits[rows] = answer.to("cpu", torch.float32).numpy()
                scores[rows] = iou.to("cpu", torch.float32).numpy()
                if present is not None:
                    objects = np.empty((count,), dtype=np.float32) if objects is None else objects
                    objects[rows] = present.to("cpu", torch.float32).numpy()
        return Candidates(logits, scores, objects)

    def upsample(self, embedding: ImageEmbedding, low_res_logits: NDArray[np.float32]) -> Mask:
        """Logits to a mask of the image's size; see ``Segmenter.upsample``."""
        if not self._frame.keep_aspect:
            return mask_from_logits(low_res_logits, embedding.original_size)
        return mask_from_logits(
            low_res_logits, embedding.original_size, padded=self._frame.side, input_size=embedding.input_size
        )

    def tensors(self, batch: PromptBatch) -> PromptTensors:
        """A batch on the model's device."""

        def on_device(array: NDArray[np.float32] | NDArray[np.int64] | None) -> torch.Tensor | None:
            return None if array is None else torch.from_numpy(array).to(self._device.torch)

        return PromptTensors(
            points=on_device(batch.points),
            labels=on_device(batch.labels),
            boxes=on_device(batch.boxes),
            masks=on_device(batch.masks),
        )

    @abstractmethod
    def features(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Named features, each with the batch first, of (B, 3, side, side) float32 pixels.

        Gradients flow, here and in ``answers``, where the caller has them enabled.
        """

    @abstractmethod
    def answers(
        self, features: Mapping[str, torch.Tensor], prompts: PromptTensors, multimask_output: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Logits (B, K, h, w), predicted IoU (B, K) and probability of an object (B,) or None.

        ``features`` are those of one image, with a batch dimension of 1.
        """


def _frozen(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A read-only copy, so that one image's embedding does not keep its whole batch alive."""
    own = array.copy()
    own.setflags(write=False)
    return own
