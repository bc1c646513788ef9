"""Objects found by where an image shows a class: evidence to boxes, boxes to masks, the mask that fits best stays.

Proposals follow the borders of an image and know nothing of objects; whole objects of many colours are rarely among
them. Here the class comes first: each peak of a class's map is boxed at several levels and shapes, the segmenter
answers every box, and its answers compete with the proposals for the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.models.protocols import RGB, Evidence, ImageEmbedding, Proposals, RegionClassifier, Segmenter
from maskwright.prompts import Box, Prompt

Map = NDArray[np.float32]

PEAK = 0.5
"""Evidence that a class needs at some place to be looked for there."""
LEVELS = (0.35, 0.5, 0.65)
"""Levels of the map at which a peak is boxed, as parts of its height: the map's slopes are wide."""
SHAPES = ((1.0, 1.0), (0.4, 1.2), (1.2, 0.4))
"""Boxes tried at each level, as factors of width and height: the map of a thin object is as wide as its coarse grid."""
PROPOSALS_PER_PEAK = 3
CANDIDATES = 7
"""Masks per peak shown to the classifier."""
BODIES = ((1.6, 0.5, 6.5), (1.2, 0.5, 6.5), (0.8, 0.5, 3.0))
"""Of a person, in sides of the face: beyond the face on the left and right, above it, and from its top down."""
CHEST = 2.2
"""From the top of the face to a point that is on the body, in sides of the face."""
FULL_SUPPORT = 0.5
"""Mean evidence within a mask from which nothing speaks against its class."""


@dataclass(frozen=True, eq=False)
class Located:
    """An object with its class.

    Attributes:
        mask: Of the image's size.
        quality: The segmenter's estimate of the mask's IoU.
        probabilities: (C,) float32.
    """

    mask: Mask
    quality: float
    probabilities: NDArray[np.float32]


def locate_objects(
    image: RGB,
    evidence: Evidence,
    phrases: Sequence[Sequence[str]],
    found: Proposals,
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    classifier: RegionClassifier,
) -> list[Located]:
    """The object at each peak of the evidence, and the person of each face.

    Args:
        image: (H, W, 3) uint8 RGB.
        evidence: Where the image shows the classes.
        phrases: For each class the words that mean it.
        found: Proposals, among which the object may be.
        segmenter: Answers boxes.
        embedding: The segmenter's, of the whole image.
        classifier: Looks at the candidates.
    """
    objects = [
        person
        for head, classes in zip(evidence.heads, evidence.head_classes, strict=True)
        if (person := _person(head, classes, segmenter, embedding)) is not None
    ]
    coverage = _coverage(found.masks, evidence.maps.shape[:2])
    for index in range(evidence.maps.shape[2]):
        for peak in _peaks(evidence.maps[..., index]):
            candidates = _answers(segmenter, embedding, _boxes(peak, embedding.original_size))
            fits = [_fit(plane, peak) for plane in coverage]
            near = np.argsort(-np.array(fits), kind="stable")[:PROPOSALS_PER_PEAK]
            candidates += [(found.masks[i], float(found.predicted_iou[i])) for i in near]
            best = _best(image, peak, candidates, phrases, index, classifier)
            if best is not None:
                objects.append(best)
    return objects


def support(maps: NDArray[np.float32], masks: Sequence[Mask]) -> NDArray[np.float32]:
    """(M, C) in [0, 1]: how far the evidence within each of M masks lets it be each class; 1 where it is too small."""
    result = np.ones((len(masks), maps.shape[2]), dtype=np.float32)
    smallest = (max(maps.shape[:2]) / 7) ** 2
    for index, plane in enumerate(_coverage(masks, maps.shape[:2])):
        total = plane.sum()
        if total >= smallest:
            mean = np.tensordot(plane, maps, axes=((0, 1), (0, 1))) / total
            result[index] = np.clip(mean / FULL_SUPPORT, 0, 1)
    return result


def _peaks(plane: Map) -> list[Map]:
    """The parts of an (h, w) map that hang together above the lowest level and reach a peak; zero elsewhere."""
    highest = float(plane.max(initial=0.0))
    if highest < PEAK:
        return []
    count, parts = cv2.connectedComponents((plane >= LEVELS[0] * highest).astype(np.uint8), connectivity=8)
    alone = [np.where(parts == part, plane, np.float32(0)) for part in range(1, count)]
    return [part for part in alone if part.max() >= PEAK]


