"""The classes that people gave regions -> a head that knows them; see ``maskwright.models.region_head``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import Cancelled
from maskwright.labels import LabelSet
from maskwright.learn.training.records import TrainingImage
from maskwright.masks import Mask
from maskwright.models.learning_classifier import made_for
from maskwright.models.region_classifier import TagRegionClassifier
from maskwright.models.region_features import RegionFeatures
from maskwright.models.region_head import NONE, RegionHead

MOST_EXAMPLES = 300
"""Regions of one class that are learnt from; each costs 6 kB of memory and some tens of milliseconds."""
GUIDANCE = 24.0
"""Length of the weights that descriptors speak for. On street scenes, of which one class was held back, 24 raised the
class's accuracy from 0.11 to 0.19 without an example and from 0.36 to 0.57 with one, and cost the others nothing; twice
as much raised it further, and cost them a point."""


def fit_class_head(
    images: Iterable[TrainingImage],
    labels: LabelSet,
    classifier: TagRegionClassifier,
    features: RegionFeatures,
    *,
    most_per_class: int = MOST_EXAMPLES,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> RegionHead | None:
    """Learn the classes of a project from what people left and deleted; equal arguments give equal heads.

    Of each class, and of what was deleted (which shows none of them), regions beyond a bound are left out by lot.

    Args:
        images: Corrected images; their pixels are read one image at a time.
        labels: The project's classes. Where one has descriptors, they guide its weights.
        classifier: Answers without training.
        features: Describes regions.
        most_per_class: The bound.
        seed: Of the lot.
        progress: Told after each image how many are done, and how many there are to be looked at.
        cancelled: Asked between images.

    Returns:
        None where there is nothing to learn: no region of these classes, or all of the only class.

    Raises:
        Cancelled: As soon as ``cancelled`` says so.
        ModelUnavailable: If the tagger's weights are not installed.
        MaskwrightError: If an image cannot be read.
    """
    corrected = sorted(images, key=lambda image: image.key)
    chosen = _chosen(corrected, labels, most_per_class, seed)
    indices = [index for taken in chosen.values() for index, _ in taken]
    if not indices or (len(labels) == 1 and NONE not in indices):
        return None
    vectors: list[NDArray[np.float32]] = []
    priors: list[NDArray[np.float32]] = []
    for done, (position, taken) in enumerate(chosen.items(), start=1):
        if cancelled():
            raise Cancelled("learning the classes was cancelled")
        pixels, masks = corrected[position].pixels(), [mask for _, mask in taken]
        priors.append(classifier.classify(pixels, masks, [item.phrases for item in labels]))
        vectors.append(features.describe(pixels, masks))
        progress(done, len(chosen))
    return RegionHead.fit(
        np.concatenate(vectors),
        indices,
        np.concatenate(priors),
        classes=labels.names,
        made_for=made_for(classifier, features),
        described=described_weights(labels, classifier, features),
    )


def described_weights(
    labels: LabelSet, classifier: TagRegionClassifier, features: RegionFeatures
) -> NDArray[np.float32] | None:
    """What the descriptors of classes say of their weights: (d, C) float32, zeros for classes without; None for none.

    A class's words, its descriptors among them, stand against those of the others (``TagRegionClassifier.votes``).
    """
    described = np.array([bool(item.descriptors) for item in labels])
    if not described.any():
        return None
    votes = classifier.votes([(*item.phrases, *item.descriptors) for item in labels])
    return features.directions(votes) * (GUIDANCE * described).astype(np.float32)


def _chosen(images: list[TrainingImage], labels: LabelSet, most: int, seed: int) -> dict[int, list[tuple[int, Mask]]]:
    """By position of the image: class index and mask of the regions to learn from."""
    of_name = {name: index for index, name in enumerate(labels.names)}
    by_class: dict[int, list[tuple[int, Mask]]] = defaultdict(list)
    for position, image in enumerate(images):
        for item in image.objects:
            if item.label in of_name and not item.mask.is_empty:
                by_class[of_name[item.label]].append((position, item.mask))
        by_class[NONE] += [(position, mask) for mask in image.negatives if not mask.is_empty]
    lot = np.random.default_rng(seed)
    chosen: dict[int, list[tuple[int, Mask]]] = defaultdict(list)
    for index, found in sorted(by_class.items()):
        for number in sorted(lot.permutation(len(found))[:most].tolist()):
            position, mask = found[number]
            chosen[position].append((index, mask))
    return dict(sorted(chosen.items()))
