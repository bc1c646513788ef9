"""More like this: objects that look like one that a person has outlined, in the same picture and in others.

With dense features, places are matched both ways (``assist.feature_matching``), matches become points and boxes, the
segmenter draws, and of its answers that one stays which shows most of the example and least else. Without them, the
regions that the segmenter proposes are compared with the example as wholes: the default on a fresh machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.assist import fewshot_candidates as candidates
from maskwright.assist.duplicates import shared_areas
from maskwright.assist.feature_matching import Example, Likeness, learn, owned, surroundings_alike, touched
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.masks import Mask
from maskwright.models.protocols import DenseFeatures, ImageEmbedding, Proposals, Segmenter
from maskwright.regions import Provenance, Region

MOST_SUPPORTS = 20
FEWEST_CELLS = 4
LARGEST = 0.9
AROUND = 0.5
"""Part of what lies around an example that may look like it before the person is warned."""
OVERLAP = 0.5
"""Of two answers that share more than this part of the smaller one, the better stays."""


@dataclass(frozen=True, eq=False)
class Support:
    """What a person has outlined in a picture.

    Attributes:
        image: The picture.
        masks: One for each object of the wanted kind.
        negatives: Objects that look alike and are not wanted.
    """

    image: Image
    masks: tuple[Mask, ...]
    negatives: tuple[Mask, ...] = ()


@dataclass(frozen=True, eq=False)
class Learnt:
    """What supports teach, to be used for any number of pictures.

    Attributes:
        likeness: Places, where there are dense features; else None.
        wanted: (n, 1392) float32 regions, else (0, 1392).
        unwanted: (m, 1392) float32.
        part: Median part of its picture that a supported object takes.
        own: By key of the picture the masks of the supported objects in it; the pictures themselves are not kept.
        not_wanted: The same of what is not wanted.
        warnings: What may be wrong with the supports, for the person.
    """

    likeness: Likeness | None
    wanted: NDArray[np.float32]
    unwanted: NDArray[np.float32]
    part: float
    own: Mapping[str, tuple[Mask, ...]]
    not_wanted: Mapping[str, tuple[Mask, ...]]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FewShotOptions:
    """What counts as alike.

    Attributes:
        least: Least score of an answer with dense features.
        least_region: The same without them.
        most: Most answers per picture; the best stay.
        points: Most points of a prompt.

    Raises:
        InvalidInput: If a number is out of bounds.
    """

    least: float = 0.4
    least_region: float = 0.3
    most: int = 50
    points: int = 3

    def __post_init__(self) -> None:
        if not (0 <= self.least <= 1 and 0 <= self.least_region <= 1 and self.most >= 1 and self.points >= 1):
            raise InvalidInput("least scores lie between 0 and 1; most answers and points are at least 1")


@dataclass(frozen=True, eq=False)
class Similar:
    """Regions that look like the supports, best first, without the supports' own; and what may be wrong, in words."""

    regions: tuple[Region, ...]
    warnings: tuple[str, ...]


def learn_supports(
    supports: Sequence[Support],
    *,
    dense: DenseFeatures | None = None,
    regions: candidates.DescribesRegions | None = None,
) -> Learnt:
    """Learn how the wanted objects look. The order of supports changes nothing.

    Args:
        supports: With at least one mask, none of them empty.
        dense: Features of places; they are better by far where there are any.
        regions: Features of regions, where there are no dense ones.

    Raises:
        InvalidInput: If a mask is empty or does not fit its picture, there is no mask or too much of them, or there is
            nothing to compare with.
    """
    if (dense is None) == (regions is None):
        raise InvalidInput("likes are found by dense features or by features of regions: give one of the two")
    warnings = [warning for support in supports for warning in _checked(support)]
    if not any(support.masks for support in supports) or len(supports) > MOST_SUPPORTS:
        raise InvalidInput(f"likes are found from 1 to {MOST_SUPPORTS} pictures with an outlined object")
    none = np.zeros((0, 0), dtype=np.float32)
    parts = [mask.area / (mask.height * mask.width) for support in supports for mask in support.masks]
    part = float(np.median(parts))
    own: dict[str, tuple[Mask, ...]] = {}
    not_wanted: dict[str, tuple[Mask, ...]] = {}
    for support in supports:
        key = support.image.key
        own[key] = (*own.get(key, ()), *support.masks)
        not_wanted[key] = (*not_wanted.get(key, ()), *support.negatives)
    if dense is not None:
        examples = [_example(support, dense) for support in supports]
        warnings += [warning for example in examples for warning in _doubts(example)]
        return Learnt(learn(examples), none, none, part, own, not_wanted, tuple(dict.fromkeys(warnings)))
    assert regions is not None
    wanted = [regions.describe(support.image.pixels, support.masks) for support in supports]
    unwanted = [regions.describe(support.image.pixels, support.negatives) for support in supports]
    told = tuple(dict.fromkeys(warnings))
    return Learnt(None, np.concatenate(wanted), np.concatenate(unwanted), part, own, not_wanted, told)


