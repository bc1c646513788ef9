"""From a prompt to masks of the working grid: a mask grows and shrinks by whole regions, one mark after the other.

A mark that the mask already agrees with changes nothing, so feeding an answer back with the same prompt returns it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.models.classical_hierarchy import Floats, Hierarchy, Ints
from maskwright.models.classical_logits import upsample_logits
from maskwright.models.classical_regions import FEATURES, Family, Scene, family_from, measure, merge_distance
from maskwright.models.classical_scores import Stage, expected_iou
from maskwright.prompts import Box, Prompt

Pixels = NDArray[np.bool_]
DECODE_ALGORITHM = "2026-11-21f"
"""Bump on any change to answers; every engine that asks for them is versioned by it."""
MARKED_LEAVES = 24
"""A stroke is represented by at most this many of the leaves that it crosses."""
MOST_REMOVED = 0.95
"""A negative click takes away at most this share of a mask, if there is any choice."""
BORDER_ERROR = 0.25
"""A mark this close to a mask's border, as a share of the mask's greatest depth, corrects the border only."""
REACH = 2.0
"""People click the middle of what is wrong, so an error along the border is about twice as deep as its mark."""
BOX_SLACK = 0.1
"""People cut off up to about this share of an object's width or height when they draw a box in haste."""
NESTING = 1.5
"""Of three hypotheses each is at least this many times as large as the one inside it."""


