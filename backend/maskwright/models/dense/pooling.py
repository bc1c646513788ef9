"""Classes of places and masks without classes, put together: semantic, instance and panoptic results in one pass.

A mask gets the class that the places which it covers speak for. Between the three kinds of result these laws hold:
a panoptic result gives each pixel one segment at most; the semantic one follows from it exactly; its instances are its
segments of countable classes before they competed for pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
        source: Index of the mask that it comes from; -1 where it comes from several, or from places alone.
    """

    mask: Mask
    label: int
    score: float
    source: int = NOTHING


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
    def semantic(self) -> tuple[Segment, ...]:
        """One segment for each class, in the order of the classes, as sure as its pixels are on average."""
        by_class: dict[int, list[Segment]] = {}
        for part in self.panoptic:
            by_class.setdefault(part.label, []).append(part)
        return tuple(
            Segment(
                Mask.empty(self.size).union(*(part.mask for part in parts)),
                label,
                sum(part.score * part.mask.area for part in parts) / sum(part.mask.area for part in parts),
                parts[0].source if len(parts) == 1 else NOTHING,
            )
            for label, parts in sorted(by_class.items())
        )


def cosines(features: Maps, text: Maps) -> Maps:
    """(h, w, C) float32 cosines of (h, w, d) unit features with (C, d) unit vectors of classes."""
    found: Maps = features @ text.T
    return found


def probabilities(similarities: Maps, *, scale: float = SCALE) -> Maps:
    """Softmax over the classes of cosines.

    Args:
        similarities: (..., C) float32 cosines.
        scale: What they are multiplied by.

    Returns:
        (..., C) float32, each place summing to 1.
    """
    scores = similarities * np.float32(scale)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Maps = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


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


def class_map(maps: Maps, size: tuple[int, int], *, least: float | Sequence[float] = -np.inf) -> NDArray[np.int32]:
    """The class with the highest map at each pixel of an image, the maps enlarged bilinearly.

    Args:
        maps: (h, w, C) float32.
        size: (H, W) of the image.
        least: Value that a class needs at a pixel to be there, all alike or for each class; pixels without any get -1.

    Returns:
        (H, W) int32.
    """
    best = np.full(size, -np.inf, dtype=np.float32)
    needed = np.broadcast_to(np.asarray(least, dtype=np.float32), maps.shape[-1:])
    labels = np.full(size, NOTHING, dtype=np.int32)
    for label in range(maps.shape[-1]):
        enlarged = cv2.resize(np.ascontiguousarray(maps[..., label]), size[::-1], interpolation=cv2.INTER_LINEAR)
        better = (enlarged > best) & (enlarged >= needed[label])
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
    least: float | Sequence[float] = 0.0,
    labels: Sequence[int | None] | None = None,
    covered: float | None = None,
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
        least: Probability that a mask or pixel needs to be given a class, for all alike or for each class.
        labels: For each mask its class, where that is known already, of which ``qualities`` are the scores then; None =
            of none.
        covered: A mask of no known class is no instance if better instances of the class it gets hold at least this
            part of it: parts, and groups of what is there already; None = whatever they hold.

    Raises:
        InvalidInput: If the lengths do not fit.
    """
    things = np.ones(maps.shape[-1], dtype=np.bool_) if countable is None else np.array(countable, dtype=np.bool_)
    weights = np.ones(len(masks)) if qualities is None else np.array(qualities, dtype=np.float64)
    given = [None] * len(masks) if labels is None else labels
    if len(things) != maps.shape[-1] or len(weights) != len(masks) or len(given) != len(masks):
        raise InvalidInput("a segmentation needs a quality for every mask, and for every class whether it is countable")
    needed = np.broadcast_to(np.asarray(least, dtype=np.float64), maps.shape[-1:])
    found: list[Segment] = []
    for index, (row, known, weight) in enumerate(zip(pool(maps, masks), given, weights, strict=True)):
        label = int(row.argmax()) if known is None else known
        if not masks[index].is_empty and (known is not None or row[label] >= needed[label]):
            score = float(weight if known is not None else row[label] * weight)
            found.append(Segment(masks[index], label, score, index))
    found.sort(key=lambda part: -part.score)
    instances: tuple[Segment, ...] = ()
    for part in found:
        if things[part.label] and (given[part.source] is not None or not _is_covered(part, instances, covered)):
            instances = (*instances, part)
    competed = compete(instances, size)
    stuff = _uncountable(maps, [part for part in found if not things[part.label]], things, size, least)
    taken = Mask.empty(size).union(*(part.mask for part in competed))
    rest = (replace(part, mask=part.mask - taken) for part in stuff)
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
        winners.append(replace(part, mask=mask))
        free = free - mask
    return tuple(winners)


def _is_covered(part: Segment, better: Sequence[Segment], share: float | None) -> bool:
    alike = [other.mask for other in better if other.label == part.label]
    if share is None or not alike:
        return False
    return part.mask.intersection_area(alike[0].union(*alike[1:])) >= share * part.mask.area


def _uncountable(
    maps: Maps,
    found: Sequence[Segment],
    things: NDArray[np.bool_],
    size: tuple[int, int],
    least: float | Sequence[float],
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
        Segment(mask, label, max(float(row[label]), *(part.score for part in found if part.label == label), 0.0))
        for (label, mask), row in zip(masks, pooled, strict=True)
        if not mask.is_empty
    ]
