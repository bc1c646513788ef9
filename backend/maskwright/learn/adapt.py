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
        seconds: Most CPU seconds of this thread, encoding included; None = no limit, and equal seeds then give equal
            tensors.
        rate: Peak learning rate; it falls to zero over the run.
        rank: Of low-rank corrections, or None to tune the whole decoder.
        seed: Of everything random.
    """

    steps: int = 150
    seconds: float | None = None
    rate: float = 3e-4
    rank: int | None = None
    seed: int = 0


def tune(network: EmbeddedNetwork, pictures: Sequence[CorrectedPicture], tuning: Tuning) -> dict[str, Tensor]:
    """An adapter (see ``models.embedded.adapters``) learnt from corrected pictures.

    Raises:
        InvalidInput: If there is nothing to learn from.
    """
    began = time.thread_time()
    if not any(picture.masks for picture in pictures):
        raise InvalidInput("none of the pictures has a corrected mask: there is nothing to learn from")
    learner = with_decoder(network) if tuning.rank is None else with_low_rank(network, tuning.rank, tuning.seed)
    learner.train()
    encoded = [_encoded(learner, p, mirrored) for p in pictures if p.masks for mirrored in (False, True)]
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=tuning.rate, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(tuning.steps):
        spent = 0.0 if tuning.seconds is None else (time.thread_time() - began) / tuning.seconds
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
