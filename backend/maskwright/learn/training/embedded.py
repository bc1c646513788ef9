"""The embedded network under training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from maskwright.learn.training.trainable import Answers, Encoded, Grid
from maskwright.models.classical_arrays import scene_arrays, scene_of
from maskwright.models.classical_logits import clicked_pixels
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.heeding import finish_heeding
from maskwright.models.embedded.inputs import Frame, image_tensor, stack_prompts, working_pixels
from maskwright.models.embedded.network import EmbeddedNetwork, Prompts
from maskwright.models.protocols import RGB
from maskwright.prompts import Prompt


class EmbeddedTrainable:
    """See ``Trainable``.

    Args:
        network: With its weights, on ``device``.
        device: Where it runs.
    """

    def __init__(self, network: nn.Module, device: ComputeDevice) -> None:
        assert isinstance(network, EmbeddedNetwork)
        self._network = network
        self.device = device

    @property
    def network(self) -> nn.Module:
        """See ``Trainable``."""
        return self._network

    def around(self, network: nn.Module) -> Self:
        """See ``Trainable``."""
        return type(self)(network, self.device)

    def encoder(self) -> nn.Module:
        """See ``Trainable``."""
        return self._network.backbone

    def encode(self, image: RGB) -> Encoded:
        """See ``Trainable``; the scene is the weight-free engine's."""
        size = (image.shape[0], image.shape[1])
        frame = Frame.of(size)
        pixels = working_pixels(image, frame)
        features = self._network.encode(image_tensor(pixels, frame).to(self.device.torch))
        return Encoded(size, features, scene_of(scene_arrays(pixels)))

    def decode(self, encoded: Encoded, prompts: Sequence[Prompt], several: bool) -> Answers:
        """See ``Trainable``."""
        frame = Frame(encoded.scene.size)
        scale = (frame.size[1] / encoded.size[1], frame.size[0] / encoded.size[0])
        made = stack_prompts(encoded.scene, frame, [prompt.scaled(*scale) for prompt in prompts])
        device = self.device.torch
        dense = made.dense.to(device).contiguous(memory_format=torch.channels_last)
        batch = Prompts(dense, made.points.to(device), made.kinds.to(device), made.scores.to(device), made.size)
        logits, expected = self._network.decoder(dict(encoded.features), batch)
        chosen = slice(1, 4) if several else slice(0, 1)
        return Answers(logits[:, chosen, : frame.half[0], : frame.half[1]], expected[:, chosen].sigmoid())

    def grid(self, size: tuple[int, int]) -> Grid:
        """See ``Trainable``."""
        height, width = Frame.of(size).half
        return Grid((height, width), (size[1] / width, size[0] / height))

    def covered(self, size: tuple[int, int]) -> tuple[float, float]:
        """See ``Trainable``."""
        frame = Frame.of(size)
        return frame.size[0] / frame.padded[0], frame.size[1] / frame.padded[1]

    def share(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See ``Trainable``."""
        rows, columns = self.grid((mask.shape[0], mask.shape[1])).size
        way = cv2.INTER_AREA if rows < mask.shape[0] or columns < mask.shape[1] else cv2.INTER_LINEAR
        cells = cv2.resize(mask.astype(np.uint8) * np.uint8(255), (columns, rows), interpolation=way)
        share: NDArray[np.float32] = cells.astype(np.float32) / 255
        return share

    def fed_back(self, encoded: Encoded, prompt: Prompt, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ``Trainable``: what people see is the finished answer, and so it is that which comes back."""
        size = encoded.scene.size
        on_grid = prompt.scaled(size[1] / encoded.size[1], size[0] / encoded.size[0])
        return finish_heeding(encoded.scene, logits, clicked_pixels(on_grid, size), prompt.point_labels)

    def taken(self, size: tuple[int, int], fed_back: NDArray[np.float32]) -> NDArray[np.bool_]:
        """See ``Trainable``; the working grid is finer than the network's own."""
        rows, columns = self.grid(size).size
        share = cv2.resize((fed_back > 0).astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
        inside: NDArray[np.bool_] = share >= 0.5
        return inside
