"""Where an image shows classes, by their names and descriptors (LangSeg): one look for all who ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.seen import SeenPictures
from maskwright.assist.suggestion.names import ClassNames
from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import ModelUnavailable
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.dense.langseg import LangSeg, LangSegOptions
from maskwright.models.dense.pooling import pool
from maskwright.models.dense.region_classes import NOTHING, knows_words
from maskwright.models.protocols import RGB, DenseFeatures

ONE_SCALE, SCALES = (1,), (1, 2)
"""Tiles along each side of an image, without and with ``StageOptions.multi_scale``."""
NEGATIVES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "medical": ("image artefact", "noise", "empty background"),
        "driving": ("shadow", "reflection", "glare"),
        "remote sensing": ("shadow", "cloud", "blur"),
        "microscopy": ("debris", "air bubble", "out-of-focus blur"),
        "retail": ("shelf edge", "price tag", "poster"),
    }
)
"""Words for what is easily taken for an object in each domain, beside "background"; those that a project has among its
classes are left out."""


def nothing_words(names: ClassNames, domain: str) -> tuple[str, ...]:
    """Words that compete with the classes for what is none of them."""
    return (*NOTHING, *(word for word in NEGATIVES.get(domain, ()) if names.find(word) is None))


def finite(probabilities: NDArray[np.float32], by: str) -> NDArray[np.float32]:
    """The same probabilities of a model, if they are numbers.

    Raises:
        ModelUnavailable: If some are not.
    """
    if not np.isfinite(probabilities).all():
        raise ModelUnavailable(f"{by} answers with what is no number; its weights or its precision do not fit")
    return probabilities


class ClassPlaces:
    """Implements ``RegionClassifier`` by dense features, each picture and question looked at once. As thread-safe.

    A class is the best of its names, each in the mean with all descriptors. The names are words for the same or for
    kinds of it, and one that fits is enough; descriptors say each a part of how it looks, and together what sets it
    apart. Were the best of those to count too, a class would be the likelier the more is said of it. A class that
    nobody describes is as likely as the best of its names, whatever is said of others.

    Args:
        dense: Features. Those of a family that knows no language raise ``InvalidInput`` when they are asked.
        labels: The project's classes with those descriptors that count in this image.
        options: Of the domain, and the scales.
    """

    def __init__(self, dense: DenseFeatures, labels: LabelSet, options: StageOptions) -> None:
        nothing = nothing_words(ClassNames(labels), options.domain)
        levels = SCALES if options.multi_scale else ONE_SCALE
        method = LangSegOptions(levels=levels, ensemble="names", nothing=nothing)
        self._method, self._dense = LangSeg(dense, labels, method), dense
        self._seen = SeenPictures()
        self.name, self.version = dense.name, self._method.version

    @property
    def knows_words(self) -> bool:
        """Whether it can be asked at all."""
        return knows_words(self._dense)

    def maps(self, image: RGB, phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """(h, w, C) float32: how probable each class is at each place. See ``LangSeg.maps``.

        Raises:
            InvalidInput: As ``LangSeg.maps``.
            ModelUnavailable: If what the family answers is no number.
        """
        asked = tuple(map(tuple, phrases))
        return self._seen.once(image, asked, lambda: finite(self._method.maps(image, asked), self.name))

    def classify(self, image: RGB, masks: Sequence[Mask], phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """See ``protocols.RegionClassifier``."""
        if not masks or not phrases:
            return np.zeros((len(masks), len(phrases)), dtype=np.float32)
        return pool(self.maps(image, phrases), masks)
