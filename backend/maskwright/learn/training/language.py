"""Language guidance: losses that draw the encoder's features of a class to what words say of it (LangSeg, 2501.16467).

The features of an image pass through a linear projection into the space of the words' vectors; which encoder of texts
these come from does not matter, for the projection is learnt. Published are the names of the terms and the first one's
formula; the weights, the margin and the scales are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 0.07
"""Of the pixels' cosines at first, from where it is learnt; and of a descriptor's similarity to the image."""
NOBODY = -1


@dataclass(frozen=True)
class LanguageLoss:
    """How the terms are weighed; 0 leaves a term out.

    Attributes:
        generative: Of the likelihood of the mask given image and words.
        triplet: Of regions being nearer to their own class than to the hardest other one that is present.
        multi_scale: Of the likelihood at every single scale.
        margin: By how much nearer.
    """

    generative: float = 1.0
    triplet: float = 0.5
    multi_scale: float = 0.4
    margin: float = 0.2


@dataclass(frozen=True, eq=False)
class Target:
    """What people drew on an image, on the finest grid of its features.

    Attributes:
        labels: (h, w) int64 class of each cell, -1 where nobody said one.
        shares: (R, h, w) share of every cell in each of R regions.
        classes: (R,) int64 class of each region.
    """

    labels: Tensor
    shares: Tensor
    classes: Tensor


class LanguageHead(nn.Module):
    """Projects features to the space of words and compares them with classes.

    Args:
        channels: Of the features at each scale, finest first.
        words: For each of C classes the (m, d) unit vectors of its words and descriptors.
        seed: Of the projections, and of classes that are learnt.
        learnt_classes: Whether classes are learnt vectors instead of what words say: the ablation without language.
    """

    def __init__(
        self, channels: Sequence[int], words: Sequence[Tensor], *, seed: int = 0, learnt_classes: bool = False
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        width = words[0].shape[1]
        self.projections = nn.ParameterList(
            nn.Parameter(torch.randn(width, count, generator=generator) / math.sqrt(count)) for count in channels
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))
        self.classes = (
            nn.Parameter(functional.normalize(torch.randn(len(words), width, generator=generator), dim=1))
            if learnt_classes
            else None
        )
        self.register_buffer("words", torch.cat(list(words)), persistent=False)
        self._counts = [len(group) for group in words]

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Unit vectors of places.

        Args:
            features: (1, c, h, w) at each scale, finest first.

        Returns:
            (d, h, w) of all scales together on the finest grid, and the same of every scale by itself.
        """
        size = features[0].shape[2:]
        each = []
        for feature, projection in zip(features, self.projections, strict=True):
            projected = functional.conv2d(feature, projection[:, :, None, None])
            if projected.shape[2:] != size:
                projected = functional.interpolate(projected, size=size, mode="bilinear", align_corners=False)
            each.append(functional.normalize(projected[0], dim=0))
        return functional.normalize(torch.stack(each).sum(dim=0), dim=0), each

    def class_vectors(self, places: Tensor) -> Tensor:
        """(C, d) unit vectors of the classes in the context of an image, whose places are (d, h, w).

        Descriptors weigh as much as the image speaks for them; no gradient flows through that.
        """
        if self.classes is not None:
            return functional.normalize(self.classes, dim=1)
        words = self.get_buffer("words")
        image = functional.normalize(places.detach().mean(dim=(1, 2)), dim=0)
        vectors = []
        for group in torch.split(words, self._counts):
            weights = torch.softmax(group @ image / TEMPERATURE, dim=0)
            vectors.append(functional.normalize(weights @ group, dim=0))
        return torch.stack(vectors)

    def class_vectors_alone(self) -> Tensor:
        """(C, d) unit vectors of the classes without any context: the directions of their words' means."""
        if self.classes is not None:
            return functional.normalize(self.classes, dim=1)
        groups = torch.split(self.get_buffer("words"), self._counts)
        return functional.normalize(torch.stack([group.mean(dim=0) for group in groups]), dim=1)

    def logits(self, places: Tensor, vectors: Tensor) -> Tensor:
        """(C, h, w): cosines of (d, h, w) places with (C, d) classes over the temperature."""
        return torch.einsum("cd,dhw->chw", vectors, places) / self.log_temperature.exp()


def generative_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_gen: mean over cells of -log P(class | image, words); (C, h, w) logits, (h, w) labels; 0 without a label."""
    known = labels != NOBODY
    if not bool(known.any()):
        return logits[:, known].sum()
    return functional.cross_entropy(logits[:, known].T, labels[known])


def triplet_loss(regions: Tensor, classes: Tensor, vectors: Tensor, margin: float) -> Tensor:
    """L_triplet: mean over regions of max(0, margin + <v, t_neg> - <v, t_pos>); 0 where only one class is present.

    Args:
        regions: (R, d) vectors v of regions.
        classes: (R,) class of each.
        vectors: (C, d) vectors of classes; t_neg is the nearest to v of the other classes that are present.
        margin: By how much nearer the own class should be.
    """
    present = torch.unique(classes)
    if len(present) < 2:
        return regions.sum() * 0
    similar = regions @ vectors[present].T
    own = classes[:, None] == present
    right = similar.masked_fill(~own, 0).sum(dim=1)
    hardest = similar.masked_fill(own, -math.inf).amax(dim=1)
    return functional.relu(margin + hardest - right).mean()


def multi_scale_loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """L_ms: sum over scales, finest first, of 2^-s times the cross entropy of (C, h, w) logits on the finest grid."""
    return torch.stack([0.5**scale * generative_loss(each, labels) for scale, each in enumerate(logits)]).sum()


def language_loss(
    head: LanguageHead, features: Sequence[Tensor], target: Target, weights: LanguageLoss, shown: Tensor | None = None
) -> Tensor:
    """The weighed sum of the three terms for one image, a scalar.

    Without language (learnt classes) there are no words to be near to, so that the triplet term is left out.

    Args:
        head: What is learnt.
        features: (1, c, h, w) at each scale, finest first.
        target: What is true.
        weights: Of the terms.
        shown: (C,) bool, the classes that some image shows, or None for all. Places are not pushed away from the
            others, or nothing would ever be taken for what only words tell of.
    """
    places, each = head(features)
    vectors = head.class_vectors(places)

    def logits_of(some: Tensor) -> Tensor:
        logits = head.logits(some, vectors)
        return logits if shown is None else logits.masked_fill(~shown[:, None, None], -math.inf)

    loss = weights.generative * generative_loss(logits_of(places), target.labels)
    if weights.triplet and head.classes is None:
        areas = target.shares.sum(dim=(1, 2))
        seen = areas > 0
        sums = torch.einsum("rhw,dhw->rd", target.shares[seen], places)
        means = sums / areas[seen, None]
        loss = loss + weights.triplet * triplet_loss(means, target.classes[seen], vectors, weights.margin)
    if weights.multi_scale and len(each) > 1:
        loss = loss + weights.multi_scale * multi_scale_loss([logits_of(one) for one in each], target.labels)
    return loss
