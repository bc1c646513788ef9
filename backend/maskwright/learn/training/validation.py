"""A few training images that training does not learn from: they tell when to stop."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from maskwright.learn.training.pointing import Pointing
from maskwright.learn.training.records import TrainingImage
from maskwright.learn.training.steps import answer, begin
from maskwright.learn.training.trainable import Trainable
from maskwright.learn.training.views import View, Views

LEAST_IMAGES = 40
"""With fewer images none is spared: what can be told by a handful is noise, and training needs them more."""
SHARE, MOST = 0.15, 8
OBJECTS, CLICKS = 6, 3


def spared(images: Sequence[TrainingImage]) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """The images to learn from, and those to validate on: the lowest hashes of the keys."""
    if len(images) < LEAST_IMAGES:
        return list(images), []
    count = min(MOST, round(SHARE * len(images)))
    ranked = sorted(images, key=lambda image: hashlib.sha256(f"validation\x1f{image.key}".encode()).digest())
    chosen = {image.key for image in ranked[:count]}
    return [i for i in images if i.key not in chosen], [i for i in images if i.key in chosen]


@dataclass(eq=False)
class Validation:
    """Measures a learner: mean IoU of its answers to tight boxes, to one click and to three, in equal parts.

    Clicks lie at the centre of what is wrong.

    Attributes:
        trainable: The learner.
        views: Of the validation images.
        seed: Chooses their objects.
    """

    trainable: Trainable
    views: Views
    seed: int

    def __call__(self) -> float:
        """The mean IoU, objects weighed alike; the network is in evaluation mode meanwhile."""
        network, found = self.trainable.network, []
        training = network.training
        network.eval()
        with torch.no_grad():
            for view in self.views.listed:
                found += self._of(view)
        network.train(training)
        return float(np.mean(found))

    def _of(self, view: View) -> list[float]:
        encoded, things = self.views.encoded(view), view.image.objects
        order = np.random.default_rng([self.seed, len(things)]).permutation(len(things))[:OBJECTS]
        found: list[float] = []
        for boxes in (True, False):
            pointings = [begin(self.trainable, view, things[i], None, boxes=boxes) for i in order]
            answer(self.trainable, encoded, pointings, False)
            found += [_iou(pointing) for pointing in pointings]
        for _ in range(CLICKS - 1):
            for pointing in pointings:
                pointing.click(None)
            answer(self.trainable, encoded, pointings, True)
        return found + [_iou(pointing) for pointing in pointings]


def _iou(pointing: Pointing) -> float:
    wanted = pointing.share > 0.5
    assert pointing.found is not None
    either = int((wanted | pointing.found).sum())
    return int((wanted & pointing.found).sum()) / either if either else 1.0
