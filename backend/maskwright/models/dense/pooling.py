"""Classes of places and masks without classes, put together: semantic, instance and panoptic results in one pass.

A mask gets the class that the places which it covers speak for. Between the three kinds of result these laws hold:
a panoptic result gives each pixel one segment at most; its semantic map follows from it exactly; its instances are its
segments of countable classes before they competed for pixels. From a semantic map to instances the way is lossy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.region_features import coverage

Maps = NDArray[np.float32]

SCALE = 40.0
"""Of cosines before the softmax, as the methods after MaskCLIP use it; CLIP itself was trained with 100."""
NOTHING = -1
KEPT = 0.5
"""Share of its pixels that an instance must keep beside those before it, to stay."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A region with a class.

    Attributes:
        mask: Of the image's size.
        label: Index of its class.
        score: In [0, 1].
    """

    mask: Mask
    label: int
    score: float


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What an image shows, in the three kinds.

    Attributes:
        size: (H, W) of the image.
        instances: Regions of countable classes, which may overlap, best first.
        panoptic: Regions that share no pixel: instances first, best first, then one for each uncountable class.
    """

    size: tuple[int, int]
    instances: tuple[Segment, ...]
    panoptic: tuple[Segment, ...]

    @property
    def semantic(self) -> NDArray[np.int32]:
        """(H, W) int32 class of each pixel, -1 where there is none."""
        return label_map(self.panoptic, self.size)


def cosines(features: Maps, text: Maps) -> Maps:
    """(h, w, C) float32 cosines of (h, w, d) unit features with (C, d) unit vectors of classes."""
    found: Maps = features @ text.T
    return found


def probabilities(similarities: Maps, *, scale: float = SCALE, least: float = 0.0) -> Maps:
    """Softmax over the classes of cosines.

    Args:
        similarities: (..., C) float32 cosines.
        scale: What they are multiplied by.
        least: Classes that nowhere reach this probability are dropped and the others take their place (MaskCLIP's
            prompt denoising); 0 drops none.

    Returns:
        (..., C) float32, each place summing to 1.
    """
    scores = similarities * np.float32(scale)
    shares = _softmax(scores)
    present = shares.reshape(-1, shares.shape[-1]).max(axis=0) >= least
    if present.all() or not present.any():
        return shares
    return _softmax(np.where(present, scores, -np.inf))


def heat_maps(maps: Maps) -> Maps:
    """(h, w, C) float32: each class's map stretched to [0, 1], as GEM shows them; a flat map becomes 0."""
    low, high = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    stretched: Maps = ((maps - low) / np.where(high > low, high - low, 1)).astype(np.float32)
    return stretched


def pool(maps: Maps, masks: Sequence[Mask]) -> Maps:
    """Mean of each class's map over each mask, every place counting by how much of it the mask covers.

    Args:
        maps: (h, w, C) on a grid laid over the image.
        masks: M masks of the image's size; an empty one gets zeros.

    Returns:
        (M, C) float32.
    """
    shares = coverage(masks, (maps.shape[0], maps.shape[1]))
    pooled: Maps = np.tensordot(shares, maps, axes=2).astype(np.float32)
    return pooled


def class_map(maps: Maps, size: tuple[int, int], *, least: float = -np.inf) -> NDArray[np.int32]:
    """The class with the highest map at each pixel of an image, the maps enlarged bilinearly.

    Args:
        maps: (h, w, C) float32.
        size: (H, W) of the image.
        least: Pixels that no class lifts to this value get -1.

    Returns:
        (H, W) int32.
    """
    best = np.full(size, np.nextafter(np.float32(least), np.float32(-np.inf)), dtype=np.float32)
    labels = np.full(size, NOTHING, dtype=np.int32)
    for label in range(maps.shape[-1]):
        enlarged = cv2.resize(np.ascontiguousarray(maps[..., label]), size[::-1], interpolation=cv2.INTER_LINEAR)
        better = enlarged > best
        labels[better] = label
        best[better] = enlarged[better]
    return labels


