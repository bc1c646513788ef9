"""CLIPSeg: a small decoder that was trained to outline, on CLIP's image tokens, what a phrase means.

Source: "Image Segmentation Using Text and Image Prompts" (Lüddecke and Ecker, CVPR 2022). The phrase's vector scales
and shifts the decoder's tokens, so that words meet the picture inside the network; the image is encoded once for all of
them. As released, the image is stretched to a square and phrases are asked as they are, in no sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.hooks import Recorder
from maskwright.models.dense.input_grid import unit
from maskwright.models.describers.image_input import ImageInput
from maskwright.models.detectors.words import Words, load_words
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

Maps = NDArray[np.float32]

SIDE = 352
"""Pixels of the square input that it was released with."""
_BILINEAR = 2
_KEPT = 4096
"""Phrases whose vectors are kept: a project asks for the same classes with every image."""
_PHRASES_PER_PASS = 16


class CLIPSegMaps:
    """Implements ``DenseFeatures`` and ``PhraseMaps``. Thread-safe.

    Args:
        model: A ``CLIPSegForImageSegmentation``, in evaluation mode on ``device``.
        words: Its tokenizer.
        frame: Its input.
        description: Name and version.
        device: Where it runs.
    """

    def __init__(
        self, model: Any, words: Words, frame: ImageInput, description: StageDescription, device: ComputeDevice
    ) -> None:
        self.name, self.version = description.name, description.version
        self._model, self._words, self._frame, self._device = model, words, frame, device
        self._length = int(model.config.text_config.max_position_embeddings)
        layers = model.clip.vision_model.encoder.layers
        self._read = list(model.config.extract_layers)
        self._recorder = Recorder({str(index): layers[index] for index in self._read})
        self._vector = lru_cache(_KEPT)(self._vector_of)

    def features(self, image: RGB) -> Maps:
        """See ``protocols.DenseFeatures``: tokens of the deepest layer that the decoder reads.

        Comparable with each other, not with words: for those see ``maps``.
        """
        tokens = self._tokens(image)[-1][0, 1:].cpu().numpy()
        side = round(len(tokens) ** 0.5)
        return unit(tokens.reshape(side, side, -1))

    def text(self, phrases: Sequence[str]) -> Maps:
        """Raises ``InvalidInput``: words meet the picture inside the network; ask ``maps``."""
        raise InvalidInput(f"{self.name} has no vectors for phrases ({', '.join(phrases)}); it answers with maps")

    def maps(self, image: RGB, phrases: Sequence[str]) -> Maps:
        """Where the image shows each phrase.

        Args:
            image: (H, W, 3) uint8 RGB.
            phrases: One or more; what does not fit into 77 tokens is cut off.

        Returns:
            (h, w, n) float32 probabilities on a grid laid over the whole image; with patches of 16 pixels, which the
            public weights have, it is as fine as the square input.

        Raises:
            InvalidInput: If there is no phrase, one is blank, or the image has another shape or dtype.
        """
        if not phrases or not all(phrase.strip() for phrase in phrases):
            raise InvalidInput("name at least one class, and none of them blank")
        tokens, planes = self._tokens(image), []
        with self._device.inference():
            conditions = torch.stack([self._vector(" ".join(phrase.split())) for phrase in phrases])
            for part in torch.split(conditions, _PHRASES_PER_PASS):
                seen = tuple(layer.expand(len(part), -1, -1) for layer in tokens)
                planes.append(self._model.decoder(seen, part).logits.sigmoid().cpu().numpy())
        return np.ascontiguousarray(np.moveaxis(np.concatenate(planes), 0, -1))

    def _tokens(self, image: RGB) -> list[torch.Tensor]:
        """(1, 1 + places, width) float32 of each layer that the decoder reads, the shallowest first."""
        pixels = torch.from_numpy(self._frame.pixels(image))[None].to(self._device.torch)
        with self._recorder.recording() as seen, self._device.encoder_inference():
            self._model.clip.vision_model(pixels, interpolate_pos_encoding=True)
        return [seen[str(index)].float() for index in self._read]

    def _vector_of(self, phrase: str) -> torch.Tensor:
        tokens, mask = self._words.padded([phrase], self._length)
        inputs = {"input_ids": tokens.to(self._device.torch), "attention_mask": mask.to(self._device.torch)}
        vector: torch.Tensor = self._model.clip.get_text_features(**inputs).pooler_output[0]
        return vector


def load_clipseg(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> CLIPSegMaps:
    """Load it from a folder in transformers' format.

    Raises:
        ModelUnavailable: If weights or tokenizer are missing or incomplete, or the preprocessor configuration is
            malformed.
    """
    from transformers import CLIPSegForImageSegmentation

    words = load_words(checkpoint)
    model = load_pretrained(CLIPSegForImageSegmentation, checkpoint, device)
    frame = ImageInput.of(checkpoint, SIDE, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, resample=_BILINEAR)
    return CLIPSegMaps(model, words, frame, description, device)
