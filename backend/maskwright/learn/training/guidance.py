"""The language guidance of a training run: an image's features and objects, as its losses take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.errors import InvalidInput
from maskwright.learn.training.language import NOBODY, LanguageHead, LanguageLoss, Target, language_loss
from maskwright.learn.training.trainable import Encoded, Trainable
from maskwright.learn.training.views import View

LEVELS = ("finest", "finer", "image_embeddings")
"""Names of the features that are guided, finest first; a family has some of them."""

Words = Mapping[str, NDArray[np.float32]]
"""For every class the (m, d) unit vectors of its words and descriptors, of any encoder of texts."""


class Guidance:
    """Draws features of places to the words of their classes.

    Args:
        trainable: The learner.
        example: An image by its encoder.
        words: Of two classes at least.
        weight: Of these losses beside those of the masks.
        seed: Of what is learnt beside the adapter.

    Raises:
        InvalidInput: If there are fewer classes, or their vectors are not of one length.
    """

    def __init__(self, trainable: Trainable, example: Encoded, words: Words, weight: float, seed: int) -> None:
        vectors = [np.asarray(rows, dtype=np.float32) for rows in words.values()]
        if len(vectors) < 2 or any(rows.ndim != 2 or not len(rows) for rows in vectors):
            raise InvalidInput("training: language guidance needs the words of two classes at least")
        if len({rows.shape[1] for rows in vectors}) > 1:
            raise InvalidInput("training: the vectors of the classes' words are not of one length")
        self._trainable, self._weight = trainable, weight
        self._numbers = {name: number for number, name in enumerate(words)}
        channels = [feature.shape[1] for feature in self._features(example)]
        head = LanguageHead(channels, [torch.from_numpy(rows) for rows in vectors], seed=seed)
        self.head = head.to(trainable.device.torch)

    def teach(self, encoded: Encoded, view: View) -> float:
        """Collect the gradients of an image's guidance; returns the loss, 0 where no object has one of the classes."""
        features = self._features(encoded)
        target = self._target(view, (features[0].shape[2], features[0].shape[3]))
        if target is None:
            return 0.0
        loss = self._weight * language_loss(self.head, features, target, LanguageLoss())
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _features(self, encoded: Encoded) -> list[Tensor]:
        """What the levels hold of the image itself, without the padding."""
        down, across = self._trainable.covered(encoded.size)
        found = [encoded.features[name] for name in LEVELS if name in encoded.features]
        return [one[:, :, : _part(one.shape[2], down), : _part(one.shape[3], across)] for one in found]

    def _target(self, view: View, cells: tuple[int, int]) -> Target | None:
        known = [thing for thing in view.image.objects if thing.label in self._numbers]
        if not known:
            return None
        # The smallest is painted last: a sign before a building.
        known.sort(key=lambda thing: -thing.mask.area)
        shares = np.stack([_shrunk(view.array(thing.mask), cells) for thing in known])
        classes = [self._numbers[thing.label] for thing in known if thing.label is not None]
        device = self._trainable.device.torch
        return Target(
            torch.from_numpy(_labels(shares, classes)).to(device),
            torch.from_numpy(shares).to(device),
            torch.tensor(classes, device=device),
        )


def _part(length: int, share: float) -> int:
    return min(length, max(1, round(length * share)))


def _shrunk(mask: NDArray[np.bool_], cells: tuple[int, int]) -> NDArray[np.float32]:
    share: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)
    return share


def _labels(shares: NDArray[np.float32], classes: Sequence[int]) -> NDArray[np.int64]:
    labels = np.full(shares.shape[1:], NOBODY, dtype=np.int64)
    for share, number in zip(shares, classes, strict=True):
        labels[share >= 0.5] = number
    return labels
