"""SAM and SAM-HQ through transformers' model classes.

Sources: "Segment Anything" (Kirillov et al., 2023) and "Segment Anything in High Quality" (Ke et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice
from maskwright.models.families import ModelDescription
from maskwright.models.preprocessing import InputFrame
from maskwright.models.promptable import PromptableSegmenter, PromptTensors
from maskwright.models.transformers_loading import load_pretrained


class SamSegmenter(PromptableSegmenter):
    """Prompts to masks by a ``SamModel``.

    Args:
        model: The network, in evaluation mode on ``device``.
        description: Name and versions.
        device: Where it runs.
        processor: ``image_mean`` and ``image_std`` of the checkpoint, where it states them.
    """

    def __init__(
        self, model: Any, description: ModelDescription, device: ComputeDevice, processor: Mapping[str, Any]
    ) -> None:
        frame = InputFrame(model.config.vision_config.image_size, keep_aspect=True).with_statistics_of(processor)
        cells = model.config.prompt_encoder_config.image_embedding_size
        super().__init__(model, description, device, frame, mask_side=4 * cells)
        with device.inference():
            self._positions = model.get_image_wide_positional_embeddings()

    def features(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """See ``PromptableSegmenter``."""
        return {"image_embeddings": self._model.vision_encoder(pixels).last_hidden_state}

    def answers(
        self, features: Mapping[str, torch.Tensor], prompts: PromptTensors, multimask_output: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """See ``PromptableSegmenter``."""
        # Prompts lie along the network's prompt dimension, which shares the image's features. Only logits of earlier
        # answers force one copy of the image per prompt, because the network adds them to the features.
        axis = 0 if prompts.masks is None else 1
        images = 1 if prompts.masks is None else len(prompts.masks)
        sparse, dense = self._model.prompt_encoder(
            input_points=None if prompts.points is None else prompts.points.unsqueeze(axis),
            input_labels=None if prompts.labels is None else prompts.labels.unsqueeze(axis),
            input_boxes=None if prompts.boxes is None else prompts.boxes.unsqueeze(axis),
            input_masks=prompts.masks,
        )
        masks, scores = self._model.mask_decoder(
            image_embeddings=features["image_embeddings"].expand(images, -1, -1, -1),
            image_positional_embeddings=self._positions.expand(images, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            **self._decoder_options(features, images, multimask_output),
        )
        return masks.flatten(0, 1), scores.flatten(0, 1), None

    def _decoder_options(
        self, features: Mapping[str, torch.Tensor], images: int, multimask_output: bool
    ) -> dict[str, Any]:
        """Arguments that only a variant's mask decoder takes."""
        return {}


class SamHQSegmenter(SamSegmenter):
    """Prompts to masks by a ``SamHQModel``: SAM plus a token that reads early features for finer edges."""

    def features(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """See ``PromptableSegmenter``."""
        output = self._model.vision_encoder(pixels)
        # The mask decoder reads the first of the intermediate features only.
        return {"image_embeddings": output.last_hidden_state, "early_features": output.intermediate_embeddings[0]}

    def _decoder_options(
        self, features: Mapping[str, torch.Tensor], images: int, multimask_output: bool
    ) -> dict[str, Any]:
        early = features["early_features"].expand(images, -1, -1, -1)
        return {"intermediate_embeddings": [early], "hq_token_only": False}


def load_sam(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> SamSegmenter:
    """Load SAM from a folder in transformers' format."""
    from transformers import SamModel

    return SamSegmenter(load_pretrained(SamModel, checkpoint, device), description, device, checkpoint.processor)


def load_sam_hq(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> SamHQSegmenter:
    """Load SAM-HQ from a folder in transformers' format."""
    from transformers import SamHQModel

    return SamHQSegmenter(load_pretrained(SamHQModel, checkpoint, device), description, device, checkpoint.processor)
