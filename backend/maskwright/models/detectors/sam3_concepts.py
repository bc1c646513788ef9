"""SAM 3's detector of concepts through transformers' ``Sam3Model``: a phrase, every instance of it.

Source: "SAM 3: Segment Anything with Concepts" (Meta, 2025). Clicks and boxes go through its tracker; see
``maskwright.models.sam3``. Only the boxes are taken here: masks come from the segmenter, from boxes and points, so that
every detector is refined alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.detectors.network import NetworkDetector
from maskwright.models.detectors.phrases import Thresholds, joined
from maskwright.models.detectors.words import load_words
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import HALF, InputFrame
from maskwright.models.protocols import RGB, Detections
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

THRESHOLDS = Thresholds(box=0.3)
"""As released."""
NEEDED = "torchvision"


class Sam3Concepts(NetworkDetector):
    """Implements ``Detector`` by a ``Sam3Model``. Each phrase is asked by itself; the image is encoded once for all."""

    released = THRESHOLDS

    def find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """See ``PhraseDetector``. A score is the box's probability times that of the phrase being there at all."""
        device = self._device.torch
        tokens, mask = (part.to(device) for part in self._words.padded(phrases, self._length))
        pixels = self._pixels(image)
        height, width = image.shape[:2]
        scale = np.array([width, height, width, height], dtype=np.float32)
        parts: list[Detections] = []
        with self._device.inference():
            vision = self._model.get_vision_features(pixels)
            for index in range(len(phrases)):
                one = slice(index, index + 1)
                answer = self._model(vision_embeds=vision, input_ids=tokens[one], attention_mask=mask[one])
                found = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
                scores: NDArray[np.float32] = found[0].float().cpu().numpy()
                keep = scores > self.thresholds.box
                boxes = answer.pred_boxes[0].float().cpu().numpy()[keep] * scale
                parts.append(Detections(boxes, scores[keep], np.full(len(boxes), index, dtype=np.int64)))
        return joined(parts)


def load_sam3_concepts(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> Sam3Concepts:
    """Load it from a folder in transformers' format (the image model, or the whole video model).

    Raises:
        ModelUnavailable: If torchvision cannot be imported, without which transformers refuses this class; or if
            weights or tokenizer are missing or incomplete.
    """
    try:
        importlib.import_module(NEEDED)
    except (ImportError, RuntimeError) as error:  # a build for another torch fails with RuntimeError
        raise ModelUnavailable(
            f"model {checkpoint.uri}: SAM 3's detector needs the package {NEEDED}, which cannot be imported here; "
            "install the extra 'maskwright[sam3]' from the index that torch came from, or take 'grounding-dino:' or "
            "'owlv2:' as detector"
        ) from error
    from transformers import Sam3Model

    words = load_words(checkpoint)
    model = load_pretrained(Sam3Model, checkpoint, device)
    frame = InputFrame(input_side(model), keep_aspect=False, mean=HALF, std=HALF)
    return Sam3Concepts(model, words, description, device, frame.with_statistics_of(checkpoint.processor))


def input_side(model: Any) -> int:
    """Side in pixels of a ``Sam3Model``'s square input."""
    size = model.config.vision_config.image_size
    return int(size if isinstance(size, int) else size[0])
