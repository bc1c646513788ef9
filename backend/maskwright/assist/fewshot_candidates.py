"""Masks that may show one more of an example's kind, each with how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.assist.everything import propose_regions
from maskwright.assist.feature_matching import Cells, Likeness, Vectors, touched
from maskwright.assist.preannotate import PreannotationOptions, proposal_options
from maskwright.masks import Mask
from maskwright.models.peaks import coverage
from maskwright.models.protocols import RGB, ImageEmbedding, Proposals, Segmenter
from maskwright.models.region_features import unit
from maskwright.prompts import Prompt

SIZE_POWER = 0.25
"""An answer of twice or half the example's size loses a sixth: pictures are taken from different distances, but of two
readings of a place, the whole object or a part, the one of the example's size is likelier."""
SMALLEST = 0.1
"""Part of the example's number of cells from which matched cells are looked at."""
COVERED = 0.5
TILES = 3
"""Along each side of a picture."""
COMMON = 0.5
MOST_ROUNDS = 100

Scored = list[tuple[Mask, float]]


class DescribesRegions(Protocol):
    """Regions to vectors that are alike for what looks alike, such as ``RegionFeatures``."""

    version: str

    def describe(self, image: RGB, masks: Sequence[Mask]) -> NDArray[np.float32]:
        """(M, d) float32 for M masks of an (H, W, 3) uint8 RGB image."""
        ...


def drawn(
    likeness: Likeness,
    features: Vectors,
    cells: Cells,
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    part: float,
    points: int,
) -> Scored:
    """What a segmenter draws where places are alike: the largest group of cells first, until all are explained.

    Args:
        likeness: What is looked for.
        features: (h, w, d) of the picture.
        cells: (h, w) bool: where it looks alike.
        segmenter: Asked for each group by its box with points, and by each point alone, so that an object is found
            whose cells hang together with those of its neighbour.
        embedding: Its own, of the whole picture.
        part: Of a picture, that an object takes.
        points: Most points of a prompt.

    Returns:
        One mask for each object, with the product of what part of it is alike, how much of the example it shows, its
        size's likelihood, and the segmenter's own estimate.
    """
    left, found = cells.copy(), Scored()
    smallest = max(1.0, SMALLEST * part * cells.size)
    for _ in range(MOST_ROUNDS):
        count, groups, statistics, _ = cv2.connectedComponentsWithStats(left.astype(np.uint8), connectivity=8)
        sizes = statistics[1:, cv2.CC_STAT_AREA]
        if count < 2 or sizes.max() < smallest:
            break
        group = groups == 1 + int(sizes.argmax())
        options = _asked(segmenter, embedding, likeness, features, group, points)
        scores = [_worth(likeness, features, cells, mask, part) * quality for mask, quality in options]
        best = int(np.argmax(scores)) if scores else -1
        explained = group
        if scores and scores[best] > 0:
            found.append((options[best][0], scores[best]))
            drawn_over = touched([options[best][0]], (cells.shape[0], cells.shape[1]))
            explained = drawn_over if (drawn_over & group).any() else group
        left &= ~explained
    return found


def proposed(segmenter: Segmenter, embedding: ImageEmbedding, size: tuple[int, int], tile_size: int) -> Proposals:
    """The regions that a segmenter finds by itself in a picture of one tile."""
    options = proposal_options(PreannotationOptions(), segmenter, 2, tile_size, 0)
    return propose_regions(segmenter, lambda window: embedding, size, options)


