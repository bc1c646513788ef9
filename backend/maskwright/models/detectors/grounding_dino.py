"""Grounding DINO and MM Grounding DINO through transformers: many phrases in one caption, boxes by its words.

Source: "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection" (Liu et al., 2023).
Answers are those of transformers' ``post_process_grounded_object_detection``, but for one thing: that returns the words
above the text threshold, which may mix those of several phrases ("dog cat") or hold half of one; here a box goes to the
phrase that its most probable word belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.detectors.inputs import AspectFrame
from maskwright.models.detectors.network import NetworkDetector
from maskwright.models.detectors.phrases import Thresholds, corners, joined
from maskwright.models.detectors.words import load_words
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB, Detections
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

_NOBODY = -1


@dataclass(frozen=True, eq=False)
class Caption:
    """Phrases as the model reads them: "first. second." between the tokens that open and close a text.

    Attributes:
        tokens: (L,) int64.
        owners: (L,) int64 index of the phrase that each token belongs to; -1 for what separates them.
    """

    tokens: NDArray[np.int64]
    owners: NDArray[np.int64]


def captions(pieces: Sequence[Sequence[int]], frame: tuple[int, int], stop: int, limit: int) -> list[Caption]:
    """As few captions as hold all phrases in their order, none longer than the text encoder reads.

    Args:
        pieces: The tokens of each phrase.
        frame: Tokens that open and close a text.
        stop: Token of a full stop.
        limit: Most tokens of a caption.

    Raises:
        InvalidInput: If a single phrase is too long.
    """
    made: list[Caption] = []
    tokens: list[int] = []
    owners: list[int] = []

    def close() -> None:
        made.append(
            Caption(
                np.array([frame[0], *tokens, frame[1]], dtype=np.int64),
                np.array([_NOBODY, *owners, _NOBODY], dtype=np.int64),
            )
        )
        tokens.clear()
        owners.clear()

    room = limit - 2
    for index, piece in enumerate(pieces):
        if len(piece) + 1 > room:
            raise InvalidInput(f"phrase {index} has {len(piece)} tokens, but the detector reads {room - 1}; shorten it")
        if len(tokens) + len(piece) + 1 > room:
            close()
        tokens += [*piece, stop]
        owners += [index] * len(piece) + [_NOBODY]
    if tokens:
        close()
    return made


def read_answer(
    probabilities: NDArray[np.float32],
    centred: NDArray[np.float32],
    caption: Caption,
    size: tuple[int, int],
    thresholds: Thresholds,
) -> Detections:
    """What a caption's answer says.

    A box's score is its highest probability over the whole caption. A box none of whose phrases' words lies above the
    text threshold names nothing and goes.

    Args:
        probabilities: (Q, L) of each token for each box.
        centred: (Q, 4) centres and sizes as parts of the image.
        caption: Of L tokens.
        size: (H, W) of the image in pixels.
        thresholds: Both are strict.
    """
    scores: NDArray[np.float32] = probabilities.max(axis=1)
    naming = np.where((caption.owners != _NOBODY) & (probabilities > thresholds.text), probabilities, np.float32(0))
    keep = (scores > thresholds.box) & naming.any(axis=1)
    owners: NDArray[np.int64] = caption.owners[naming[keep].argmax(axis=1)]
    return Detections(corners(centred[keep], (size[1], size[0])), scores[keep], owners)


class GroundingDino(NetworkDetector):
    """Implements ``Detector`` by a ``GroundingDinoForObjectDetection`` or ``MMGroundingDinoForObjectDetection``."""

    def find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """See ``PhraseDetector``. The image is looked at once per caption: what it looks for guides the look."""
        pieces, limit = self._words.pieces(phrases), min(int(self._model.config.max_text_len), self._length)
        pixels = self._pixels(image)
        seen = torch.ones((1, *pixels.shape[2:]), dtype=torch.int64, device=pixels.device)
        parts: list[Detections] = []
        for caption in captions(pieces, self._words.frame, self._words.number("."), limit):
            tokens = torch.from_numpy(caption.tokens)[None].to(pixels.device)
            with self._device.inference():
                answer = self._model(
                    pixel_values=pixels,
                    pixel_mask=seen,
                    input_ids=tokens,
                    token_type_ids=torch.zeros_like(tokens),
                    attention_mask=torch.ones_like(tokens),
                )
                probabilities = answer.logits[0, :, : len(caption.tokens)].float().sigmoid().cpu().numpy()
                centred = answer.pred_boxes[0].float().cpu().numpy()
            size = (image.shape[0], image.shape[1])
            parts.append(read_answer(probabilities, centred, caption, size, self.thresholds))
        return joined(parts)


def load_grounding_dino(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> GroundingDino:
    """Load either model from a folder in transformers' format.

    Raises:
        ModelUnavailable: If weights or tokenizer are missing or incomplete.
    """
    import transformers

    kind = "MMGroundingDino" if checkpoint.config.get("model_type") == "mm-grounding-dino" else "GroundingDino"
    words = load_words(checkpoint)
    model = load_pretrained(
        getattr(transformers, f"{kind}ForObjectDetection"), checkpoint, replace(device, attention="eager")
    )
    # The detector itself knows no other attention than "eager". Its text encoder must have another: BERT's "eager" adds
    # the mask that keeps phrases apart as numbers 0 and 1, so that every phrase reads all others.
    model.set_attn_implementation({"text_config": device.attention, "backbone_config": device.attention})
    return GroundingDino(model, words, description, device, AspectFrame.of(checkpoint.processor))
