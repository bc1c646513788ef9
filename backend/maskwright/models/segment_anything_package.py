"""Original segment-anything checkpoints on the ``segment-anything`` package itself: an optional second runtime.

It needs the package and torchvision, which the default path does not. Its ``SamPredictor`` keeps one image's state, so
its three networks are called directly: any number of threads may share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice
from maskwright.models.families import ModelDescription
from maskwright.models.preprocessing import InputFrame
from maskwright.models.promptable import PromptableSegmenter, PromptTensors
from maskwright.models.segment_anything_weights import DECODER_HEADS, SamArchitecture, architecture_of, read_state_dict

_ENCODER_EPSILON = 1e-6


class PackageSegmenter(PromptableSegmenter):
    """Prompts to masks by the package's ``Sam``.

    Args:
        model: The network, in evaluation mode on ``device``.
        description: Name and versions.
        device: Where it runs.
    """

    def __init__(self, model: Any, description: ModelDescription, device: ComputeDevice) -> None:
        frame = InputFrame(model.image_encoder.img_size, keep_aspect=True)
        super().__init__(model, description, device, frame, mask_side=model.prompt_encoder.mask_input_size[0])
        with device.inference():
            self._positions = model.prompt_encoder.get_dense_pe()

    def features(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """See ``PromptableSegmenter``."""
        return {"image_embeddings": self._model.image_encoder(pixels)}

    def answers(
        self, features: Mapping[str, torch.Tensor], prompts: PromptTensors, multimask_output: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """See ``PromptableSegmenter``."""
        points = None
        if prompts.points is not None and prompts.labels is not None:
            points = (prompts.points, prompts.labels)
        sparse, dense = self._model.prompt_encoder(points=points, boxes=prompts.boxes, masks=prompts.masks)
        masks, scores = self._model.mask_decoder(
            image_embeddings=features["image_embeddings"],
            image_pe=self._positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
        )
        return masks, scores, None


def load_checkpoint(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> PackageSegmenter:
    """Load an original ``.pth`` checkpoint into the package's own network.

    Raises:
        ModelUnavailable: If the package or torchvision is not installed, or the file is no complete checkpoint.
    """
    try:
        from segment_anything import modeling
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch fails with a RuntimeError
        missing = getattr(error, "name", None) or "torchvision"
        raise ModelUnavailable(
            f"model {checkpoint.uri}: the package runtime cannot be used ({missing.partition('.')[0]} cannot be "
            "imported); pip install 'maskwright[segment-anything]' torchvision, or use segment-anything: instead, "
            "which needs neither"
        ) from error
    state = read_state_dict(checkpoint)
    architecture = architecture_of(state)
    model = _build(modeling, architecture)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its tensors do not form a complete {architecture.name} of segment-anything"
        ) from error
    model.float().eval().requires_grad_(False).to(device.torch)
    return PackageSegmenter(model, description, device)


def _build(modeling: Any, sizes: SamArchitecture) -> Any:
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=sizes.depth,
            embed_dim=sizes.width,
            img_size=sizes.image_side,
            mlp_ratio=sizes.mlp_width / sizes.width,
            norm_layer=partial(torch.nn.LayerNorm, eps=_ENCODER_EPSILON),
            num_heads=sizes.heads,
            patch_size=sizes.patch_side,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=sizes.global_blocks,
            window_size=sizes.window_side,
            out_chans=sizes.channels,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=sizes.channels,
            image_embedding_size=(sizes.image_side // sizes.patch_side,) * 2,
            input_image_size=(sizes.image_side,) * 2,
            mask_in_chans=sizes.mask_channels,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=sizes.multimask_outputs,
            transformer=modeling.TwoWayTransformer(
                depth=sizes.decoder_depth,
                embedding_dim=sizes.channels,
                mlp_dim=sizes.decoder_mlp_width,
                num_heads=DECODER_HEADS,
            ),
            transformer_dim=sizes.channels,
            iou_head_depth=sizes.iou_depth,
            iou_head_hidden_dim=sizes.iou_width,
        ),
    )