def compared(
    image: RGB,
    found: Proposals,
    features: DescribesRegions,
    wanted: NDArray[np.float32],
    unwanted: NDArray[np.float32],
    part: float,
) -> Scored:
    """Proposals with how alike they are to wanted regions.

    What all of a picture has in common says little, so vectors are compared beyond a part of the mean of its tiles.
    (The mean of the proposals will not do: where most of them are of the wanted kind it takes away what they share.
    Area under the curve, same against other kind, with it, the tiles' mean, and half of that: .77, .85, .85 on
    proposals of three pictures of nuclei; .80, .81, .81 on the regions of five street scenes.) A proposal that is more
    like something unwanted is worth nothing.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: Its proposals.
        features: As the vectors were made.
        wanted: (n, d) float32.
        unwanted: (m, d) float32.
        part: Of a picture, that an object takes.
    """
    if not found.masks:
        return []
    vectors = features.describe(image, found.masks)
    usual = COMMON * features.describe(image, _tiles((image.shape[0], image.shape[1]))).mean(axis=0)
    near = (unit(vectors - usual) @ unit(wanted - usual).T).max(axis=1)
    if len(unwanted):
        near = np.where((unit(vectors - usual) @ unit(unwanted - usual).T).max(axis=1) >= near, 0, near)
    qualities = np.clip(found.predicted_iou, 0, 1)
    return [
        (mask, max(float(cosine), 0.0) * float(quality) * _size_likelihood(mask, part))
        for mask, cosine, quality in zip(found.masks, near, qualities, strict=True)
    ]


def _tiles(size: tuple[int, int]) -> list[Mask]:
    ys, xs = (np.linspace(0, length, TILES + 1).round() for length in size)
    return [
        Mask.from_box((xs[column], ys[row], xs[column + 1], ys[row + 1]), size)
        for row in range(TILES)
        for column in range(TILES)
    ]


def _asked(
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    likeness: Likeness,
    features: Vectors,
    group: Cells,
    points: int,
) -> Scored:
    """A segmenter's answers about a group of cells, with its estimates of their IoU; none empty."""
    height, width = embedding.original_size
    scale = np.array([width / group.shape[1], height / group.shape[0]])
    rows, columns = np.nonzero(group)
    low = np.array([columns.min(), rows.min()]) * scale
    high = np.array([columns.max() + 1, rows.max() + 1]) * scale
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    places = [(*((np.array(place) + 0.5) * scale), 1) for place in _places(likeness, features, group, points)]
    answers = [segmenter.decode(embedding, [Prompt.from_points(places, box)])]
    if places:
        prompts = [Prompt.from_points([place]) for place in places]
        answers.append(segmenter.decode(embedding, prompts, multimask_output=True))
    made = []
    for answer in answers:
        logits = answer.low_res_logits.reshape(-1, *answer.low_res_logits.shape[2:])
        for one, quality in zip(logits, np.clip(answer.predicted_iou.reshape(-1), 0, 1), strict=True):
            made.append((segmenter.upsample(embedding, one), float(quality)))
    return [(mask, quality) for mask, quality in made if not mask.is_empty]


def _places(likeness: Likeness, features: Vectors, group: Cells, most: int) -> list[tuple[int, int]]:
    """(column, row) of matched cells of a group: the surest first, then each as far from the others as can be.

    Cells inside the group come before those on its border, where a cell may be half of something else.
    """
    inner = cv2.erode(group.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    where = np.argwhere(group)
    matched = where[likeness.matches(features[group])]
    inside = matched[inner[matched[:, 0], matched[:, 1]]]
    free = inside if len(inside) else matched
    chosen: list[NDArray[np.int64]] = []
    while len(free) and len(chosen) < most:
        distances = [np.hypot(*(free - one).T) for one in chosen]
        nearest = np.min(distances, axis=0) if chosen else np.ones(len(free))
        if nearest.max() == 0:
            break
        chosen.append(free[int(nearest.argmax())])
    return [(int(column), int(row)) for row, column in chosen]


def _worth(likeness: Likeness, features: Vectors, cells: Cells, mask: Mask, part: float) -> float:
    covered = coverage([mask], cells.shape)[0]
    inside = covered >= min(COVERED, float(covered.max()))
    purity = float((covered * cells).sum() / max(float(covered.sum()), 1e-6))
    return purity * likeness.completeness(features[inside]) * _size_likelihood(mask, part)


def _size_likelihood(mask: Mask, part: float) -> float:
    own = mask.area / (mask.height * mask.width)
    return float((min(own, part) / max(own, part)) ** SIZE_POWER)
