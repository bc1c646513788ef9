"""A region classifier that starts without training and gets better with a head learnt from corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ModelUnavailable
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.protocols import RGB, Evidence, Locator, RegionClassifier
from maskwright.models.region_classifier import TagRegionClassifier
from maskwright.models.region_features import RegionFeatures
from maskwright.models.region_head import RegionHead
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.tagger import ImageNetTagger


@runtime_checkable
class LocatingClassifier(RegionClassifier, Locator, Protocol):
    """A classifier of regions that can also say where an image shows its classes."""


def made_for(base: RegionClassifier, features: RegionFeatures) -> str:
    """What a head has to be fitted for (``RegionHead.made_for``) to serve beside these."""
    return f"{features.version} {base.version}"


def tag_classifier() -> tuple[TagRegionClassifier, RegionFeatures]:
    """The classifier that needs no training, and what describes regions to heads beside it, on one tagger."""
    tagger = ImageNetTagger()
    return TagRegionClassifier(tagger, SentenceEncoder()), RegionFeatures(tagger)


class LearningRegionClassifier:
    """Implements ``RegionClassifier`` and ``Locator``. Thread-safe. Without a head it answers as ``base`` does.

    Args:
        base: Answers without training.
        features: Describes regions to the head.
        labels: The project's label set: tells which class a question's phrases mean. Without it nothing learnt applies.
        head: What was learnt, if anything.

    Raises:
        ModelUnavailable: If the head was learnt beside other versions of ``base`` or ``features``.
    """

    def __init__(
        self,
        base: LocatingClassifier,
        features: RegionFeatures,
        labels: LabelSet | None = None,
        head: RegionHead | None = None,
    ) -> None:
        if head is not None and head.made_for != made_for(base, features):
            raise ModelUnavailable(
                "the learnt region classes belong to another version of the image tagger; learn them again"
            )
        self.name = base.name
        self.version = base.version
        if head is not None:
            parts = (base.version, features.version, head.version, labels.content_hash() if labels else None)
            self.version = f"learning-1({', '.join(map(str, parts))})"
        self._base, self._features, self._head = base, features, head
        self._labels = () if labels is None else labels.classes

    def classify(self, image: RGB, masks: Sequence[Mask], phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Probabilities, (M, C) float32; a row's sum falls short of 1 by the probability of none of the classes.

        Phrases that are not those of a class of the label set are answered without what was learnt. An empty mask gets
        zeros, where the classifier inside does not know better. Arguments and errors as of the classifier inside.
        """
        prior = self._base.classify(image, masks, phrases)
        if self._head is None or not phrases:
            return prior
        head = self._head.for_classes(self._names(phrases))
        # A single class is certain without a look, unless people have shown what is not one.
        if not head.counts[:-1].any() and not head.counts[-1]:
            return prior
        if len(phrases) == 1 and not head.counts[-1]:
            return prior
        shown = [index for index, mask in enumerate(masks) if not mask.is_empty]
        result = np.zeros_like(prior)
        if shown:
            vectors = self._features.describe(image, [masks[index] for index in shown])
            result[shown] = head.probabilities(vectors, prior[shown])
        return result

    def locate(self, image: RGB, phrases: Sequence[Sequence[str]]) -> Evidence:
        """Where an (H, W, 3) uint8 RGB image shows each of C classes, as the classifier inside says.

        It looks for their words, which need not mean what people have shown.
        """
        evidence = self._base.locate(image, phrases)
        if self._head is None:
            return evidence
        counts = self._head.for_classes(self._names(phrases)).counts
        return replace(evidence, learnt=counts[:-1] > 0)

    def _names(self, phrases: Sequence[Sequence[str]]) -> list[str]:
        """The class that each group of phrases means; one that means none gets a name that no class has (blank)."""
        left = list(self._labels)
        names: list[str] = []
        for position, group in enumerate(phrases):
            item = next((item for item in left if tuple(group) == item.phrases), None)
            if item is not None:
                left.remove(item)
            names.append(" " * (position + 1) if item is None else item.name)
        return names
