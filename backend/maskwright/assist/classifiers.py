"""The classifier that a model URI means: the one that needs no training, or that with a learnt head on top."""

from __future__ import annotations

from functools import lru_cache

from maskwright.errors import ModelUnavailable
from maskwright.labels import LabelSet
from maskwright.models.class_heads import ClassHeadShelf
from maskwright.models.learning_classifier import LearningRegionClassifier, LocatingClassifier
from maskwright.models.protocols import RegionClassifier
from maskwright.models.region_features import RegionFeatures
from maskwright.models.uri import parse_model_uri

MOST_HEADS = 32
"""Heads kept in memory, per label set; one takes 6 kB per class."""


class Classifiers:
    """Safe under threads. Reads a head's file once, and loads no network.

    Args:
        base: Answers without training.
        features: Describes regions to heads.
        shelf: Where heads lie.
    """

    def __init__(self, base: RegionClassifier, features: RegionFeatures, shelf: ClassHeadShelf) -> None:
        self._base, self._features, self._shelf = base, features, shelf
        self._learnt = lru_cache(maxsize=MOST_HEADS)(self._read)

    def choose(self, labels: LabelSet, model: str) -> RegionClassifier | None:
        """What gives regions the classes of a label set; None where there is nothing to choose between.

        A head that says nothing about these classes, because it was learnt for others, is left out.

        Args:
            labels: Classes of a project, or of one image in it.
            model: Model URI.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If its head is missing or damaged, or was learnt beside another version of the tagger.
        """
        identifier = parse_model_uri(model).classes
        learnt = self._learnt(identifier, labels) if identifier is not None and len(labels) else None
        return learnt or (self._base if len(labels) > 1 else None)

    def _read(self, identifier: str, labels: LabelSet) -> LearningRegionClassifier | None:
        if not isinstance(self._base, LocatingClassifier):
            raise ModelUnavailable(f"{self._base.name} takes no class heads; drop '+classes:{identifier}'")
        head = self._shelf.read(identifier)
        learnt = LearningRegionClassifier(self._base, self._features, labels, head)
        # Of a single class only those can tell anything who were shown what is none of it.
        speaks = set(head.classes) & set(labels.names) and (len(labels) > 1 or head.counts[-1])
        return learnt if speaks else None
