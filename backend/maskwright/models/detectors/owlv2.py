"""OWLv2 through transformers: every patch of an image proposes a box, compared with each phrase by itself.

Source: "Scaling Open-Vocabulary Object Detection" (Minderer et al., 2023). Phrases do not know of each other, so that
many in one call find what each finds alone. Answers are those of transformers' ``post_process_object_detection``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.detectors.inputs import PaddedFrame
from maskwright.models.detectors.network import NetworkDetector
from maskwright.models.detectors.phrases import Thresholds, corners
from maskwright.models.detectors.words import load_words
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB, Detections
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

PHRASES_PER_PASS = 64
THRESHOLDS = Thresholds(box=0.1)
"""Its probabilities run lower than Grounding DINO's; this is what it was released with."""


class Owlv2(NetworkDetector):
    """Implements ``Detector`` by an ``Owlv2ForObjectDetection``; its input is padded on the right and below."""

    released = THRESHOLDS

    def find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """See ``PhraseDetector``. A box belongs to the phrase that it shows most probably."""
        probabilities, centred = self._answer(image, phrases)
        scores: NDArray[np.float32] = probabilities.max(axis=1)
        keep = scores > self.thresholds.box
        longest = float(max(image.shape[:2]))  # boxes are parts of the padded square
        boxes = corners(centred[keep], (longest, longest))
        return Detections(boxes, scores[keep], probabilities[keep].argmax(axis=1).astype(np.int64))

    def _answer(self, image: RGB, phrases: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, n) probability of each phrase for each box, and (N, 4) centres and sizes as parts of the square."""
        device = self._device.torch
        pixels = self._pixels(image)
        with self._device.encoder_inference():
            places = self._model.image_embedder(pixel_values=pixels)[0].float()
        with self._device.inference():
            flat = places.flatten(1, 2)
            logits = []
            for start in range(0, len(phrases), PHRASES_PER_PASS):
                tokens, mask = self._words.padded(phrases[start : start + PHRASES_PER_PASS], self._length)
                text = self._model.owlv2.get_text_features(tokens.to(device), mask.to(device)).pooler_output
                logits.append(self._model.class_predictor(flat, text[None])[0][0])
            centred = self._model.box_predictor(flat, places)[0]
            probabilities = torch.cat(logits, dim=1).sigmoid()
        return probabilities.cpu().numpy(), centred.cpu().numpy()


def load_owlv2(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> Owlv2:
    """Load it from a folder in transformers' format.

    Raises:
        ModelUnavailable: If weights or tokenizer are missing or incomplete.
    """
    from transformers import Owlv2ForObjectDetection

    words = load_words(checkpoint)
    model = load_pretrained(Owlv2ForObjectDetection, checkpoint, device)
    frame = PaddedFrame.of(int(model.config.vision_config.image_size), checkpoint.processor)
    return Owlv2(model, words, description, device, frame)