def segment(
    maps: Maps,
    masks: Sequence[Mask],
    size: tuple[int, int],
    *,
    qualities: Sequence[float] | None = None,
    countable: Sequence[bool] | None = None,
    least: float = 0.0,
) -> Segmentation:
    """Every kind of result from dense class probabilities and masks without classes.

    Masks take the class that is most probable over them. Those of countable classes are the instances; the better one
    of two that compete for a pixel keeps it. What is left goes to the uncountable classes: to those of the masks
    there, and where no mask is, to the most probable class if it is one of them.

    Args:
        maps: (h, w, C) probabilities on a grid laid over the image.
        masks: Class-agnostic masks of the image's size, in any order.
        size: (H, W) of the image.
        qualities: For each mask an estimate of its IoU in [0, 1], by which its probability is multiplied; None = 1.
        countable: For each of C classes whether it has instances; None = all have.
        least: Probability that a mask or pixel needs to be given a class.

    Raises:
        InvalidInput: If the lengths do not fit.
    """
    things = np.ones(maps.shape[-1], dtype=np.bool_) if countable is None else np.array(countable, dtype=np.bool_)
    weights = np.ones(len(masks)) if qualities is None else np.array(qualities, dtype=np.float64)
    if len(things) != maps.shape[-1] or len(weights) != len(masks):
        raise InvalidInput("a segmentation needs a quality for every mask, and for every class whether it is countable")
    pooled = pool(maps, masks)
    labels = pooled.argmax(axis=1)
    found = [
        Segment(mask, int(label), float(row[label] * weight))
        for mask, label, row, weight in zip(masks, labels, pooled, weights, strict=True)
        if row[label] >= least and not mask.is_empty
    ]
    found.sort(key=lambda part: -part.score)
    instances = tuple(part for part in found if things[part.label])
    competed = compete(instances, size)
    stuff = _uncountable(maps, [part for part in found if not things[part.label]], things, size, least)
    taken = Mask.empty(size).union(*(part.mask for part in competed))
    rest = (Segment(part.mask - taken, part.label, part.score) for part in stuff)
    return Segmentation(size, instances, (*competed, *(part for part in rest if not part.mask.is_empty)))


def compete(segments: Sequence[Segment], size: tuple[int, int], *, kept: float = KEPT) -> tuple[Segment, ...]:
    """Instances to panoptic segments: the best first, each takes what is free of its pixels.

    Args:
        segments: In any order; they may overlap.
        size: (H, W) of the image.
        kept: A segment that gets less than this share of its pixels is dropped, and leaves them free.

    Returns:
        Segments that share no pixel, best first.
    """
    free, winners = Mask.full(size), []
    for part in sorted(segments, key=lambda part: -part.score):
        mask = part.mask & free
        if mask.is_empty or mask.area < kept * part.mask.area:
            continue
        winners.append(Segment(mask, part.label, part.score))
        free = free - mask
    return tuple(winners)


def label_map(segments: Sequence[Segment], size: tuple[int, int]) -> NDArray[np.int32]:
    """Panoptic segments to (H, W) int32 classes, -1 where there is no segment; exact."""
    labels = np.full(size, NOTHING, dtype=np.int32)
    for part in segments:
        labels[part.mask.to_array()] = part.label
    return labels


def components(labels: NDArray[np.int32]) -> tuple[Segment, ...]:
    """A semantic map's connected regions as instances, scored 1.

    This loses what the map does not hold: objects of a class that touch become one, and one that is cut in two by
    something before it becomes two.

    Args:
        labels: (H, W) class of each pixel, -1 = none.
    """
    return tuple(
        Segment(part, int(label), 1.0)
        for label in np.unique(labels[labels != NOTHING])
        for part in Mask.from_array(labels == label).components()
    )


def _uncountable(
    maps: Maps, found: Sequence[Segment], things: NDArray[np.bool_], size: tuple[int, int], least: float
) -> list[Segment]:
    """One segment for each uncountable class, sharing no pixel: masks first, best first, then what the maps say."""
    classes = np.flatnonzero(~things)
    if not len(classes):
        return []
    labels = class_map(maps, size, least=least)
    for part in reversed(found):
        labels[part.mask.to_array()] = part.label
    masks = [(int(label), Mask.from_array(labels == label)) for label in classes]
    pooled = pool(maps, [mask for _, mask in masks])
    return [
        Segment(mask, label, float(row[label]))
        for (label, mask), row in zip(masks, pooled, strict=True)
        if not mask.is_empty
    ]


def _softmax(scores: Maps) -> Maps:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Maps = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares
