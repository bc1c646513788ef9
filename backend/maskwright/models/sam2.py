"""SAM 2 and SAM 2.1 on single images, through transformers' ``Sam2Model``.

Source: "SAM 2: Segment Anything in Images and Videos" (Ravi et al., 2024). With one mask asked for, the network itself
falls back to the best of its three where the single mask is unstable, as the paper's image predictor does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice
from maskwright.models.families import ModelDescription
from maskwright.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, InputFrame, Triple
from maskwright.models.promptable import PromptableSegmenter, PromptTensors
from maskwright.models.transformers_loading import load_pretrained

_NOT_A_POINT = -1


class FeaturePyramidSegmenter(PromptableSegmenter):
    """Prompts to masks by a network of the SAM 2 design: three feature levels, and a head that scores presence.

    Args:
        model: A ``Sam2Model`` or ``Sam3TrackerModel``, in evaluation mode on ``device``.
        description: Name and versions.
        device: Where it runs.
        frame: The encoder's input.
    """

    def __init__(self, model: Any, description: ModelDescription, device: ComputeDevice, frame: InputFrame) -> None:
        super().__init__(model, description, device, frame, mask_side=int(model.prompt_encoder.mask_input_size[0]))
        with device.inference():
            self._positions = model.get_image_wide_positional_embeddings()

    def features(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """See ``PromptableSegmenter``."""
        # ``get_image_embeddings`` of the network, which lets no gradient through. SAM 3 makes a coarser level than
        # those that are used, and marks that one.
        levels = list(self._model.get_image_features(pixels, return_dict=True).fpn_hidden_states)
        levels[-1] = levels[-1] + self._model.no_memory_embedding
        sizes = self._model.backbone_feature_sizes
        finest, finer, coarse = (
            level.permute(1, 2, 0).unflatten(2, tuple(size)) for level, size in zip(levels, sizes, strict=False)
        )
        return {"finest": finest, "finer": finer, "image_embeddings": coarse}

    def answers(
        self, features: Mapping[str, torch.Tensor], prompts: PromptTensors, multimask_output: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """See ``PromptableSegmenter``."""
        # As in SAM, logits of earlier answers force one copy of the image per prompt.
        axis = 0 if prompts.masks is None else 1
        images = 1 if prompts.masks is None else len(prompts.masks)
        points, labels = prompts.points, prompts.labels
        if points is None and prompts.boxes is None:
            points = torch.zeros(images, 1, 2, device=self._positions.device)
            labels = torch.full((images, 1), _NOT_A_POINT, dtype=torch.int64, device=self._positions.device)
        sparse, dense = self._model.prompt_encoder(
            input_points=None if points is None else points.unsqueeze(axis),
            input_labels=None if labels is None else labels.unsqueeze(axis),
            input_boxes=None if prompts.boxes is None else prompts.boxes.unsqueeze(axis),
            input_masks=prompts.masks,
        )
        masks, scores, _, presence = self._model.mask_decoder(
            image_embeddings=features["image_embeddings"].expand(images, -1, -1, -1),
            image_positional_embeddings=self._positions.expand(images, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            high_resolution_features=[features[name].expand(images, -1, -1, -1) for name in ("finest", "finer")],
        )
        return masks.flatten(0, 1), scores.flatten(0, 1), presence.float().sigmoid().flatten()


def stretched_frame(model: Any, processor: Mapping[str, Any], mean: Triple, std: Triple) -> InputFrame:
    """The square input of a SAM 2 or SAM 3 network, with the checkpoint's statistics where it states them."""
    size = model.config.prompt_encoder_config.image_size
    side = int(size if isinstance(size, int) else size[0])
    return InputFrame(side, keep_aspect=False, mean=mean, std=std).with_statistics_of(processor)


def load_sam2(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> FeaturePyramidSegmenter:
    """Load SAM 2 or 2.1 from a folder in transformers' format (image or video model)."""
    from transformers import Sam2Model

    model = load_pretrained(Sam2Model, checkpoint, device)
    frame = stretched_frame(model, checkpoint.processor, IMAGENET_MEAN, IMAGENET_STD)
    return FeaturePyramidSegmenter(model, description, device, frame)
