"""Captions by BLIP and BLIP-2: unconditional, greedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.generation import GREEDY, warn_if_cut
from maskwright.models.describers.image_input import ImageInput
from maskwright.models.describers.tokens import load_tokenizer
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

NEW_TOKENS = 50
"""Tokens that a caption may have; about 35 words."""


class BlipCaptioner:
    """Images to one sentence each.

    Args:
        model: ``BlipForConditionalGeneration`` or ``Blip2ForConditionalGeneration``.
        checkpoint: Where its tokenizer and preprocessor configuration lie.
        description: Name and version.
        device: Where it runs.
    """

    def __init__(
        self, model: Any, checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice
    ) -> None:
        self.name, self.version = description.name, description.version
        self._model, self._device = model, device
        self._input = ImageInput.of(checkpoint, model.config.vision_config.image_size)
        self._tokenizer = load_tokenizer(checkpoint)

    def captions(self, images: Sequence[RGB]) -> list[str]:
        """A sentence for each (H, W, 3) uint8 RGB image.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
        """
        return [self._caption(image) for image in images]

    def _caption(self, image: RGB) -> str:
        pixels = torch.from_numpy(self._input.pixels(image))[None].to(self._device.torch)
        with self._device.encoder_inference():
            ids = self._model.generate(pixel_values=pixels, max_new_tokens=NEW_TOKENS, **GREEDY)[0]
        end = self._model.config.text_config
        # BLIP ends sentences in BERT's separator, BLIP-2 in its language model's end token.
        ends = [token for token in (getattr(end, "sep_token_id", None), end.eos_token_id) if isinstance(token, int)]
        start = 1 if self._model.config.model_type == "blip" else self._model.config.num_query_tokens + 1
        warn_if_cut(ids[start:], ends, self.name, NEW_TOKENS)
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()


def load_blip(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> BlipCaptioner:
    """Load BLIP (``Salesforce/blip-image-captioning-large``)."""
    import transformers

    # The package has no other attention for this class.
    eager = replace(device, attention="eager")
    model = load_pretrained(transformers.BlipForConditionalGeneration, checkpoint, eager)
    return BlipCaptioner(model, checkpoint, description, device)


def load_blip2(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> BlipCaptioner:
    """Load BLIP-2 (``Salesforce/blip2-opt-2.7b``)."""
    import transformers

    model = load_pretrained(transformers.Blip2ForConditionalGeneration, checkpoint, device)
    return BlipCaptioner(model, checkpoint, description, device)
