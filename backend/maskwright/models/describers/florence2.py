"""Florence-2 as tagger and captioner: its answers to three of its task prompts, read tolerantly.

An answer about places is text with location tokens behind each phrase: ``car<loc_52><loc_334><loc_932><loc_774>``,
thousandths of the image's width and height as x1, y1, x2, y2; several boxes may follow one phrase (Xiao et al. 2023).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.generation import GREEDY, warn_if_cut
from maskwright.models.describers.image_input import ImageInput
from maskwright.models.describers.tiles import united
from maskwright.models.describers.tokens import load_tokenizer
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from maskwright.models.protocols import RGB, Tag
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

PROMPTS = MappingProxyType(
    {
        "<OD>": "Locate the objects with category name in the image.",
        "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
        "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    }
)
"""The sentences that each task's name stands for, as the model was trained on them."""
NEW_TOKENS = 512
BINS = 1000
"""Location tokens per axis."""
_SIDE = 768
_FRAMING = re.compile(r"</?s>|<pad>|<unk>|<mask>")
_PHRASE = re.compile(r"([^<]*)((?:<loc_\d+>\s*)*)(<(?!loc_\d)[^<>]*>?)?")
_LOCATION = re.compile(r"<loc_(\d+)>")


@dataclass(frozen=True)
class LocatedPhrase:
    """A phrase and where the image shows it.

    Attributes:
        phrase: As the model wrote it, trimmed.
        boxes: x1, y1, x2, y2 each, as parts of the image's width and height in [0, 1].
    """

    phrase: str
    boxes: tuple[tuple[float, float, float, float], ...]


def located_phrases(text: str) -> list[LocatedPhrase]:
    """Read an answer of a task about places.

    Tolerant: other tokens between phrases are passed over, numbers beyond the last bin are taken as the last, corners
    in the wrong order are put right, what remains of an incomplete box is left out, and a phrase without a whole box
    (an answer that was cut) is left out too.

    Args:
        text: The decoded answer, special tokens included.

    Returns:
        Phrases in the order of the answer.
    """
    found = []
    for phrase, places, _ in _PHRASE.findall(_FRAMING.sub("", text)):
        numbers = [(min(int(n), BINS - 1) + 0.5) / BINS for n in _LOCATION.findall(places)]
        corners = [numbers[i : i + 4] for i in range(0, len(numbers) - 3, 4)]
        boxes = tuple((min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners)
        if phrase.strip() and boxes:
            found.append(LocatedPhrase(phrase.strip(), boxes))
    return found


class Florence2:
    """Images to words (what it detects, and what it says of regions) and to a caption.

    Args:
        model: ``Florence2ForConditionalGeneration``.
        checkpoint: Where its tokenizer and preprocessor configuration lie.
        description: Name and version.
        device: Where it runs.

    Raises:
        ModelUnavailable: If its tokenizer lacks the location tokens.
    """

    def __init__(
        self, model: Any, checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice
    ) -> None:
        self.name, self.version = description.name, description.version
        self._model, self._device = model, device
        self._input = ImageInput.of(checkpoint, _SIDE, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)
        self._tokenizer = load_tokenizer(checkpoint)
        if len(self._tokenizer.encode("<loc_999>", add_special_tokens=False)) != 1:
            raise ModelUnavailable(
                f"model {checkpoint.uri}: its tokenizer lacks the location tokens; take one of florence-community, "
                "whose files transformers reads without code of their own"
            )

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """Words and short descriptions of what it locates, at most ``top`` for each (H, W, 3) uint8 RGB image.

        Florence-2 names without weighing: the confidence of a phrase is that of the answer that holds it, the geometric
        mean of its tokens' probabilities. Phrases of one answer keep their order.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
        """
        found = []
        for image in images:
            answers = [self._answer(image, task) for task in ("<OD>", "<DENSE_REGION_CAPTION>")]
            found.append(united(([Tag(p.phrase, sure) for p in located_phrases(text)] for text, sure in answers), top))
        return found

    def captions(self, images: Sequence[RGB]) -> list[str]:
        """A detailed caption for each (H, W, 3) uint8 RGB image.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
        """
        texts = (self._answer(image, "<DETAILED_CAPTION>")[0] for image in images)
        return [re.sub(r"<[^<>]*>", "", text).strip() for text in texts]

    def _answer(self, image: RGB, task: str) -> tuple[str, float]:
        """The decoded answer with its special tokens, and the geometric mean of its tokens' probabilities."""
        pixels = torch.from_numpy(self._input.pixels(image))[None].to(self._device.torch)
        stride = prod(self._model.config.vision_config.patch_stride)
        # The projector puts one token of the image's mean before one for each place.
        places = 1 + -(-pixels.shape[2] // stride) * -(-pixels.shape[3] // stride)
        framed = f"{self._tokenizer.bos_token}{PROMPTS[task]}{self._tokenizer.eos_token}"
        prompt = self._tokenizer.encode(framed, add_special_tokens=False)
        ids = torch.tensor([[self._model.config.image_token_id] * places + prompt], device=self._device.torch)
        with self._device.encoder_inference():
            answer = self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, max_new_tokens=NEW_TOKENS,
                output_scores=True, return_dict_in_generate=True, **GREEDY,
            )  # fmt: skip
        written = answer.sequences[0]
        warn_if_cut(written, self._tokenizer.eos_token_id, f"{self.name} {task}", NEW_TOKENS)
        steps = torch.stack(answer.scores)[:, 0].float().log_softmax(dim=-1)
        chosen = steps.gather(1, written[-len(steps) :, None])
        text = self._tokenizer.decode(written, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text), float(chosen.mean().exp().clamp(0, 1))


def load_florence2(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> Florence2:
    """Load Florence-2 (``florence-community/Florence-2-base``)."""
    import transformers

    model = load_pretrained(transformers.Florence2ForConditionalGeneration, checkpoint, device)
    return Florence2(model, checkpoint, description, device)
