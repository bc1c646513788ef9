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
from maskwright.models.peaks import FOOT, Map, coverage, fit, peaks
from maskwright.models.protocols import RGB, Evidence, ImageEmbedding, Proposals, RegionClassifier, Segmenter
from maskwright.prompts import Box, Prompt

LEVELS = (FOOT, 0.5, 0.65)
"""Levels of the map at which a peak is boxed, as parts of its height."""
SHAPES = ((1.0, 1.0), (0.4, 1.2), (1.2, 0.4))
"""Boxes tried at each level, as factors of width and height: the map of a thin object is as wide as its coarse grid."""
PROPOSALS_PER_PEAK = 3
CANDIDATES = 7
"""Masks per peak shown to the classifier."""
CONTRAST_SIDE = 256
"""Longer side in pixels at which the two sides of a border are compared."""
CONTRAST_WINDOW = (7, 7)
HALF_CONTRAST = 32.0
"""Distance of the two sides' colours, of 255 a channel, at which a border is half a border."""
RING = 9
"""Width in pixels, at that side, of what surrounds a peak."""
PALETTE = 6
MARGINS = (0.1, 0.3)
"""Room around a figure's box, as parts of its sides."""
BODIES = ((1.6, 0.5, 6.5), (1.2, 0.5, 6.5), (0.8, 0.5, 3.0))
"""Of a person, in sides of the face: beyond the face on the left and right, above it, and from its top down."""
WHOLE = 0.2
"""Power of the area in the choice of a person's mask: a person is more than a head."""
CHEST = 2.2
"""From the top of the face to a point that is on the body, in sides of the face."""
FULL_SUPPORT = 0.75
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
        if (person := _person(image, head, classes, segmenter, embedding)) is not None
    ]
    covered = coverage(found.masks, evidence.maps.shape[:2])
    for index in range(evidence.maps.shape[2]):
        for peak in peaks(evidence.maps[..., index]):
            boxes = _boxes(peak, embedding.original_size) + _figure_boxes(image, peak)
            candidates = _answers(segmenter, embedding, boxes)
            fits = [fit(plane, peak) for plane in covered]
            near = np.argsort(-np.array(fits), kind="stable")[:PROPOSALS_PER_PEAK]
            candidates += [(found.masks[i], float(found.predicted_iou[i])) for i in near]
            best = _best(image, peak, candidates, phrases, index, classifier)
            if best is not None:
                objects.append(best)
    return objects


def support(evidence: Evidence, masks: Sequence[Mask]) -> NDArray[np.float32]:
    """(M, C) in [0, 1]: how far evidence within each of M masks lets it be each class; 1 if too small, or learnt."""
    maps = evidence.maps
    result = np.ones((len(masks), maps.shape[2]), dtype=np.float32)
    smallest = (max(maps.shape[:2]) / 7) ** 2
    for index, plane in enumerate(coverage(masks, maps.shape[:2])):
        total = plane.sum()
        if total >= smallest:
            mean = np.tensordot(plane, maps, axes=((0, 1), (0, 1))) / total
            result[index] = np.clip(mean / FULL_SUPPORT, 0, 1)
    if evidence.learnt is not None:
        result[:, evidence.learnt] = 1
    return result


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


