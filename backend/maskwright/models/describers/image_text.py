"""CLIP, MetaCLIP 2, SigLIP and SigLIP 2: images and texts as vectors of one space."""

from __future__ import annotations

import string
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.image_input import ImageInput, PatchInput
from maskwright.models.describers.tokens import load_tokenizer
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import HALF
from maskwright.models.protocols import RGB
from maskwright.models.transformers_loading import load_pretrained

TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a photo with {} in it.", "{}.")
"""What a phrase is written into; the vectors of a phrase's sentences are averaged."""
_CLASSES: Mapping[str, str] = MappingProxyType(
    {"clip": "CLIPModel", "metaclip_2": "MetaClip2Model", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}
)
_IMAGES_PER_CALL, _TEXTS_PER_CALL = 8, 64
_SHOWN = 60
_PUNCTUATION = MappingProxyType(str.maketrans("", "", string.punctuation))


class ImageTextModel:
    """Images and texts to unit vectors whose products say how well they fit. Safe under threads.

    Args:
        checkpoint: A folder of one of the four classes.
        device: Where it runs.

    Attributes:
        network: The ``transformers`` model, in evaluation mode.
        scale: What the model multiplies cosines by.
        bias: What it adds to them; 0 in CLIP.
        is_sigmoid: Whether it was trained to judge each pair alone (SigLIP), rather than against others (CLIP).
    """

    def __init__(self, checkpoint: Checkpoint, device: ComputeDevice) -> None:
        import transformers

        kind = str(checkpoint.config.get("model_type"))
        if kind not in _CLASSES:
            raise ModelUnavailable(f"model {checkpoint.uri}: model_type {kind!r} is none of {', '.join(_CLASSES)}")
        self.network = load_pretrained(getattr(transformers, _CLASSES[kind]), checkpoint, device)
        self._tokenizer, self._lock = load_tokenizer(checkpoint), threading.Lock()
        self._device = device
        vision = self.network.config.vision_config
        self._input: ImageInput | PatchInput
        self.is_sigmoid = kind.startswith("siglip")
        if kind == "siglip2":
            self._input = PatchInput.of(checkpoint, vision.patch_size)
        elif kind == "siglip":
            self._input = ImageInput.of(checkpoint, vision.image_size, image_mean=HALF, image_std=HALF)
        else:
            self._input = ImageInput.of(checkpoint, vision.image_size, do_center_crop=True)
        self._longest = int(self.network.config.text_config.max_position_embeddings)
        self.scale = float(self.network.logit_scale.detach().exp())
        self.bias = float(self.network.logit_bias.detach()) if self.is_sigmoid else 0.0

    def images(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        """(n, d) float32, rows of length 1, for (H, W, 3) uint8 RGB images.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
        """
        rows = []
        for start in range(0, len(images), _IMAGES_PER_CALL):
            inputs = self._image_tensors(images[start : start + _IMAGES_PER_CALL])
            with self._device.encoder_inference():
                rows.append(_unit(self.network.get_image_features(**inputs)))
        return self._stacked(rows)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32, rows of length 1.

        Raises:
            InvalidInput: If a text has more tokens than the model reads.
        """
        rows = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            inputs = self._text_tensors(texts[start : start + _TEXTS_PER_CALL])
            with self._device.inference():
                rows.append(_unit(self.network.get_text_features(**inputs)))
        return self._stacked(rows)

    def phrases(self, phrases: Sequence[str], templates: Sequence[str] = TEMPLATES) -> NDArray[np.float32]:
        """Vectors of phrases over templates, ``t = norm(mean_j norm(t_j))`` (Radford et al. 2021, section 3.1.4).

        Args:
            phrases: n phrases.
            templates: Sentences with a ``{}`` for the phrase.

        Returns:
            (n, d) float32, rows of length 1.

        Raises:
            InvalidInput: If a sentence has more tokens than the model reads, or there is no template.
        """
        if not templates:
            raise InvalidInput("give at least one template")
        vectors = self.texts([template.replace("{}", phrase) for phrase in phrases for template in templates])
        mean = vectors.reshape(len(phrases), len(templates), vectors.shape[1]).mean(axis=1)
        unit: NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _stacked(self, rows: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        if not rows:
            return np.zeros((0, int(self.texts(["a photo."]).shape[1])), dtype=np.float32)
        stacked: NDArray[np.float32] = torch.cat(list(rows)).cpu().numpy()
        return stacked

    def _image_tensors(self, images: Sequence[RGB]) -> dict[str, torch.Tensor]:
        device = self._device.torch
        if isinstance(self._input, ImageInput):
            stack = np.stack([self._input.pixels(image) for image in images])
            return {"pixel_values": torch.from_numpy(stack).to(device)}
        patches, inside, grids = zip(*(self._input.patches(image) for image in images), strict=True)
        return {
            "pixel_values": torch.from_numpy(np.stack(patches)).to(device),
            "pixel_attention_mask": torch.from_numpy(np.stack(inside)).to(device),
            "spatial_shapes": torch.tensor(grids, device=device),
        }

    def _text_tensors(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        # As in training, whether or not the tokenizer's file says so: lower case, SigLIP's without punctuation (not
        # SigLIP 2's, which has Gemma's tokenizer), and both with an end token.
        plain = [text.lower() for text in texts]
        if self.is_sigmoid and self._tokenizer.eos_token == "</s>":  # noqa: S105 (no password)
            plain = [text.translate(_PUNCTUATION) for text in plain]
        with self._lock:  # tokenizers change their own settings when they are called
            tokens = [list(ids) for ids in self._tokenizer(plain)["input_ids"]]
        if self.is_sigmoid:
            end = self._tokenizer.eos_token_id
            tokens = [ids if ids[-1:] == [end] else [*ids, end] for ids in tokens]
        for text, ids in zip(texts, tokens, strict=True):
            if len(ids) > self._longest:
                shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
                raise InvalidInput(
                    f"the text {shown!r} has {len(ids)} tokens, but the model reads at most {self._longest}; shorten it"
                )
        # SigLIP was trained on texts that were filled up to its whole length, with no mask over the filling.
        length = self._longest if self.is_sigmoid else max(len(ids) for ids in tokens)
        filling: Any = self._tokenizer.pad_token_id or 0
        rows = torch.tensor([[*ids, *[filling] * (length - len(ids))] for ids in tokens], device=self._device.torch)
        if self.is_sigmoid:
            return {"input_ids": rows}
        mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids in tokens], device=self._device.torch)
        return {"input_ids": rows, "attention_mask": mask}


def _unit(output: Any) -> torch.Tensor:
    vectors: torch.Tensor = output.pooler_output.float()
    unit: torch.Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return unit
