"""Semantic segmentation learnt on frozen features: a projection to the space of words, and what it says of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maskwright.errors import InvalidInput
from maskwright.learn.training.language import LanguageHead, LanguageLoss, Target, language_loss

RATE = 2e-3
STEPS = 200
RIDGE = 1e-3
"""Penalty of the least squares that training starts from, beside a mean weight of 1 for each class."""
PLACES = 512
"""Of an image, drawn anew for every step."""


@dataclass(frozen=True, eq=False)
class LearningImage:
    """An image to learn from.

    Attributes:
        features: (h, w, d) float32 at each scale, finest first.
        labels: (H, W) int32 class of each pixel, -1 where nobody said one.
    """

    features: tuple[NDArray[np.float32], ...]
    labels: NDArray[np.int32]


def fit_head(
    images: Sequence[LearningImage],
    words: Sequence[NDArray[np.float32]],
    loss: LanguageLoss,
    *,
    learnt_classes: bool = False,
    steps: int = STEPS,
    seed: int = 0,
) -> LanguageHead:
    """Learn from images with true classes, one a step; equal arguments give equal heads.

    Args:
        images: At least one.
        words: For each class the (m, d) unit vectors of its words.
        loss: How the terms are weighed.
        learnt_classes: Whether classes are learnt vectors, and words say nothing.
        steps: So many.
        seed: Of the order, and of what is learnt.

    Raises:
        InvalidInput: If there is no image.
    """
    if not images:
        raise InvalidInput("there is no image to learn the classes of places from")
    samples = [(_on_finest(_tensors(image.features)), _target(image)) for image in images]
    channels = [feature.shape[2] for feature in images[0].features]
    vectors = [torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)) for rows in words]
    head = LanguageHead(channels, vectors, seed=seed, learnt_classes=learnt_classes)
    _start(head, samples)
    optimizer = torch.optim.Adam(head.parameters(), lr=RATE)
    shown = torch.zeros(len(words), dtype=torch.bool)
    for _, target in samples:
        shown[target.classes] = True
    rng = np.random.default_rng(seed)
    with torch.enable_grad():
        for step in range(steps):
            features, target = samples[int(rng.integers(len(samples)))]
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
            optimizer.zero_grad()
            features, target = _drawn(features, target, rng)
            language_loss(head, features, target, loss, shown).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return head


def _start(head: LanguageHead, samples: Sequence[tuple[list[Tensor], Target]]) -> None:
    """Let every scale begin with the projection that is nearest to the classes' vectors in the least squares.

    From numbers drawn by lot, training would tell apart the classes that are shown and leave the others anywhere; a
    linear map to the words takes them along (Romera-Paredes and Torr, ICML 2015).
    """
    labels = torch.cat([target.labels.flatten() for _, target in samples])
    known = labels >= 0
    labels = labels[known]
    with torch.no_grad():
        wanted = head.class_vectors_alone()[labels]
        weights = (1 / labels.bincount().clamp(min=1).float())[labels][:, None]
        for scale, projection in enumerate(head.projections):
            rows = torch.cat([features[scale][0].flatten(1).T for features, _ in samples])[known]
            square = rows.T @ (weights * rows) + RIDGE * torch.eye(rows.shape[1])
            projection.copy_(torch.linalg.solve(square, rows.T @ (weights * wanted)).T)


def class_logits(head: LanguageHead, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(h, w, C) float32 on the finest grid, of (h, w, d) features at each scale, finest first."""
    with torch.no_grad():
        places, _ = head(_tensors(features))
        logits: NDArray[np.float32] = head.logits(places, head.class_vectors(places)).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(logits)


def _tensors(features: Sequence[NDArray[np.float32]]) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1)))[None] for one in features]


def _on_finest(features: Sequence[Tensor]) -> list[Tensor]:
    """All scales on the finest grid: interpolated before they are projected they are the same as after it."""
    size = features[0].shape[2:]
    return [
        one if one.shape[2:] == size else functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
        for one in features
    ]


def _drawn(features: Sequence[Tensor], target: Target, rng: np.random.Generator) -> tuple[list[Tensor], Target]:
    """Some places of an image, side by side in one row."""
    cells = target.labels.numel()
    chosen = torch.from_numpy(rng.permutation(cells)[:PLACES])
    shares = target.shares.flatten(1)[:, chosen][:, None]
    rows = [one.flatten(2)[..., chosen][:, :, None] for one in features]
    return rows, Target(target.labels.flatten()[chosen][None], shares, target.classes)


def _target(image: LearningImage) -> Target:
    """What is true on the finest grid; each class that is there is one region."""
    height, width = image.features[0].shape[:2]
    small = cv2.resize(image.labels.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    labels = torch.from_numpy(small.astype(np.int64))
    classes = torch.from_numpy(np.unique(small[small >= 0]).astype(np.int64))
    return Target(labels, (labels == classes[:, None, None]).float(), classes)