def _figure_boxes(image: RGB, peak: Map) -> list[Box]:
    """Boxes around what has other colours, at a peak, than what surrounds the peak: thin things, whose map is wide."""
    scale = CONTRAST_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    rgb = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    near = cv2.resize(peak / peak.max(), size, interpolation=cv2.INTER_LINEAR)
    blob = (near >= LEVELS[0]).astype(np.uint8)
    ring = cv2.dilate(blob, np.ones((RING, RING), np.uint8)) > blob
    colours = rgb[ring][:: max(1, int(ring.sum()) // 500)]
    if len(colours) < RING:
        return []
    # Distance to the nearest colours of the surroundings, of which a few may be of the object itself.
    distances = np.stack([np.linalg.norm(rgb - colour, axis=2) for colour in _palette(colours)]).min(axis=0)
    figure = near * distances
    grey = np.clip(figure / max(float(figure.max()), 1e-6) * 255, 0, 255).astype(np.uint8)
    _, shape = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(shape, connectivity=8)
    if count < 2:
        return []
    weights = np.bincount(parts.ravel(), figure.ravel(), minlength=count)[1:]
    x, y, w, h = (float(value) / scale for value in boxes[1 + int(weights.argmax())][:4])
    height, width = image.shape[:2]
    wider: list[Box] = []
    for margin in MARGINS:
        dx, dy = max(margin * w, margin * h / 4), max(margin * h, margin * w / 4)
        wider.append(
            (max(x - dx, 0.0), max(y - dy, 0.0), min(x + w + dx, float(width)), min(y + h + dy, float(height)))
        )
    return wider


def _palette(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """(PALETTE, 3) colours that stand for (n, 3)."""
    order = np.argsort(colours.sum(axis=1), kind="stable")
    return np.stack([part.mean(axis=0) for part in np.array_split(colours[order], PALETTE)])


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
    image: RGB, head: NDArray[np.float32], classes: NDArray[np.float32], segmenter: Segmenter, embedding: ImageEmbedding
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
    contrasts = _border_contrasts(image, [mask for mask, _ in answers])
    worth = [q * contrast * mask.area**WHOLE for (mask, q), contrast in zip(answers, contrasts, strict=True)]
    if not max(worth) > 0:  # masks without a border, such as the whole picture, outline nobody
        return None
    mask, quality = answers[int(np.argmax(worth))]
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
    planes = coverage([mask for mask, _ in distinct], peak.shape)
    fits = [fit(plane, peak) for plane in planes]
    contrasts = _border_contrasts(image, [mask for mask, _ in distinct])
    seen = [float((plane * peak).sum() / max(float(plane.sum()), 1e-6)) for plane in planes]
    # Pieces of background fill their boxes and carry the object inside: their borders and their size give them away.
    worth = [
        agreed**2 * contrast * quality * np.sqrt(inside)
        for agreed, inside, contrast, (_, quality) in zip(fits, seen, contrasts, distinct, strict=True)
    ]
    order = sorted((i for i in range(len(distinct)) if worth[i] > 0), key=lambda i: -worth[i])[:CANDIDATES]
    if not order:
        return None
    rows = classifier.classify(image, [distinct[i][0] for i in order], phrases)
    worth = [worth[i] * row[index] for i, row in zip(order, rows, strict=True)]
    chosen = int(np.argmax(worth))
    mask, quality = distinct[order[chosen]]
    # The map is a look of its own: what it says within the mask counts as much as the looks at the mask.
    probabilities = rows[chosen].copy()
    others = float(probabilities.sum() - probabilities[index])
    probabilities[index] = min(np.sqrt(probabilities[index] * seen[order[chosen]]), 1 - others)
    return Located(mask, quality, probabilities)


def _border_contrasts(image: RGB, masks: Sequence[Mask]) -> list[float]:
    """How much the two sides of each mask's border differ in colour, in [0, 1); the image's own border is no border."""
    scale = CONTRAST_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    rgb = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    contrasts: list[float] = []
    for plane in coverage(masks, size[::-1]):
        inside = (plane >= 0.5).astype(np.float32)
        near = cv2.boxFilter(inside, -1, CONTRAST_WINDOW)
        border = (near > 0.3) & (near < 0.7)
        if not border.any():
            contrasts.append(0.0)
            continue
        of_inside = cv2.boxFilter(rgb * inside[..., None], -1, CONTRAST_WINDOW)[border] / near[border][:, None]
        every = cv2.boxFilter(rgb, -1, CONTRAST_WINDOW)[border]
        of_outside = (every - of_inside * near[border][:, None]) / (1 - near[border][:, None])
        mean = float(np.sqrt(((of_inside - of_outside) ** 2).sum(axis=1)).mean())
        contrasts.append(mean / (mean + HALF_CONTRAST))
    return contrasts