def _boxes(peak: Map, size: tuple[int, int]) -> list[Box]:
    """Boxes (xyxy, pixels of the (H, W) image) around a peak."""
    height, width = size
    sx, sy = width / peak.shape[1], height / peak.shape[0]
    boxes: list[Box] = []
    for level in LEVELS:
        inside = peak >= level * peak.max()
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        x1, y1, x2, y2 = columns[0] * sx, rows[0] * sy, (columns[-1] + 1) * sx, (rows[-1] + 1) * sy
        weights = np.where(inside, peak, 0)
        middle_x = float((weights.sum(axis=0) @ (np.arange(peak.shape[1]) + 0.5)) / weights.sum()) * sx
        middle_y = float((weights.sum(axis=1) @ (np.arange(peak.shape[0]) + 0.5)) / weights.sum()) * sy
        for across, down in SHAPES:
            whole = across == down == 1
            cx, cy = ((x1 + x2) / 2, (y1 + y2) / 2) if whole else (middle_x, middle_y)
            w, h = (x2 - x1) * across / 2, (y2 - y1) * down / 2
            boxes.append((max(cx - w, 0.0), max(cy - h, 0.0), min(cx + w, float(width)), min(cy + h, float(height))))
    return boxes


def _answers(
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    boxes: Sequence[Box],
    points: Sequence[tuple[float, float, int]] = (),
) -> list[tuple[Mask, float]]:
    answer = segmenter.decode(embedding, [Prompt.from_points(list(points), box) for box in boxes])
    quality = np.clip(answer.predicted_iou[:, 0], 0, 1)
    return [
        (segmenter.upsample(embedding, logits), float(iou))
        for logits, iou in zip(answer.low_res_logits[:, 0], quality, strict=True)
    ]


def _person(
    head: NDArray[np.float32], classes: NDArray[np.float32], segmenter: Segmenter, embedding: ImageEmbedding
) -> Located | None:
    """The mask of whom a face belongs to."""
    height, width = embedding.original_size
    x1, y1, x2, _ = (float(value) for value in head)
    side, middle = x2 - x1, (x1 + x2) / 2
    boxes = [
        (max(x1 - aside * side, 0.0), max(y1 - above * side, 0.0),
         min(x2 + aside * side, float(width)), min(y1 + down * side, float(height)))
        for aside, above, down in BODIES
    ]  # fmt: skip
    points = [(middle, y1 + side / 2, 1)]
    if y1 + CHEST * side < height:
        points.append((middle, y1 + CHEST * side, 1))
    answers = [(mask, quality) for mask, quality in _answers(segmenter, embedding, boxes, points) if not mask.is_empty]
    if not answers:
        return None
    mask, quality = max(answers, key=lambda answer: answer[1])
    return Located(mask, quality, classes)


def _best(
    image: RGB,
    peak: Map,
    candidates: list[tuple[Mask, float]],
    phrases: Sequence[Sequence[str]],
    index: int,
    classifier: RegionClassifier,
) -> Located | None:
    """The candidate that the segmenter, the map and the classifier agree on."""
    distinct = list(
        {mask.content_hash(): (mask, quality) for mask, quality in candidates if not mask.is_empty}.values()
    )
    if not distinct:
        return None
    fits = [_fit(plane, peak) for plane in _coverage([mask for mask, _ in distinct], peak.shape)]
    # Quality counts twice: masks of background fill their boxes and fit the map, but have no borders of their own.
    order = sorted(range(len(distinct)), key=lambda i: -fits[i] * distinct[i][1] ** 2)[:CANDIDATES]
    rows = classifier.classify(image, [distinct[i][0] for i in order], phrases)
    worth = [fits[i] * distinct[i][1] ** 2 * row[index] for i, row in zip(order, rows, strict=True)]
    chosen = int(np.argmax(worth))
    mask, quality = distinct[order[chosen]]
    return Located(mask, quality, rows[chosen])


def _coverage(masks: Sequence[Mask], size: tuple[int, ...]) -> list[Map]:
    """Each mask on the grid of the maps: the covered part of every place, (h, w) float32."""
    return [
        cv2.resize(mask.to_array().astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
        for mask in masks
    ]


def _fit(coverage: Map, peak: Map) -> float:
    """Correlation in [0, 1] of a mask, blurred to the resolution of the map, with a peak."""
    blurred = cv2.GaussianBlur(coverage, (0, 0), max(coverage.shape) / 28)
    norm = float(np.sqrt((blurred**2).sum() * (peak**2).sum()))
    return float((blurred * peak).sum()) / norm if norm > 0 else 0.0
