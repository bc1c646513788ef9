"""SAM, SAM-HQ, SAM 2 and SAM 3 under training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint

from maskwright.learn.training.trainable import Answers, Encoded, Grid
from maskwright.models.families import ModelDescription
from maskwright.models.prompt_batches import batch_prompts
from maskwright.models.promptable import PromptableSegmenter
from maskwright.models.protocols import RGB
from maskwright.prompts import Prompt


class PromptableTrainable:
    """See ``Trainable``. The encoder works in the device's arithmetic, prompts and decoder in float32, as in service.

    Args:
        segmenter: Around the network.
    """

    def __init__(self, segmenter: PromptableSegmenter) -> None:
        self._segmenter = segmenter
        self.device = segmenter.device

    @property
    def network(self) -> nn.Module:
        """See ``Trainable``."""
        network: nn.Module = self._segmenter.network
        return network

    def around(self, network: nn.Module) -> Self:
        """See ``Trainable``."""
        own = self._segmenter
        description = ModelDescription(own.name, own.version, own.embedding_version, own.embedding_nbytes)
        return type(self)(own.with_network(network, description))

    def encoder(self) -> nn.Module:
        """See ``Trainable``."""
        parts = dict(self.network.named_children())
        return parts["vision_encoder"] if "vision_encoder" in parts else parts["image_encoder"]

    def encode(self, image: RGB) -> Encoded:
        """See ``Trainable``."""
        pixels = torch.from_numpy(self._segmenter.frame.pixels(image))[None].to(self.device.torch, non_blocking=True)
        dtype = getattr(torch, self.device.dtype)
        with torch.autocast(self.device.torch.type, dtype=dtype, enabled=dtype != torch.float32):
            made = self._segmenter.features(pixels)
        features = {name: tensor.to(torch.float32) for name, tensor in made.items()}
        return Encoded((image.shape[0], image.shape[1]), features)

    def decode(self, encoded: Encoded, prompts: Sequence[Prompt], several: bool) -> Answers:
        """See ``Trainable``; prompts of one shape share a pass."""
        own = self._segmenter
        batches = list(
            batch_prompts(prompts, own.frame, encoded.size, mask_side=own.mask_side, limit=max(1, len(prompts)))
        )
        answers = [own.answers(encoded.features, own.tensors(batch), several) for batch in batches]
        order = np.argsort([index for batch in batches for index in batch.indices])
        rows = torch.from_numpy(order).to(self.device.torch)
        logits = torch.cat([found for found, *_ in answers])[rows]
        iou = torch.cat([expected for _, expected, _ in answers])[rows]
        present = [presence for *_, presence in answers if presence is not None]
        return Answers(logits, iou, torch.cat(present)[rows] if present else None)

    def grid(self, size: tuple[int, int]) -> Grid:
        """See ``Trainable``."""
        side = self._segmenter.mask_side
        if not self._segmenter.frame.keep_aspect:
            return Grid((side, side), (size[1] / side, size[0] / side))
        cell = max(size) / side
        height, width = (min(side, max(1, -int(-v // cell))) for v in size)
        return Grid((height, width), (cell, cell))

    def covered(self, size: tuple[int, int]) -> tuple[float, float]:
        """See ``Trainable``."""
        frame = self._segmenter.frame
        height, width = frame.input_size(size)
        return height / frame.side, width / frame.side

    def share(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See ``Trainable``."""
        side, (height, width) = self._segmenter.mask_side, mask.shape
        values = mask.astype(np.uint8) * np.uint8(255)
        if self._segmenter.frame.keep_aspect:
            longest = max(mask.shape)
            values = np.pad(values, ((0, longest - height), (0, longest - width)))
        way = cv2.INTER_AREA if side < max(mask.shape) else cv2.INTER_LINEAR
        cells = cv2.resize(values, (side, side), interpolation=way)
        rows, columns = self.grid((height, width)).size
        share: NDArray[np.float32] = cells[:rows, :columns].astype(np.float32) / 255
        return share

    def fed_back(self, encoded: Encoded, prompt: Prompt, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Trainable``."""
        return logits

    def taken(self, size: tuple[int, int], fed_back: NDArray[np.float32]) -> NDArray[np.bool_]:
        """See ``Trainable``."""
        rows, columns = self.grid(size).size
        inside: NDArray[np.bool_] = fed_back[:rows, :columns] > 0
        return inside


def save_memory(encoder: nn.Module) -> None:
    """Let an encoder's blocks compute their activations again in the backward pass instead of keeping them."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    for block in encoder.modules():
        if isinstance(block, GradientCheckpointingLayer):
            block.gradient_checkpointing = True
            block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
