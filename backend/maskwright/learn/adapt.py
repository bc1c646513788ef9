"""Teach the embedded segmenter a new domain from a few corrected pictures, in minutes on a CPU.

The picture encoder stays frozen, so that every picture is encoded once (and once mirrored); what learns is the mask
decoder or low-rank corrections of its attention. Objects are drawn from all pictures, prompts are boxes, clicks and
refinements alike: tuning on first clicks only would ruin the later ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.errors import InvalidInput
from maskwright.learn.base.trainer import earlier_answers, learn_objects
from maskwright.models.classical_arrays import scene_arrays, scene_of
from maskwright.models.classical_regions import Scene
from maskwright.models.embedded.adapters import adapter_tensors, with_decoder, with_low_rank
from maskwright.models.embedded.inputs import Frame, image_tensor, working_pixels
from maskwright.models.embedded.network import EmbeddedNetwork


@dataclass(frozen=True, eq=False)
class CorrectedPicture:
    """A picture and the objects that people left on it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        masks: (H, W) bool, at least one pixel each.
    """

    image: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...]


@dataclass(frozen=True)
class Tuning:
    """How to tune.

    Attributes:
        steps: Most steps; each sees one picture.
        seconds: Most CPU seconds of all threads of PyTorch; the pictures are encoded in any case, and what is left is
            for steps. None = no limit, and equal seeds then give equal tensors.
        rate: Peak learning rate; it falls to zero over the run.
        rank: Of low-rank corrections, or None to tune the whole decoder.
        most_pictures: At most so many pictures, chosen by the seed: each takes about 12 MB.
        seed: Of everything random, 0 or more.
    """

    steps: int = 150
    seconds: float | None = None
    rate: float = 6e-4
    rank: int | None = None
    most_pictures: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.seed < 0 or self.most_pictures < 1 or (self.seconds or 0.0) < 0:
            raise InvalidInput("tuning: steps, seconds and seed are 0 or more, most_pictures is 1 or more")


def tune(network: EmbeddedNetwork, pictures: Sequence[CorrectedPicture], tuning: Tuning) -> dict[str, Tensor]:
    """An adapter (see ``models.embedded.adapters``) learnt from corrected pictures.

    Raises:
        InvalidInput: If there is nothing to learn from.
    """
    began = time.thread_time()
    for index, picture in enumerate(pictures):
        if any(mask.shape != picture.image.shape[:2] for mask in picture.masks):
            raise InvalidInput(f"picture {index}: a mask is not of the picture's size {picture.image.shape[:2]}")
    if not any(picture.masks for picture in pictures):
        raise InvalidInput("none of the pictures has a corrected mask: there is nothing to learn from")
    learner = with_decoder(network) if tuning.rank is None else with_low_rank(network, tuning.rank, tuning.seed)
    learner.train()
    masked = [picture for picture in pictures if picture.masks]
    if len(masked) > tuning.most_pictures:
        chosen = np.random.default_rng(tuning.seed).permutation(len(masked))[: tuning.most_pictures]
        masked = [masked[i] for i in sorted(chosen)]
    encoded = [_encoded(learner, picture, mirrored) for picture in masked for mirrored in (False, True)]
    encoded = [item for item in encoded if item[2]]
    if not encoded:
        raise InvalidInput("every corrected mask is smaller than a pixel of the working grid: nothing to learn from")
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=tuning.rate, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(tuning.steps):
        spent = 0.0
        if tuning.seconds is not None:
            # Idle helper threads count as busy ones: the limit is kept, not used up.
            spent = (time.thread_time() - began) * torch.get_num_threads() / max(tuning.seconds, 1e-3)
        done = max(step / tuning.steps, spent)
        if done >= 1:
            break
        rng = np.random.default_rng([tuning.seed, step])
        embedding, scene, masks = encoded[int(rng.integers(len(encoded)))]
        optimizer.param_groups[0]["lr"] = tuning.rate * min(1.0, (step + 1) / 10) * (1 - done)
        loss, _ = learn_objects(learner, embedding, scene, masks, rng, earlier_answers(rng))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    return adapter_tensors(learner)


def _encoded(
    network: EmbeddedNetwork, picture: CorrectedPicture, mirrored: bool
) -> tuple[dict[int, Tensor], Scene, list[NDArray[np.bool_]]]:
    """Embedding, scene and masks on the working grid of a picture or its mirror image."""
    frame = Frame.of((picture.image.shape[0], picture.image.shape[1]))
    pixels = working_pixels(picture.image, frame)
    masks = [working_pixels(mask.astype(np.uint8) * 255, frame) > 127 for mask in picture.masks]
    if mirrored:
        pixels, masks = np.ascontiguousarray(pixels[:, ::-1]), [np.ascontiguousarray(m[:, ::-1]) for m in masks]
    with torch.no_grad():
        embedding = network.encode(image_tensor(pixels, frame))
    return embedding, scene_of(scene_arrays(pixels)), [mask for mask in masks if mask.any()]
