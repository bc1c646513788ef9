"""Dense features of SigLIP and SigLIP 2: each patch through the value path of the pooling head, as if it stood alone.

SigLIP pools by attention: a learnt probe attends to the patches. A patch to which the probe gave all its attention
would come out as ``y + MLP(LN(y))`` with ``y = W_o v``, which lies in the space of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear, normalize

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.input_grid import InputGrid, slide
from maskwright.models.dense.phrases import PhraseVectors
from maskwright.models.describers.image_text import ImageTextModel
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import HALF
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription

TEMPLATES = ("this is a photo of {}.",)


class DenseSigLIP:
    """SigLIP's patches in the space of its texts. Thread-safe.

    Args:
        model: ``SiglipModel`` or ``Siglip2Model``.
        phrases: Its vectors of phrases.
        grid: How it sees images.
        description: Name and version.
        device: Where it runs.
    """

    def __init__(
        self,
        model: Any,
        phrases: PhraseVectors,
        grid: InputGrid,
        description: StageDescription,
        device: ComputeDevice,
    ) -> None:
        self.name, self.version = description.name, description.version
        self._model, self._phrases, self._grid, self._device = model, phrases, grid, device

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``: a vector for every patch, averaged over sliding windows."""
        return slide(image, self._grid, self._encode, at_once=self._device.prompts_per_pass)

    def text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``."""
        return self._phrases(phrases)

    def _encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        patch, vision, device = self._grid.patch, self._model.vision_model, self._device
        cells = pixels.shape[2] // patch, pixels.shape[3] // patch
        images = torch.from_numpy(pixels).to(device.torch)
        with device.encoder_inference():
            if self._model.config.model_type == "siglip2":
                tokens = vision(
                    pixel_values=_patches(images, patch),
                    pixel_attention_mask=images.new_ones((len(images), cells[0] * cells[1]), dtype=torch.long),
                    spatial_shapes=torch.tensor([cells] * len(images), device=device.torch),
                ).last_hidden_state
            else:
                tokens = vision(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
        with device.inference():
            vectors = through_value_path(vision.head, tokens.float())
            unit: NDArray[np.float32] = normalize(vectors, dim=-1).cpu().numpy()
        return unit.reshape(len(pixels), *cells, -1)


def through_value_path(head: Any, tokens: torch.Tensor) -> torch.Tensor:
    """(..., d) tokens as the pooling head would answer if its probe attended to each of them alone."""
    attention, width = head.attention, tokens.shape[-1]
    values = linear(tokens, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    answer = attention.out_proj(values)
    found: torch.Tensor = answer + head.mlp(head.layernorm(answer))
    return found


def _patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, 3, H, W) to (B, h * w, patch * patch * 3), row by row, channels last: what SigLIP 2 takes."""
    count, channels, height, width = images.shape
    cut = images.reshape(count, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch * channels)


def load_siglip_dense(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DenseSigLIP:
    """Load a SigLIP or SigLIP 2 checkpoint with its tokenizer.

    Raises:
        ModelUnavailable: If weights are missing, the preprocessor configuration is malformed, or the checkpoint has
            no pooling head.
    """
    both = ImageTextModel(checkpoint, device)
    model = both.network
    if getattr(model.vision_model, "head", None) is None:
        raise ModelUnavailable(f"model {checkpoint.uri}: it has no pooling head, so its patches cannot meet its texts")
    phrases = PhraseVectors(lambda sentences: sentences, lambda them: torch.from_numpy(both.texts(them)), TEMPLATES)
    grid = InputGrid.of_checkpoint(model.config.vision_config.patch_size, checkpoint.processor, HALF, HALF)
    return DenseSigLIP(model, phrases, grid, description, device)
