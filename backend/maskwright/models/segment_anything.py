"""Original segment-anything checkpoints on transformers' ``SamModel``: the same arithmetic under other tensor names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice
from maskwright.models.families import ModelDescription
from maskwright.models.sam import SamSegmenter
from maskwright.models.segment_anything_weights import (
    DECODER_HEADS,
    SamArchitecture,
    architecture_of,
    read_state_dict,
)

# The original decoder normalises with PyTorch's default epsilon; transformers' default is smaller.
_DECODER_EPSILON = 1e-5
_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_RENAMINGS: tuple[tuple[str, str], ...] = (
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^(mask_decoder\.transformer\.)norm_final_attn\.", r"\1layer_norm_final_attn."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.)norm(\d)\.", r"\1layer_norm\2."),
)
_PERCEPTRON = re.compile(
    r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head)\.)layers\.(\d+)\.(.+)"
)
_HYPERNETWORK_DEPTH = 3


def load_checkpoint(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> SamSegmenter:
    """Load an original ``.pth`` checkpoint.

    Raises:
        ModelUnavailable: If the file is no checkpoint of segment-anything, or is incomplete.
    """
    state = read_state_dict(checkpoint)
    architecture = architecture_of(state)
    with torch.device("meta"):
        model = SamModel(_configuration(architecture, device.attention))
    try:
        model.load_state_dict(renamed(state, architecture), strict=True, assign=True)
    except RuntimeError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its tensors do not form a complete {architecture.name} of segment-anything"
        ) from error
    model.float().eval().requires_grad_(False).to(device.torch)
    return SamSegmenter(model, description, device, {})


def renamed(state: Mapping[str, torch.Tensor], architecture: SamArchitecture) -> dict[str, torch.Tensor]:
    """The tensors of an original checkpoint under the names that ``SamModel`` gives them."""
    out: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if key == _POSITIONS:
            out["prompt_encoder.shared_embedding.positional_embedding"] = tensor
            out["shared_image_embedding.positional_embedding"] = tensor
            continue
        name = key
        for pattern, replacement in _RENAMINGS:
            name = re.sub(pattern, replacement, name)
        out[_perceptron_name(name, architecture)] = tensor
    return out


def _perceptron_name(name: str, architecture: SamArchitecture) -> str:
    """transformers names the first and last layer of a perceptron apart from those between."""
    found = _PERCEPTRON.match(name)
    if found is None:
        return name
    prefix, index, rest = found.group(1), int(found.group(2)), found.group(3)
    last = (architecture.iou_depth if "iou_prediction_head" in prefix else _HYPERNETWORK_DEPTH) - 1
    part = "proj_in" if index == 0 else "proj_out" if index == last else f"layers.{index - 1}"
    return f"{prefix}{part}.{rest}"


def _configuration(sizes: SamArchitecture, attention: str) -> SamConfig:
    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=sizes.width,
            output_channels=sizes.channels,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            image_size=sizes.image_side,
            patch_size=sizes.patch_side,
            window_size=sizes.window_side,
            global_attn_indexes=list(sizes.global_blocks),
            num_pos_feats=sizes.channels // 2,
            mlp_dim=sizes.mlp_width,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=sizes.channels,
            image_size=sizes.image_side,
            patch_size=sizes.patch_side,
            mask_input_channels=sizes.mask_channels,
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=sizes.channels,
            mlp_dim=sizes.decoder_mlp_width,
            num_hidden_layers=sizes.decoder_depth,
            num_attention_heads=DECODER_HEADS,
            num_multimask_outputs=sizes.multimask_outputs,
            iou_head_depth=sizes.iou_depth,
            iou_head_hidden_dim=sizes.iou_width,
            layer_norm_eps=_DECODER_EPSILON,
        ),
        attn_implementation=attention,
    )
