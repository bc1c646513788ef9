"""One training step of the embedded segmenter: one picture, a few objects, a few answers each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.learn.base.annotator import Session
from maskwright.learn.base.losses import step_loss, true_iou
from maskwright.models.classical_arrays import scene_arrays, scene_of
from maskwright.models.classical_regions import Scene
from maskwright.models.embedded.finishing import finish
from maskwright.models.embedded.inputs import Frame, image_tensor, stack_prompts
from maskwright.models.embedded.network import EmbeddedNetwork

OBJECTS = 6
ANSWERS = 3
LATE_SHARE = 0.2
"""Share of steps whose objects have already got one to ``MOST_EARLIER`` answers when training looks at them."""
MOST_EARLIER = 4


@dataclass(frozen=True)
class StepReport:
    """Mean over the objects: loss, IoU of the first and of the last answer."""

    loss: float
    first_iou: float
    last_iou: float


def choose_objects(masks: Sequence[NDArray[np.bool_]], count: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """``count`` of the masks, each as often as the others: every step costs the same, and no worker waits long."""
    order = [rng.permutation(len(masks)) for _ in range(-(-count // len(masks)))]
    return [masks[i] for i in np.concatenate(order)[:count]]


def earlier_answers(rng: np.random.Generator) -> int:
    """How many answers the objects of a step have got already."""
    late, count = rng.random() < LATE_SHARE, int(rng.integers(1, MOST_EARLIER + 1))
    return count if late else 0


def train_step(
    network: EmbeddedNetwork,
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    rng: np.random.Generator,
    *,
    earlier: int,
    trained_backbone: bool,
) -> tuple[Tensor, StepReport]:
    """The loss of one picture, ready for ``backward``.

    Args:
        network: What is trained.
        image: (H, W, 3) uint8 RGB working pixels, H and W even.
        masks: (H, W) bool objects.
        rng: Everything random.
        earlier: Answers that every object has got already.
        trained_backbone: Whether gradients go into the backbone.
    """
    frame = Frame((image.shape[0], image.shape[1]))
    pixels = image_tensor(image, frame)
    with torch.set_grad_enabled(trained_backbone):
        stages = network.backbone.features(pixels)
    return learn_objects(network, network.neck(stages, pixels), scene_of(scene_arrays(image)), masks, rng, earlier)


def learn_objects(
    network: EmbeddedNetwork,
    embedding: dict[int, Tensor],
    scene: Scene,
    masks: Sequence[NDArray[np.bool_]],
    rng: np.random.Generator,
    earlier: int,
) -> tuple[Tensor, StepReport]:
    """The loss of a few objects of an encoded picture, each answered ``ANSWERS`` times.

    First answers alone would teach first clicks at the cost of later ones.
    """
    frame = Frame(scene.size)
    sessions = [Session.begin(mask, rng) for mask in choose_objects(masks, OBJECTS, rng)]
    truth = torch.from_numpy(np.stack([s.share for s in sessions]))
    for _ in range(earlier):
        with torch.no_grad():
            _answer(network, embedding, scene, frame, sessions, truth, rng)
        _click_all(sessions, rng)
    total = torch.zeros(())
    reports: list[Tensor] = []
    for index in range(ANSWERS):
        loss, reached = _answer(network, embedding, scene, frame, sessions, truth, rng)
        total = total + loss / ANSWERS
        reports.append(reached)
        if index < ANSWERS - 1:
            _click_all(sessions, rng)
    return total, StepReport(float(total.detach()), float(reports[0].mean()), float(reports[-1].mean()))


def _answer(
    network: EmbeddedNetwork,
    embedding: dict[int, Tensor],
    scene: Scene,
    frame: Frame,
    sessions: list[Session],
    truth: Tensor,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Answer every session once: its loss, and the (B,) IoU of the answers, which the sessions remember."""
    said = [session.prompt(rng) for session in sessions]
    logits, expected = network.decoder(embedding, stack_prompts(scene, frame, said))
    logits = logits[:, :, : frame.half[0], : frame.half[1]]
    ambiguous = torch.tensor([prompt.is_ambiguous for prompt in said])
    loss = step_loss(logits, expected, truth, ambiguous)
    chosen = torch.where(ambiguous, 1 + expected[:, 1:].argmax(dim=1), 0)
    answers = logits.detach()[torch.arange(len(said)), chosen]
    for session, answer in zip(sessions, answers, strict=True):
        session.logits = finish(scene, answer.numpy())
    return loss, true_iou(answers[:, None], truth)[:, 0]


def _click_all(sessions: list[Session], rng: np.random.Generator) -> None:
    for session in sessions:
        session.click(rng)
