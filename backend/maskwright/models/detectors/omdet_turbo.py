"""OmDet-Turbo through transformers: the image is encoded once, and a light decoder meets it with the phrases.

Source: "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head" (Zhao et al., 2024). A task,
"Detect cat, dog.", is read beside the phrases, and the best boxes for any of them are refined together, so that
phrases of one task know of each other. Boxes and probabilities are transformers' own; a box goes to the phrase that it
shows most probably (``post_process_grounded_object_detection`` lists it for others too, which suppression would drop).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from types import MethodType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.image_input import ImageInput
from maskwright.models.detectors.network import NetworkDetector
from maskwright.models.detectors.phrases import Thresholds, corners, joined
from maskwright.models.detectors.words import load_words
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from maskwright.models.protocols import RGB, Detections
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

THRESHOLDS = Thresholds(box=0.3)
"""What it was released with."""
TASK = "Detect {}."
_BILINEAR = 2


def tasks(lengths: Sequence[int], room: int) -> list[slice]:
    """As few runs of phrases, in their order, as tasks that the text encoder reads whole can name.

    Args:
        lengths: Tokens of each phrase; a comma or the full stop follows each.
        room: Tokens that a task has for them.

    Raises:
        InvalidInput: If a single phrase is too long.
    """
    starts, used = [0], 0
    for index, length in enumerate(lengths):
        if length + 1 > room:
            raise InvalidInput(f"phrase {index} has {length} tokens, but the detector reads {room - 1}; shorten it")
        if used + length + 1 > room:
            starts.append(index)
            used = 0
        used += length + 1
    return [slice(start, stop) for start, stop in pairwise([*starts, len(lengths)])]


class OmDetTurbo(NetworkDetector):
    """Implements ``Detector`` by an ``OmDetTurboForObjectDetection``; the image is stretched to its input."""

    released = THRESHOLDS

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.Lock()

    def find(self, image: RGB, phrases: Sequence[str]) -> Detections:
        """See ``PhraseDetector``. The image is encoded once, however many tasks its phrases need."""
        opening, *pieces = self._words.pieces([TASK.partition("{}")[0].strip(), *phrases])
        runs = tasks([len(piece) for piece in pieces], self._length - 2 - len(opening))
        levels, parts = self._encode(image), []
        for run in runs:
            probabilities, centred = self._decode(levels, phrases[run])
            scores: NDArray[np.float32] = probabilities.max(axis=1)
            keep = scores > self.thresholds.box
            boxes = corners(centred[keep], (float(image.shape[1]), float(image.shape[0])))
            parts.append(Detections(boxes, scores[keep], run.start + probabilities[keep].argmax(axis=1)))
        return joined(parts)

    def _encode(self, image: RGB) -> Any:
        """What the decoder reads of an image, at every scale."""
        pixels = self._pixels(image)
        with self._device.encoder_inference():
            levels = self._model.vision_backbone(pixels)
        with self._device.inference():
            return self._model.encoder([level.float() for level in levels], return_dict=True).extracted_states

    def _decode(self, levels: Any, phrases: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, n) probability of each phrase for each box, and (N, 4) centres and sizes as parts of the image."""
        device = self._device.torch
        classes, classes_mask = self._words.padded(phrases, self._length)
        task, task_mask = self._words.padded([TASK.format(", ".join(phrases))], self._length)
        with self._device.inference():
            with self._lock:  # the network keeps what it read last, in a table that threads must not share
                read = self._model.get_language_embedding(
                    *(tokens.to(device) for tokens in (classes, classes_mask, task, task_mask)),
                    torch.tensor([len(phrases)], device=device),
                )
            found = self._model.decoder(levels, *read, return_dict=True)
            probabilities = found.decoder_classes[-1, 0].float().sigmoid()
            centred = found.decoder_coords[-1, 0].float()
        return probabilities.cpu().numpy(), centred.cpu().numpy()


def load_omdet_turbo(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> OmDetTurbo:
    """Load it from a folder in transformers' format.

    Raises:
        ModelUnavailable: If weights or tokenizer are missing or incomplete, or the backbone is timm's, as the public
            checkpoint's is, and timm is not installed.
    """
    from transformers import OmDetTurboForObjectDetection

    words = load_words(checkpoint)
    try:
        # The detector itself knows no other attention than "eager"; its text encoder does.
        model = load_pretrained(OmDetTurboForObjectDetection, checkpoint, replace(device, attention="eager"))
    except ImportError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its image backbone comes from the package timm, which cannot be imported here; "
            "run 'pip install timm' (it needs a torchvision of the same index as torch), or name grounding-dino: or "
            "owlv2:, which do without"
        ) from error
    model.set_attn_implementation({"text_config": device.attention})
    # transformers keeps anchors for ever with the model that asked first, and so its weights; they are quickly made.
    model.decoder.generate_anchors = MethodType(type(model.decoder).generate_anchors.__wrapped__, model.decoder)
    size = model.config.image_size
    frame = ImageInput.of(
        checkpoint, size if isinstance(size, int) else size[0],
        image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, resample=_BILINEAR,
    )  # fmt: skip
    return OmDetTurbo(model, words, description, device, frame)