def find_similar(
    image: Image,
    learnt: Learnt,
    *,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    dense: DenseFeatures | None = None,
    regions: candidates.DescribesRegions | None = None,
    options: FewShotOptions = FewShotOptions(),
    label: str | None = None,
    model_version: str | None = None,
    tile_size: int = 2048,
    proposals: Callable[[Callable[[], Proposals]], Proposals] = lambda propose: propose(),
) -> Similar:
    """Find more of what was learnt in a picture, be it one of the supports' or another.

    Args:
        image: The picture; its longer side at most ``tile_size``.
        learnt: By ``learn_supports``.
        segmenter: Draws the masks.
        encode: Gives its embedding of a window (xyxy, whole pixels) of this picture.
        dense: The features that it was learnt with, or None.
        regions: The features that it was learnt with, or None.
        options: What counts as alike.
        label: The class of the regions.
        model_version: Written into their provenance.
        tile_size: In pixels.
        proposals: Gives the picture's proposals, where it has them, in place of having them made.

    Raises:
        InvalidInput: If the picture is too large, or other features are given than it was learnt with.
    """
    if max(image.size) > tile_size:
        raise InvalidInput(f"likes are found on images of at most {tile_size} pixels a side")
    own, not_wanted = learnt.own.get(image.key, ()), learnt.not_wanted.get(image.key, ())
    embedding = encode((0, 0, image.size[1], image.size[0]))
    warnings = list(learnt.warnings)
    if learnt.likeness is not None and dense is not None:
        features = dense.features(image.pixels)
        cells = learnt.likeness.cells(features) & ~touched([*own, *not_wanted], (features.shape[0], features.shape[1]))
        scored = candidates.drawn(learnt.likeness, features, cells, segmenter, embedding, learnt.part, options.points)
        least = options.least
    elif learnt.likeness is None and regions is not None:
        found = proposals(lambda: candidates.proposed(segmenter, embedding, image.size, tile_size))
        if own and found.masks and min(max(mask.iou(other) for other in found.masks) for mask in own) < AROUND:
            warnings.append(
                "no region that stands out by itself fits an outlined object: check that its outline follows the object"
            )
        scored = candidates.compared(image.pixels, found, regions, learnt.wanted, learnt.unwanted, learnt.part)
        least = options.least_region
    else:
        raise InvalidInput("likes are found with the kind of features that they were learnt with")
    kept: list[tuple[Mask, float]] = []
    for mask, score in sorted(scored, key=lambda item: -item[1]):
        taken = [*own, *not_wanted, *(other for other, _ in kept)]
        smaller = np.array([min(mask.area, other.area) for other in taken])
        if score >= least and len(kept) < options.most and not (shared_areas(mask, taken) > OVERLAP * smaller).any():
            kept.append((mask, score))
    made_by = Provenance("preannotation", model_version)
    return Similar(tuple(Region(mask, label, score, made_by) for mask, score in kept), tuple(warnings))


def _checked(support: Support) -> list[str]:
    """Warnings about the shapes of a support's masks."""
    warnings = []
    for mask in (*support.masks, *support.negatives):
        if tuple(mask.size) != support.image.size:
            raise InvalidInput(f"a mask of {mask.size} (height, width) does not fit an image of {support.image.size}")
        if mask.is_empty:
            raise InvalidInput("an outlined object is empty; draw what you look for")
    for mask in support.masks:
        if mask.area > LARGEST * mask.height * mask.width:
            warnings.append("an outlined object fills nearly all of its picture, so that nothing tells it apart")
        if len(mask.components()) > 1:
            warnings.append("an outlined object is in several pieces; give every object a region of its own")
    return warnings


def _example(support: Support, dense: DenseFeatures) -> Example:
    features = dense.features(support.image.pixels)
    grid = (features.shape[0], features.shape[1])
    wanted, unwanted = owned(support.masks, grid), owned(support.negatives, grid)
    return Example(features, wanted, touched(support.masks, grid) & ~wanted, unwanted & ~wanted)


def _doubts(example: Example) -> list[str]:
    """Warnings about what the features see of a support."""
    count = int(example.wanted.sum())
    if count < FEWEST_CELLS:
        return [f"an outlined object is small: the features see {count} places of it; choose a larger one"] * (
            count > 0
        )
    if surroundings_alike(example) > AROUND:
        return ["what lies around an outlined object looks like it: check that its outline is not shifted, nor a part"]
    return []
