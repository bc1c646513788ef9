"""What training asks of a family: an image once, prompts at its decoder, and where its logits lie on the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.errors import InvalidInput
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB, Segmenter
from maskwright.prompts import Prompt


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image as the decoder takes it.

    Attributes:
        size: (H, W) of the image.
        features: Named features of the encoder, batch dimension 1.
        scene: What else the family needs of the image.
    """

    size: tuple[int, int]
    features: Mapping[Any, Tensor]
    scene: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the features."""
        return sum(tensor.nbytes for tensor in self.features.values())


@dataclass(frozen=True, eq=False)
class Answers:
    """The decoder's answers to B prompts, K masks each.

    Attributes:
        logits: (B, K, h, w); beyond the image, where a family pads it, they mean nothing.
        iou: (B, K) predicted IoU.
        presence: (B,) probability that an object is there, or None where the family has no such head.
    """

    logits: Tensor
    iou: Tensor
    presence: Tensor | None = None


@dataclass(frozen=True)
class Grid:
    """The cells of an image that logits are given for.

    Attributes:
        size: (h, w) of the part of the logits that lies on the image.
        cell: Width and height of a cell in pixels of the image.
    """

    size: tuple[int, int]
    cell: tuple[float, float]


class Trainable(Protocol):
    """A segmenter's network as training sees it. Gradients flow where the caller has them enabled."""

    device: ComputeDevice

    @property
    def network(self) -> nn.Module:
        """The network."""
        ...

    def around(self, network: nn.Module) -> Self:
        """The same around another network of the same architecture."""
        ...

    def encode(self, image: RGB) -> Encoded:
        """Encode an image."""
        ...

    def decode(self, encoded: Encoded, prompts: Sequence[Prompt], several: bool) -> Answers:
        """Answer prompts in pixels of the image: three masks each where ``several``, else one."""
        ...

    def grid(self, size: tuple[int, int]) -> Grid:
        """The cells of an image of (H, W) pixels."""
        ...

    def covered(self, size: tuple[int, int]) -> tuple[float, float]:
        """The shares of the features' height and width that show an image of (H, W) pixels; the rest is padding."""
        ...

    def share(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The share of every cell of the grid that lies in an (H, W) mask, by averaging over the cell's area."""
        ...

    def fed_back(self, encoded: Encoded, prompt: Prompt, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w) logits of the answer to a prompt as the next prompt's ``mask_input``."""
        ...

    def taken(self, size: tuple[int, int], fed_back: NDArray[np.float32]) -> NDArray[np.bool_]:
        """The cells of an image of (H, W) pixels that lie in what a person is shown of fed back logits."""
        ...

    def encoder(self) -> nn.Module:
        """The image encoder inside the network."""
        ...


def trainable_of(segmenter: Segmenter) -> Trainable:
    """The training side of a segmenter.

    Raises:
        InvalidInput: If the segmenter has no weights to be adapted.
    """
    from maskwright.learn.training.embedded import EmbeddedTrainable
    from maskwright.learn.training.promptable import PromptableTrainable
    from maskwright.models.embedded.segmenter import EmbeddedSegmenter
    from maskwright.models.promptable import PromptableSegmenter

    if isinstance(segmenter, EmbeddedSegmenter):
        return EmbeddedTrainable(segmenter.network, segmenter.device)
    if isinstance(segmenter, PromptableSegmenter):
        return PromptableTrainable(segmenter)
    raise InvalidInput(f"model {segmenter.name} cannot be trained: it takes no adapters; choose 'embedded' or a SAM")