@dataclass(frozen=True, eq=False)
class Mark:
    """Pixels (N, 2) xy of the working grid that a person said are on the object, or not."""

    pixels: Ints
    positive: bool


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mask of the working grid and the IoU that it is expected to have with what was meant."""

    mask: Pixels
    predicted_iou: float


def answer(scene: Scene, prompt: Prompt, count: int) -> list[Hypothesis]:
    """Masks for a prompt in coordinates of the working grid.

    Args:
        scene: The image.
        prompt: What was pointed at; ``mask_input`` of any size is stretched over the grid.
        count: 1 for the best mask, 3 for part, best and whole, from small to large.
    """
    marks = list(marks_of(prompt, scene.size))
    window = filled_box(prompt.box, scene.size) if prompt.box is not None else None
    if prompt.mask_input is not None:
        start = upsample_logits(prompt.mask_input, scene.size) > 0
        hypotheses = [Hypothesis(start, _judged(scene, start, prompt))]
    elif prompt.box is not None and window is not None:
        hypotheses = _from_box(scene, prompt.box, window, count)
    else:
        hypotheses = [Hypothesis(np.zeros(scene.size, dtype=bool), 0.0)]
    for index, mark in enumerate(marks):
        mask = max(hypotheses, key=lambda h: h.predicted_iou).mask
        if (mask[mark.pixels[:, 1], mark.pixels[:, 0]] == mark.positive).all():
            continue
        others = [m.pixels for k, m in enumerate(marks) if m.positive != mark.positive and k != index]
        against = np.concatenate(others) if others else np.zeros((0, 2), dtype=np.int64)
        hypotheses = _flipped(scene, mask, mark, against, window, count, prompt)
    while len(hypotheses) < count:
        hypotheses.append(hypotheses[-1])
    masks = [Hypothesis(_marked(h.mask, marks), h.predicted_iou) for h in hypotheses]
    return sorted(masks, key=lambda h: int(h.mask.sum()))


def marks_of(prompt: Prompt, size: tuple[int, int]) -> Iterator[Mark]:
    """Clicks and strokes as pixels of the grid, in order; what lies beyond it moves to its edge."""
    limit = np.array([size[1] - 1, size[0] - 1])
    for xy, label in zip(prompt.point_coords, prompt.point_labels, strict=True):
        yield Mark(np.clip(np.floor(xy), 0, limit).astype(np.int64)[None], bool(label == 1))
    for stroke in prompt.scribbles:
        path = np.clip(np.floor(stroke.points), 0, limit).astype(np.int32)
        canvas = np.zeros(size, dtype=np.uint8)
        cv2.polylines(canvas, [path.reshape(-1, 1, 2)], False, 1, thickness=max(1, round(2 * stroke.radius)))
        canvas[path[:, 1], path[:, 0]] = 1
        yield Mark(np.argwhere(canvas)[:, ::-1].astype(np.int64), stroke.positive)


def _marked(mask: Pixels, marks: list[Mark]) -> Pixels:
    result = mask.copy()
    for mark in marks:
        result[mark.pixels[:, 1], mark.pixels[:, 0]] = mark.positive
    return result


def filled_box(box: Box, size: tuple[int, int]) -> Pixels:
    """The pixels of a box, at least one."""
    mask = np.zeros(size, dtype=bool)
    x1, y1 = (min(max(round(v), 0), limit - 1) for v, limit in zip(box[:2], (size[1], size[0]), strict=True))
    mask[y1 : max(round(box[3]), y1 + 1), x1 : max(round(box[2]), x1 + 1)] = True
    return mask


def _leaves(scene: Scene, mask: Pixels) -> NDArray[np.bool_]:
    """(n,) the leaves that lie mostly in a mask."""
    inside = np.bincount(scene.tree.leaf[mask], minlength=scene.tree.count)
    leaves: NDArray[np.bool_] = inside > scene.area / 2
    return leaves


def _from_box(scene: Scene, box: Box, window: Pixels, count: int) -> list[Hypothesis]:
    """What a box holds: the regions in it that merge with its outside latest.

    A box drawn in haste cuts the object off, and what is cut merges with the outside at once: so a second family comes
    from a slightly larger box. Both are judged by the box as it was drawn.
    """
    found: list[tuple[float, list[Hypothesis]]] = []
    for reach in (window, filled_box(_grown(box, BOX_SLACK), scene.size)):
        inside = _leaves(scene, reach)
        family = family_from(np.where(inside, -separation(scene.tree, inside), np.inf), scene.area)
        if not family.count:
            continue
        scores = expected_iou("box", measure(scene, family, None, np.zeros_like(inside), box))
        picks = _nested(scene, family, scores, count)
        masks = [Hypothesis(family.member(k)[scene.tree.leaf] & reach, float(scores[k])) for k in picks]
        found.append((float(scores.max()), masks))
    return max(found, key=lambda item: item[0])[1] if found else [Hypothesis(window, 0.5)]


def _grown(box: Box, share: float) -> Box:
    """A box that is larger by a share of its sides in every direction."""
    dx, dy = (box[2] - box[0]) * share, (box[3] - box[1]) * share
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


def separation(tree: Hierarchy, inside: NDArray[np.bool_]) -> Floats:
    """(n,) cost at which each leaf first comes to lie in one region with a leaf that is not ``inside``."""
    strangers = np.concatenate([[0], np.cumsum(~inside)])
    pure = strangers[tree.end] == strangers[tree.first]
    above = np.where(tree.parent >= 0, tree.parent, len(tree.parent) - 1)
    top = np.nonzero(pure & (~pure[above] | (tree.parent < 0)))[0]
    top = top[np.argsort(tree.first[top])]
    result = np.zeros(tree.count)
    result[inside] = np.repeat(tree.height[above[top]], tree.end[top] - tree.first[top])
    return result


def _flipped(
    scene: Scene, mask: Pixels, mark: Mark, against: Ints, window: Pixels | None, count: int, prompt: Prompt
) -> list[Hypothesis]:
    """Add the likeliest region around a mark to the mask, or take it away."""
    tree = scene.tree
    current = _leaves(scene, mask)
    allowed = current != mark.positive
    if window is not None and window[mark.pixels[:, 1], mark.pixels[:, 0]].all():
        allowed &= _leaves(scene, window)
    band = _within_reach(mask, mark)
    allowed &= _leaves(scene, band)
    touched = np.unique(tree.leaf[mark.pixels[:, 1], mark.pixels[:, 0]])
    sample = touched[np.linspace(0, len(touched) - 1, min(len(touched), MARKED_LEAVES)).astype(np.int64)]
    distance = np.min([merge_distance(tree, int(leaf)) for leaf in sample], axis=0)
    distance[touched] = 0
    barred = np.unique(tree.leaf[against[:, 1], against[:, 0]])
    if len(barred):
        distance[distance >= distance[barred].min()] = np.inf
    distance[~allowed] = np.inf
    family = family_from(distance, scene.area)
    if not family.count:
        return [Hypothesis(_split_leaves(scene, mask, mark, against, touched), _judged(scene, mask, prompt))]
    first = mark.positive and not mask.any()
    stage: Stage = "first" if first else "add" if mark.positive else "remove"
    middle = mark.pixels[len(mark.pixels) // 2] + 0.5
    measured = measure(scene, family, (float(middle[0]), float(middle[1])), current, None)
    scores = expected_iou(stage, measured)
    if not mark.positive:
        # Nobody takes an object away by clicking it off: something must be left.
        everything = measured[:, FEATURES.index("relative")] > np.log(MOST_REMOVED)
        scores = np.where(everything, scores * 0.01, scores)
    hypotheses = []
    for k in _nested(scene, family, scores, count):
        changed = family.member(k)[tree.leaf] & (mask != mark.positive) & band
        if window is not None and allowed.any():
            changed &= window
        changed = _touching(changed, mark.pixels)
        result = mask.copy()
        result[changed] = mark.positive
        # Relative to the best, so that the likeliest change stays the likeliest mask.
        share = float(scores[k] / scores.max())
        score = float(scores[k]) if first else _judged(scene, result, prompt) * share
        hypotheses.append(Hypothesis(result, score))
    return hypotheses


def _within_reach(mask: Pixels, mark: Mark) -> Pixels:
    """Where a mark may change the mask: near its border, if it was set so near to it that only the border is wrong."""
    wrong: Pixels = mask != mark.positive
    if not mask.any() or wrong.all():
        return np.ones_like(mask)
    size = float(cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3).max())
    depth = cv2.distanceTransform(wrong.astype(np.uint8), cv2.DIST_L2, 5)
    marked = float(depth[mark.pixels[:, 1], mark.pixels[:, 0]].max())
    if marked > BORDER_ERROR * size:
        return np.ones_like(mask)
    reach: Pixels = depth <= REACH * marked + 1
    return reach


def _nested(scene: Scene, family: Family, scores: Floats, count: int) -> list[int]:
    """The best candidate, with the best clearly smaller and the best clearly larger one where three are wanted."""
    best = int(scores.argmax())
    if count == 1:
        return [best]
    area = np.cumsum(np.bincount(family.level, scene.area, minlength=family.count + 1))[: family.count]
    smaller = np.nonzero(area * NESTING <= area[best])[0]
    larger = np.nonzero(area >= area[best] * NESTING)[0]
    part = int(smaller[scores[smaller].argmax()]) if len(smaller) else best
    whole = int(larger[scores[larger].argmax()]) if len(larger) else best
    return [part, best, whole]


def _touching(region: Pixels, pixels: Ints) -> Pixels:
    """The connected parts of a region that hold one of the pixels; all of it where none does."""
    _, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    wanted = np.unique(labels[pixels[:, 1], pixels[:, 0]])
    wanted = wanted[wanted > 0]
    return np.isin(labels, wanted) if len(wanted) else region


def _split_leaves(scene: Scene, mask: Pixels, mark: Mark, against: Ints, touched: Ints) -> Pixels:
    """Where contrary marks share a leaf: give the mark those pixels of its leaves that are nearest to it."""
    ours, theirs = np.ones(scene.size, dtype=np.uint8), np.ones(scene.size, dtype=np.uint8)
    ours[mark.pixels[:, 1], mark.pixels[:, 0]] = 0
    theirs[against[:, 1], against[:, 0]] = 0
    nearer = np.ones(scene.size, dtype=bool)
    if len(against):
        nearer = cv2.distanceTransform(ours, cv2.DIST_L2, 5) < cv2.distanceTransform(theirs, cv2.DIST_L2, 5)
    result = mask.copy()
    result[np.isin(scene.tree.leaf, touched) & nearer] = mark.positive
    return result


def _judged(scene: Scene, mask: Pixels, prompt: Prompt) -> float:
    """Expected IoU of a mask that did not come from one family."""
    leaves = _leaves(scene, mask)
    if not leaves.any():
        return 0.5 if mask.any() else 0.0
    family = Family(np.where(leaves, 0, 1).astype(np.int64), 1)
    measured = measure(scene, family, None, np.zeros_like(leaves), prompt.box)
    return float(expected_iou("refined", measured)[0])
