"""What each part of LangSeg adds: the method with and without descriptors, scales and language, on true classes.

Without training, where features can be compared with words as they are; and learnt on some of the images, where the
projection between the two is learnt, so that any features and any encoder of texts will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskwright.labels import LabelSet
from maskwright.learn.semantic.label_maps import LabelMap
from maskwright.learn.semantic.report import SemanticReport, SemanticTally
from maskwright.models.dense.langseg import LangSeg, LangSegOptions, pyramid
from maskwright.models.dense.pooling import class_map
from maskwright.models.protocols import RGB, DenseFeatures

LEVELS = (2, 1)
"""Tiles along each side, finest first."""

Known = Callable[[], Iterable[tuple[RGB, LabelMap]]]
"""Images with their true classes, one by one, anew with every call."""
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Phrases to (n, d) unit vectors."""


@dataclass(frozen=True)
class Row:
    """One variant of the method.

    Attributes:
        title: As reports call it.
        descriptors: Whether classes are described, or only named.
        multi_scale: Whether the image is seen in tiles too.
        triplet: Whether regions are held apart by a margin.
        language: Whether classes are what words say, or learnt vectors.
    """

    title: str
    descriptors: bool = True
    multi_scale: bool = True
    triplet: bool = True
    language: bool = True

    @property
    def levels(self) -> tuple[int, ...]:
        """Tiles along each side, finest first."""
        return LEVELS if self.multi_scale else LEVELS[-1:]


ROWS = (
    Row("all of it"),
    Row("names only", descriptors=False),
    Row("one scale", multi_scale=False),
    Row("no triplet", triplet=False),
    Row("no language", language=False),
)
UNTRAINED = ROWS[:3]


def compare_untrained(
    known: Known, dense: DenseFeatures, labels: LabelSet, *, seed: int = 0
) -> dict[str, SemanticReport]:
    """Every variant that needs no training, on the same images.

    Args:
        known: Images and their true classes.
        dense: Features, from a family that reads.
        labels: The classes; their descriptors are what the variants without them lack.
        seed: Of the intervals.

    Raises:
        InvalidInput: If the family knows no language.
    """
    remembered = _Remembered(dense)
    phrases = [item.phrases for item in labels]
    methods = {
        row.title: LangSeg(remembered, labels, LangSegOptions(row.descriptors, row.levels, nothing=()))
        for row in UNTRAINED
    }
    tallies = {row.title: SemanticTally(labels.names) for row in UNTRAINED}
    for pixels, truth in known():
        remembered.forget()
        for title, method in methods.items():
            tallies[title].add(truth, class_map(method.maps(pixels, phrases), (truth.shape[0], truth.shape[1])))
    return {title: tally.report(seed) for title, tally in tallies.items()}


def compare_trained(
    learning: Known, testing: Known, dense: DenseFeatures, embed: Embed, labels: LabelSet, *, seed: int = 0
) -> dict[str, SemanticReport]:
    """Every variant, learnt on some images and measured on others.

    Args:
        learning: Images to learn from, with their true classes.
        testing: Images to measure on; none of them should be among the others.
        dense: Features, which are not trained.
        embed: Gives the words' vectors; need not know the features.
        labels: The classes with their descriptors.
        seed: Of the training and of the intervals.

    Raises:
        InvalidInput: If there is no image to learn from or to measure on.
    """
    from maskwright.learn.training.langseg import LearningImage, class_logits, fit_head
    from maskwright.learn.training.language import LanguageLoss

    images = [LearningImage(_levels(dense, pixels), truth) for pixels, truth in learning()]
    heads = {}
    for row in ROWS:
        words = [embed([*item.phrases, *(item.descriptors if row.descriptors else ())]) for item in labels]
        loss = LanguageLoss() if row.triplet else LanguageLoss(triplet=0)
        shown = [replace(image, features=image.features[-len(row.levels) :]) for image in images]
        heads[row.title] = fit_head(shown, words, loss, learnt_classes=not row.language, seed=seed)
    tallies = {row.title: SemanticTally(labels.names) for row in ROWS}
    for pixels, truth in testing():
        features = _levels(dense, pixels)
        for row in ROWS:
            logits = class_logits(heads[row.title], features[-len(row.levels) :])
            tallies[row.title].add(truth, class_map(logits, (truth.shape[0], truth.shape[1])))
    return {title: tally.report(seed) for title, tally in tallies.items()}


def _levels(dense: DenseFeatures, pixels: RGB) -> tuple[NDArray[np.float32], ...]:
    """(h, w, d) features of an image at every level, finest first."""
    return tuple(pyramid(pixels, (level,), dense.features) for level in LEVELS)


class _Remembered:
    """Dense features that look at each part of an image once, however many variants ask."""

    def __init__(self, dense: DenseFeatures) -> None:
        self.name, self.version = dense.name, dense.version
        self.text = dense.text
        self._dense = dense
        self._seen: dict[tuple[bytes, tuple[int, ...]], NDArray[np.float32]] = {}

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``."""
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest(), image.shape
        if key not in self._seen:
            self._seen[key] = self._dense.features(image)
        return self._seen[key]

    def forget(self) -> None:
        """Of the image before."""
        self._seen.clear()
