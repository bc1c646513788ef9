"""Where masks lie in a picture and to each other. What matters is seen from the picture, by boxes around the masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.referring.expressions import Order, Relation
from maskwright.masks import Mask

REACH = 1.0
"""Things are next to each other up to this gap, in mean diagonals of their boxes."""
TOUCH = 0.1
"""What lies on something comes this near to it, in the same unit."""
INSIDE = 0.5
"""Part of the smaller box in the larger one from which one of the two is in the other."""
NEAR_EXTREME = 0.5
"""Of the biggest ones are those of at least this part of the biggest one's measure, and so on."""

Numbers = NDArray[np.float64]


def ordered(masks: Sequence[Mask], order: Order, size: tuple[int, int]) -> list[int]:
    """Positions of masks counted from one end.

    Args:
        masks: Not empty ones.
        order: The end. The middle one is that with as many on its one side as on its other, along the direction in
            which they are spread.
        size: (H, W) of the image.
    """
    keys = _keys(masks, order, size)
    return sorted(range(len(masks)), key=lambda index: (keys[index], index))


def belonging(masks: Sequence[Mask], order: Order, size: tuple[int, int]) -> list[int]:
    """Positions of the masks that lie in a part of the picture, or come near to an extreme of them."""
    x, y = (_centres(_boxes(masks)) / (size[1], size[0])).T
    there = np.ones(len(masks), dtype=np.bool_)
    if order == "middle":
        there = (abs(x - 0.5) <= 0.25) & (abs(y - 0.5) <= 0.25)
    elif order in ("biggest", "tallest", "widest"):
        measures = -_keys(masks, order, size)
        there = measures >= NEAR_EXTREME * measures.max(initial=0)
    elif order in ("smallest", "shortest", "narrowest"):
        measures = _keys(masks, order, size)
        there = measures * NEAR_EXTREME <= measures.min(initial=np.inf)
    else:
        sides = {"left": x < 0.5, "right": x >= 0.5, "top": y < 0.5, "bottom": y >= 0.5}
        for side in order.split():
            there = there & sides[side]
    return [int(index) for index in np.flatnonzero(there)]


def strength(relation: Relation, mask: Mask, anchors: Sequence[Mask]) -> float:
    """How well a mask stands in a relation to one anchor, or between two: in (0, 1], or 0 if it does not.

    Left of, right of, above, below: both edges and hence the middle lie further that way; nearer ones are better. On:
    not lower, above or in front of the anchor, touching it. In: one of the two boxes holds the other, so that both
    the bird in the cage and the man in the shirt are found.
    """
    boxes = _boxes([mask, *anchors])
    if relation == "between":
        return _between(_centres(boxes)) if len(anchors) == 2 else 0.0
    one, other = boxes[0], boxes[1]
    gap, scale = _gap(one, other), max(_diagonal(one) + _diagonal(other), 1e-9) / 2
    near = 1 / (1 + gap / scale)
    if relation == "next to":
        return near if gap <= REACH * scale else 0.0
    if relation == "in":
        share = _overlap(one, other).prod() / max(min(_area(one), _area(other)), 1e-9)
        return float(share) if share >= INSIDE else 0.0
    if relation == "on":
        rests = one[3] <= other[3] and _overlap(one, other)[0] > 0 and gap <= TOUCH * scale
        return near if rests else 0.0
    axis, sign = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}[relation]
    ahead = sign * one[[axis, axis + 2]] < sign * other[[axis, axis + 2]]
    return near if bool(ahead.all()) else 0.0


def _keys(masks: Sequence[Mask], order: Order, size: tuple[int, int]) -> Numbers:
    """(n,) ascending from the end that is counted from."""
    boxes = _boxes(masks)
    centres = _centres(boxes) / (size[1], size[0])
    x, y = centres.T
    if order == "middle":
        spread = np.ptp(centres, axis=0) if len(masks) else np.zeros(2)
        ranks = np.argsort(np.argsort(centres[:, int(spread.argmax())], kind="stable"), kind="stable")
        # Two share the middle of an even number; the one nearer to the picture's own comes first.
        found: Numbers = abs(ranks - (len(masks) - 1) / 2) + np.hypot(x - 0.5, y - 0.5) / 4
        return found
    areas = np.array([mask.area for mask in masks], dtype=np.float64)
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
    keys: dict[str, Numbers] = {
        "left": x, "right": -x, "top": y, "bottom": -y,
        "top left": x + y, "top right": y - x, "bottom left": x - y, "bottom right": -x - y,
        "biggest": -areas, "smallest": areas, "tallest": -heights, "shortest": heights, "widest": -widths,
        "narrowest": widths,
    }  # fmt: skip
    return keys[order]


def _between(centres: Numbers) -> float:
    point, start, end = centres
    line = end - start
    length = math.hypot(*line)
    if not length:
        return 0.0
    along = float((point - start) @ line) / length**2
    aside = abs(float(line[0] * (point - start)[1] - line[1] * (point - start)[0])) / length**2
    return 1 - aside if 0 < along < 1 and aside <= 0.5 else 0.0


def _boxes(masks: Sequence[Mask]) -> Numbers:
    return np.array([mask.box for mask in masks], dtype=np.float64).reshape(-1, 4)


def _centres(boxes: Numbers) -> Numbers:
    middles: Numbers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return middles


def _overlap(one: Numbers, other: Numbers) -> Numbers:
    """Width and height that two boxes share."""
    shared: Numbers = (np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])).clip(min=0)
    return shared


def _gap(one: Numbers, other: Numbers) -> float:
    apart = (np.maximum(one[:2], other[:2]) - np.minimum(one[2:], other[2:])).clip(min=0)
    return math.hypot(*apart)


def _diagonal(box: Numbers) -> float:
    return math.hypot(*(box[2:] - box[:2]))


def _area(box: Numbers) -> float:
    return float((box[2:] - box[:2]).prod())
