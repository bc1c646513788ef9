"""Patch features that were learnt without words: DINO, DINOv2 (with registers or without) and DINOv3.

Beside the features come what object discovery reads: the keys of the last block, and where its class token attends.
Without registers DINOv2's attention has artefacts (Darcet et al., ICLR 2024): prefer registers, DINOv3, or the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from maskwright.errors import InvalidInput
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.hooks import Recorder
from maskwright.models.dense.input_grid import InputGrid, slide
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

SHORT_SIDE, LONGEST = 448, 1344
"""Pixels; whole numbers of patches of 8, 14 and 16."""
_QUERY, _KEY = ("q_proj", "query"), ("k_proj", "key")


class DinoFeatures:
    """Features of places, comparable with each other but not with words. Thread-safe.

    Args:
        model: ``Dinov2Model``, ``Dinov2WithRegistersModel``, ``DINOv3ViTModel`` or ``ViTModel`` (DINO).
        grid: How it sees images.
        description: Name and version.
        device: Where it runs.
    """

    def __init__(self, model: Any, grid: InputGrid, description: StageDescription, device: ComputeDevice) -> None:
        self.name, self.version = description.name, description.version
        self._model, self._grid, self._device = model, grid, device
        self._prefix = 1 + getattr(model.config, "num_register_tokens", 0)
        modules = {"queries": _last(model, _QUERY), "keys": _last(model, _KEY)}
        if hasattr(model, "rope_embeddings"):
            modules["rotation"] = model.rope_embeddings
        self._recorder = Recorder(modules)

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``: the patch tokens after the last norm."""
        return slide(image, self._grid, lambda pixels: self._patches(self._run(pixels)["tokens"], pixels), at_once=1)

    def text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Raises ``InvalidInput``: these models know no words."""
        raise InvalidInput(
            f"{self.name} was trained without words, so it cannot look for {', '.join(phrases) or 'anything'}; "
            "name a dense model that reads (maskclip, gem or siglip)"
        )

    def keys(self, image: RGB) -> NDArray[np.float32]:
        """(h, w, d) float32 unit vectors: keys of the last block, for object discovery."""
        return slide(image, self._grid, lambda pixels: self._patches(self._run(pixels)["keys"], pixels), at_once=1)

    def attention(self, image: RGB) -> NDArray[np.float32]:
        """(h, w) float32: share of the last block's class token's attention that each patch has, mean over heads.

        What the shares lack to 1 went to the class token itself and to registers.
        """
        pixels = self._grid.pixels(image)[None]
        seen = self._run(pixels)
        with self._device.inference():
            heads = self._model.config.num_attention_heads
            queries, keys = (torch.stack(seen[name].chunk(heads, dim=-1), dim=1) for name in ("queries", "keys"))
            if "rotation" in seen:
                keys = _rotated(keys, *seen["rotation"])
            scores = queries[:, :, :1] @ keys.mT * queries.shape[-1] ** -0.5
            shares = torch.softmax(scores, dim=-1).mean(dim=1)[0, 0, self._prefix :]
        found: NDArray[np.float32] = shares.cpu().numpy()
        return found.reshape(self._cells(pixels))

    def _run(self, pixels: NDArray[np.float32]) -> dict[str, Any]:
        """The tokens after the last norm, and what was recorded, in float32."""
        options = {"interpolate_pos_encoding": True} if self._model.config.model_type == "vit" else {}
        with self._recorder.recording() as seen, self._device.encoder_inference():
            tokens = self._model(torch.from_numpy(pixels).to(self._device.torch), **options).last_hidden_state
        return {
            name: tuple(part.float() for part in value) if isinstance(value, tuple) else value.float()
            for name, value in {**seen, "tokens": tokens}.items()
        }

    def _patches(self, tokens: torch.Tensor, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        unit: NDArray[np.float32] = normalize(tokens[:, self._prefix :], dim=-1).cpu().numpy()
        return unit.reshape(len(pixels), *self._cells(pixels), -1)

    def _cells(self, pixels: NDArray[np.float32]) -> tuple[int, int]:
        return pixels.shape[2] // self._grid.patch, pixels.shape[3] // self._grid.patch


def _last(model: Any, names: tuple[str, ...]) -> Any:
    """The last module whose own name is one of these: the libraries' versions name projections differently."""
    return [module for name, module in model.named_modules() if name.rpartition(".")[2] in names][-1]


def _rotated(keys: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """(B, heads, N, d) keys with the patches turned by their places (RoPE), which DINOv3 does after its projections."""
    prefix, patches = keys[:, :, : -cos.shape[-2]], keys[:, :, -cos.shape[-2] :]
    left, right = patches.chunk(2, dim=-1)
    return torch.cat([prefix, patches * cos + torch.cat([-right, left], dim=-1) * sin], dim=2)


def load_dino(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DinoFeatures:
    """Load a DINO, DINOv2 or DINOv3 (ViT) checkpoint.

    Raises:
        ModelUnavailable: If weights are missing, or the preprocessor configuration is malformed.
    """
    import transformers

    class UnpooledViT:
        """DINO's checkpoints hold no pooler, and nothing here reads one."""

        @staticmethod
        def from_pretrained(path: Any, **options: Any) -> Any:
            return transformers.ViTModel.from_pretrained(path, add_pooling_layer=False, **options)

    is_vit = checkpoint.config.get("model_type") == "vit"
    model = load_pretrained(UnpooledViT if is_vit else transformers.AutoModel, checkpoint, device)
    grid = InputGrid.of_checkpoint(
        model.config.patch_size, checkpoint.processor, IMAGENET_MEAN, IMAGENET_STD,
        short_side=SHORT_SIDE, longest=LONGEST, window=None,
    )  # fmt: skip
    return DinoFeatures(model, grid, description, device)
