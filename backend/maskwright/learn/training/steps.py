"""Single steps of training: people who point and correct, places where proposals were deleted, the base's own answers.

Every function calls ``backward`` itself, answer by answer, so that no more than one pass through the decoder is held in
memory; the caller finds the sum of the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from maskwright.learn.training.losses import answer_loss, behaviour_loss, negative_loss, pixel_weights
from maskwright.learn.training.pointing import Pointing, jittered
from maskwright.learn.training.records import TrainingObject
from maskwright.learn.training.trainable import Answers, Encoded, Trainable
from maskwright.learn.training.views import View
from maskwright.masks import Mask
from maskwright.prompts import Prompt

OBJECTS, ANSWERS = 6, 3
"""Objects of one image in a step, and answers to each."""
BOXES = 0.45
"""Share of objects that are pointed at with a box first; the others with a click, for which there are three masks."""
FED_BACK = 0.92
"""Share of answers that are given with the logits of the one before, as in service, instead of clicks alone."""
LATE_SHARE, MOST_EARLIER = 0.5, 4
"""Share of steps whose objects have got one to so many answers before training looks at them."""
NEGATIVES = 2
PROMPTS = 6
"""Random prompts at which a step compares with the base."""
SAME, BARE = 0.5, 0.1
"""A deleted proposal with this IoU to an object is that object; one with less than this share on objects is none."""


def correct(trainable: Trainable, encoded: Encoded, view: View, rng: np.random.Generator) -> float:
    """Point at objects of an image and correct the answers; returns the loss.

    Args:
        trainable: The learner.
        encoded: The image.
        view: The same, with its objects.
        rng: Everything random.
    """
    things = view.image.objects
    chosen = [things[i] for i in _shared_out(len(things), OBJECTS, rng)]
    pointings = [begin(trainable, view, thing, rng, boxes=bool(rng.random() < BOXES)) for thing in chosen]
    if rng.random() < LATE_SHARE:
        for _ in range(int(rng.integers(1, MOST_EARLIER + 1))):
            with torch.no_grad():
                for group in _alike(pointings):
                    answer(trainable, encoded, group, rng.random() < FED_BACK)
            for pointing in pointings:
                pointing.click(rng)
    total = 0.0
    for index in range(ANSWERS):
        for group in _alike(pointings):
            share, weights = _targets(trainable, group)
            loss = answer_loss(answer(trainable, encoded, group, rng.random() < FED_BACK), share, weights)
            loss = loss * (len(group) / len(pointings) / ANSWERS)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if index < ANSWERS - 1:
            for pointing in pointings:
                pointing.click(rng)
    return total


def begin(
    trainable: Trainable, view: View, thing: TrainingObject, rng: np.random.Generator | None, *, boxes: bool
) -> Pointing:
    """Point at an object for the first time; without a generator with the tight box, or at the centre."""
    pointing = view.pointing(trainable, thing)
    if boxes:
        pointing.box = _box(view, thing.mask, rng)
    else:
        pointing.click(rng)
    return pointing


def answer(trainable: Trainable, encoded: Encoded, pointings: Sequence[Pointing], fed_back: bool) -> Answers:
    """Answer everyone once; they remember the mask of the highest predicted IoU. Only cells on the image come back."""
    prompts = [pointing.prompt(fed_back) for pointing in pointings]
    answers = trainable.decode(encoded, prompts, prompts[0].is_ambiguous)
    chosen = answers.iou.detach().argmax(dim=1)
    best = answers.logits.detach()[torch.arange(len(chosen), device=chosen.device), chosen].to("cpu").numpy()
    rows, columns = trainable.grid(encoded.size).size
    for pointing, prompt, logits in zip(pointings, prompts, best, strict=True):
        pointing.previous = trainable.fed_back(encoded, prompt, logits)
        pointing.found = trainable.taken(encoded.size, pointing.previous)
    return replace(answers, logits=answers.logits[..., :rows, :columns])


def refuse(trainable: Trainable, encoded: Encoded, view: View, rng: np.random.Generator) -> float:
    """Point where proposals were deleted, with boxes or clicks; returns the loss, 0 where none was deleted."""
    objects = [thing.mask for thing in view.image.objects]
    deleted = [m for m in view.image.negatives if not m.is_empty and all(m.iou(other) <= SAME for other in objects)]
    if not deleted:
        return 0.0
    chosen = [deleted[i] for i in _shared_out(len(deleted), min(NEGATIVES, len(deleted)), rng)]
    boxes = bool(rng.random() < 0.5)
    pointings = [begin(trainable, view, TrainingObject(mask), rng, boxes=boxes) for mask in chosen]
    share, _ = _targets(trainable, pointings)
    bare = torch.tensor([_covered(mask, objects) < BARE for mask in chosen], device=share.device)
    loss = negative_loss(answer(trainable, encoded, pointings, False), share, bare)
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def remember(
    trainable: Trainable, base: Trainable, encoded: Encoded, as_base: Encoded, rng: np.random.Generator
) -> float:
    """Answer random clicks or boxes as the base does; returns the loss.

    Args:
        trainable: The learner.
        base: The base.
        encoded: An image by the learner's encoder.
        as_base: The same by the base's.
        rng: Everything random.
    """
    clicks = bool(rng.random() < 0.5)
    prompts = [_random_prompt(encoded.size, clicks, rng) for _ in range(PROMPTS)]
    rows, columns = trainable.grid(encoded.size).size
    with torch.no_grad():
        wanted = _cropped(base.decode(as_base, prompts, clicks), rows, columns)
    loss = behaviour_loss(_cropped(trainable.decode(encoded, prompts, clicks), rows, columns), wanted)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


@contextmanager
def leaves(encoded: Encoded) -> Iterator[Encoded]:
    """Features that collect gradients of several passes; at the end they go into the encoder at once."""
    if not any(tensor.requires_grad for tensor in encoded.features.values()):
        yield encoded
        return
    held = {name: tensor.detach().requires_grad_() for name, tensor in encoded.features.items()}
    yield replace(encoded, features=held)
    made = [(t, g) for name, t in encoded.features.items() if t.requires_grad and (g := held[name].grad) is not None]
    torch.autograd.backward([t for t, _ in made], [g for _, g in made])


def _alike(pointings: Sequence[Pointing]) -> list[list[Pointing]]:
    """Those for whom one mask is made, and those for whom there are three."""
    groups = [[p for p in pointings if p.prompt(False).is_ambiguous is several] for several in (False, True)]
    return [group for group in groups if group]


def _targets(trainable: Trainable, pointings: Sequence[Pointing]) -> tuple[Tensor, Tensor]:
    """(B, h, w) shares of cells in the objects, and weights of the cells."""
    device = trainable.device.torch
    share = torch.from_numpy(np.stack([p.share for p in pointings])).to(device)
    return share, pixel_weights(torch.from_numpy(np.stack([p.changed for p in pointings])).to(device))


def _shared_out(count: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """``wanted`` numbers below ``count``, each as often as the others: every step costs the same."""
    order = [rng.permutation(count) for _ in range(-(-wanted // count))]
    return [int(i) for i in np.concatenate(order)[:wanted]]


def _box(view: View, mask: Mask, rng: np.random.Generator | None) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in mask.box)
    height, width = mask.size
    box = (width - x2, y1, width - x1, y2) if view.mirrored else (x1, y1, x2, y2)
    return box if rng is None else jittered(box, (height, width), rng)


def _covered(mask: Mask, objects: Sequence[Mask]) -> float:
    """The share of a mask that lies on objects, at most; where they overlap, more than once."""
    return sum((mask & other).area for other in objects) / mask.area


def _random_prompt(size: tuple[int, int], click: bool, rng: np.random.Generator) -> Prompt:
    height, width = size
    x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
    if click:
        return Prompt.from_points([(x, y, 1)])
    w, h = (max(2.0, side * float(rng.uniform(0.05, 0.5))) for side in (width, height))
    x1, y1 = min(x, width - 1.5), min(y, height - 1.5)
    return Prompt.from_points([], box=(x1, y1, min(x1 + w, width), min(y1 + h, height)))


def _cropped(answers: Answers, rows: int, columns: int) -> Answers:
    return replace(answers, logits=answers.logits[..., :rows, :columns])
