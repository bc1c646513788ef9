"""Checkpoints of the original segment-anything release: reading them without pickles, and their architecture.

The architecture is read off the tensors, so ViT-B, -L and -H need no name, and a checkpoint of other sizes works too.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint

DECODER_HEADS = 8
"""Attention heads of the mask decoder in every release; the only size that no tensor's shape shows."""

_NAMES = MappingProxyType({(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"})
_ESSENTIAL = (
    "image_encoder.pos_embed",
    "image_encoder.patch_embed.proj.weight",
    "image_encoder.blocks.0.attn.rel_pos_h",
    "image_encoder.neck.0.weight",
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    "prompt_encoder.mask_downscaling.3.weight",
    "mask_decoder.mask_tokens.weight",
    "mask_decoder.transformer.layers.0.mlp.lin1.weight",
    "mask_decoder.iou_prediction_head.layers.0.weight",
)


@dataclass(frozen=True)
class SamArchitecture:
    """Sizes of a SAM network.

    Attributes:
        width: Channels of the image encoder.
        depth: Its blocks.
        heads: Its attention heads.
        mlp_width: Hidden channels of its blocks' perceptrons.
        image_side: Side of its input in pixels.
        patch_side: Side of a patch in pixels.
        window_side: Side of an attention window in patches.
        global_blocks: Blocks that attend over the whole image.
        channels: Channels of the image embedding, the prompts and the mask decoder.
        mask_channels: Hidden channels of the encoder of previous logits.
        decoder_depth: Layers of the two-way transformer.
        decoder_mlp_width: Hidden channels of its perceptrons.
        iou_depth: Layers of the head that predicts IoU.
        iou_width: Hidden channels of that head.
        multimask_outputs: Masks per ambiguous prompt.
    """

    width: int
    depth: int
    heads: int
    mlp_width: int
    image_side: int
    patch_side: int
    window_side: int
    global_blocks: tuple[int, ...]
    channels: int
    mask_channels: int
    decoder_depth: int
    decoder_mlp_width: int
    iou_depth: int
    iou_width: int
    multimask_outputs: int

    @property
    def name(self) -> str:
        """``vit_b``, ``vit_l`` or ``vit_h``, or the sizes where they are none of those."""
        return _NAMES.get((self.width, self.depth), f"vit_{self.width}x{self.depth}")


def read_state_dict(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Read a ``.pth`` file of tensors; anything else that a pickle could hold is refused.

    Raises:
        ModelUnavailable: If the file is no checkpoint of segment-anything, or holds more than tensors.
    """
    assert checkpoint.path is not None  # files are never fetched
    try:
        found = torch.load(checkpoint.path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: the file holds more than tensors, which could run code, or is damaged; "
            "give an original checkpoint of segment-anything"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise ModelUnavailable(f"model {checkpoint.uri}: the file is damaged or no PyTorch checkpoint") from error
    missing = [key for key in _ESSENTIAL if not (isinstance(found, dict) and isinstance(found.get(key), torch.Tensor))]
    if missing:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: not a checkpoint of segment-anything (it lacks {missing[0]}); "
            "for other formats use sam:, sam-hq:, sam2: or sam3:"
        )
    return dict(found)


def architecture_of(state: Mapping[str, torch.Tensor]) -> SamArchitecture:
    """Read a network's sizes off its tensors, which ``read_state_dict`` has checked to be there."""
    _, grid, _, width = state["image_encoder.pos_embed"].shape
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = _count(state, r"image_encoder\.blocks\.(\d+)\.")
    # Relative positions span 2 * side - 1 offsets; a block attends globally where that side is the whole grid.
    sides = [(state[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    iou_head = "mask_decoder.iou_prediction_head.layers"
    return SamArchitecture(
        width=width,
        depth=depth,
        heads=width // state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1],
        mlp_width=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
        image_side=grid * patch,
        patch_side=patch,
        window_side=min(sides),
        global_blocks=tuple(index for index, side in enumerate(sides) if side == grid),
        channels=state["image_encoder.neck.0.weight"].shape[0],
        mask_channels=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        decoder_depth=_count(state, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        decoder_mlp_width=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        iou_depth=_count(state, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
        iou_width=state[f"{iou_head}.0.weight"].shape[0],
        multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
    )


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    numbers = {int(found.group(1)) for key in state if (found := re.match(pattern, key))}
    return len(numbers)
