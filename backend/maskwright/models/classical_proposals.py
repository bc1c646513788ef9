"""Candidate objects of a whole image, without a grid of clicks: the nodes of the region hierarchy that look like one.

Every node is judged by what is measured on it, as candidates for a click are, with a formula of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask
from maskwright.models.classical_hierarchy import Floats, Hierarchy, Ints
from maskwright.models.classical_logits import mask_to_logits
from maskwright.models.classical_regions import FEATURES, SMALLEST_FRAMED, Scene
from maskwright.models.classical_scores import expected_iou
from maskwright.models.protocols import Proposals

SMALLEST_AREA = 24
"""Pixels of the working grid below which nothing is proposed."""
MOST = 400
"""At most this many proposals, the best."""
JUDGED = 1500
"""So many nodes are looked at closely."""
LARGEST_NESTED = 0.6
"""A node inside a better one, or around it, is dropped where the smaller fills more than this share of the larger."""
SHADOWED = 0.6
"""The estimate of a node inside a better one, or around it, is worth this much: objects seldom nest."""
LARGEST_DEPTH = -2.4
"""Logarithm of depth over the image's side from which being bigger speaks no more for an object."""
BACKGROUND_FRAME = 0.4
"""What holds more than this share of the image's border is what lies behind the objects."""
THRESHOLD_SHIFT = 1.25
"""Stability compares the regions at a merge cost this many times higher and lower."""


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Measurements of some nodes of the tree; boxes (M, 4) xyxy on the working grid, other fields (M,)."""

    number: Ints
    area: Floats
    boxes: Ints
    measured: Floats


def propose_regions(scene: Scene, size: tuple[int, int]) -> Proposals:
    """Masks of ``size`` (H, W) for the likely objects of an image."""
    nodes = _measure_nodes(scene)
    if not len(nodes.number):
        return Proposals((), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
    scores = expected_iou("proposal", nodes.measured)
    masks, predicted, stability = [], [], []
    for k, score in _suppress(scene.tree, nodes, scores):
        mask = _full_size(scene, int(nodes.number[k]), nodes.boxes[k], size)
        if not mask.is_empty:
            masks.append(mask)
            predicted.append(score)
            stability.append(node_stability(scene.tree, int(nodes.number[k])))
    return Proposals(tuple(masks), np.array(predicted, dtype=np.float32), np.array(stability, dtype=np.float32))


def _over_nodes(tree: Hierarchy, leaves: Floats) -> Floats:
    """Sum of a (n,) or (n, d) value over the leaves of every node."""
    running = np.concatenate([np.zeros((1, *leaves.shape[1:])), np.cumsum(leaves, axis=0)])
    total: Floats = running[tree.end] - running[tree.first]
    return total


def _least_common_nodes(tree: Hierarchy) -> Ints:
    """(E,) the smallest node that holds both ends of every edge."""
    node, other = tree.edges[:, 0].copy(), tree.edges[:, 1]
    while True:
        apart = np.nonzero(tree.end[node] <= other)[0]
        if not len(apart):
            return node
        node[apart] = tree.parent[node[apart]]


def _over_borders(tree: Hierarchy, meeting: Ints, values: Floats) -> Floats:
    """(2n-1, d) sums of (E, d) values over the edges that leave every node."""
    count, width = tree.count, values.shape[1]
    incident = np.zeros((count, width))
    inner = np.zeros((len(tree.parent), width))
    for j in range(width):
        for side in (0, 1):
            incident[:, j] += np.bincount(tree.edges[:, side], values[:, j], minlength=count)
        inner[:, j] = np.bincount(meeting, values[:, j], minlength=len(inner))
    # Edges that meet at or below a node: add every node to its parent, children first.
    order = np.argsort(tree.end - tree.first, kind="stable")
    parents = tree.parent.tolist()
    for j in range(width):
        column = inner[:, j].tolist()
        for node in order.tolist():
            if parents[node] >= 0:
                column[parents[node]] += column[node]
        inner[:, j] = column
    return np.maximum(_over_nodes(tree, incident) - 2 * inner, 0.0)


def _leaf_boxes(scene: Scene) -> Ints:
    """(n, 4) xyxy of every leaf, right and bottom exclusive."""
    leaf = scene.tree.leaf
    ys, xs = np.indices(leaf.shape)
    boxes = np.empty((scene.tree.count, 4), dtype=np.int64)
    boxes[:, :2], boxes[:, 2:] = max(leaf.shape), 0
    for column, values in ((0, xs), (1, ys)):
        np.minimum.at(boxes[:, column], leaf.ravel(), values.ravel())
        np.maximum.at(boxes[:, column + 2], leaf.ravel(), values.ravel() + 1)
    return boxes


def _measure_nodes(scene: Scene) -> _Nodes:
    """What ``classical_regions.measure`` would say of the nodes that may be objects, seen from their middle."""
    tree = scene.tree
    height, width = scene.size
    area = _over_nodes(tree, scene.area)
    frame = _over_nodes(tree, scene.frame)
    a, b = tree.edges.T
    length, strength = tree.edge_length, tree.edge_strength / scene.typical_strength
    both = tree.features[a] + tree.features[b]
    columns = np.stack([length, length * strength, length * (strength < 0.5), *(both * length[:, None]).T], axis=1)
    # The colours of both sides of a node's border, less its own side, are those of its surroundings.
    border = _over_borders(tree, _least_common_nodes(tree), columns)
    inner = border[:, 0]
    some = np.maximum(inner, 1.0)
    outline = inner + frame

    share_frame = frame / np.maximum(outline, 1.0)
    background = frame > BACKGROUND_FRAME * scene.frame.sum()
    chosen = np.nonzero((area >= SMALLEST_AREA) & (inner > 0) & ~background)[0]
    colour = _over_nodes(tree, scene.area[:, None] * tree.features) / area[:, None]
    surroundings = border[:, 3:] / some[:, None] - colour
    contrast = np.sqrt((((colour - surroundings) * (1.0, 1.3, 1.3, 3.0)) ** 2).sum(axis=1))
    relative = np.log(area / (height * width))
    values = {
        "one": np.ones(len(area)),
        "size": relative,
        "size2": relative**2,
        "strength": np.log(border[:, 1] / some + 0.1),
        "weak": border[:, 2] / some,
        "frame": share_frame,
        "frame2": share_frame**2,
        "size_frame": np.maximum(relative, SMALLEST_FRAMED) * share_frame,
        "central": np.ones(len(area)),
        "central2": np.ones(len(area)),
        "ragged": np.log(np.maximum(outline**2 / area, 4.0)),
        "contrast": np.log(contrast + 1.0),
    }
    measured = np.stack([values.get(name, np.zeros(len(area))) for name in FEATURES], axis=1)
    # A first look with the depth of a disc of the same area.
    _set_depth(measured, np.sqrt(area / np.pi), scene.size)
    rough = expected_iou("proposal", measured[chosen])
    chosen = chosen[np.argsort(-rough, kind="stable")[:JUDGED]]
    leaf_boxes = np.concatenate([_leaf_boxes(scene), np.zeros((1, 4), dtype=np.int64)])
    spans = np.stack([tree.first[chosen], tree.end[chosen]], axis=1).ravel()
    boxes = np.concatenate(
        [
            np.minimum.reduceat(leaf_boxes[:, :2], spans, axis=0)[::2],
            np.maximum.reduceat(leaf_boxes[:, 2:], spans, axis=0)[::2],
        ],
        axis=1,
    ) if len(chosen) else np.zeros((0, 4), dtype=np.int64)  # fmt: skip
    closely = measured[chosen]
    depth = np.array([_depth(_node_pixels(scene, int(k), box)) for k, box in zip(chosen, boxes, strict=True)])
    _set_depth(closely, depth, scene.size)
    return _Nodes(chosen, area[chosen], boxes, closely)


def _set_depth(measured: Floats, depth: Floats, size: tuple[int, int]) -> None:
    value = np.minimum(np.log(np.maximum(depth, 0.5) / np.sqrt(size[0] * size[1])), LARGEST_DEPTH)
    measured[:, FEATURES.index("depth")] = value
    measured[:, FEATURES.index("depth2")] = value**2


def _node_pixels(scene: Scene, node: int, box: Ints) -> NDArray[np.bool_]:
    x1, y1, x2, y2 = box
    leaf = scene.tree.leaf[y1:y2, x1:x2]
    pixels: NDArray[np.bool_] = (leaf >= scene.tree.first[node]) & (leaf < scene.tree.end[node])
    return pixels


def _depth(pixels: NDArray[np.bool_]) -> float:
    return float(cv2.distanceTransform(np.pad(pixels, 1).astype(np.uint8), cv2.DIST_L2, 3).max())


def _suppress(tree: Hierarchy, nodes: _Nodes, scores: Floats) -> list[tuple[int, float]]:
    """The nodes that are left, best first, with their estimates: of nearly equal nested nodes only the best."""
    first, end = tree.first[nodes.number], tree.end[nodes.number]
    left = np.ones(len(scores), dtype=bool)
    shadowed = np.zeros(len(scores), dtype=bool)
    kept: list[tuple[int, float]] = []
    for k in np.argsort(-scores, kind="stable").tolist():
        if not left[k]:
            continue
        kept.append((k, float(scores[k]) * (SHADOWED if shadowed[k] else 1.0)))
        if len(kept) == MOST:
            break
        nested = ((first <= first[k]) & (end >= end[k])) | ((first >= first[k]) & (end <= end[k]))
        alike = np.minimum(nodes.area, nodes.area[k]) > LARGEST_NESTED * np.maximum(nodes.area, nodes.area[k])
        left &= ~(nested & alike)
        shadowed |= nested
    return sorted(kept, key=lambda item: -item[1])


def node_stability(tree: Hierarchy, node: int) -> float:
    """IoU of the regions into which a node turns at a somewhat higher and a somewhat lower merge cost, in leaves."""
    parent = int(tree.parent[node])
    low = float(tree.height[node])
    high = float(tree.height[parent]) if parent >= 0 else low * THRESHOLD_SHIFT**2
    middle = np.sqrt(max(low, 1e-6) * max(high, 1e-6))
    outer, inner = node, node
    while tree.parent[outer] >= 0 and tree.height[tree.parent[outer]] <= middle * THRESHOLD_SHIFT:
        outer = int(tree.parent[outer])
    while tree.height[inner] > middle / THRESHOLD_SHIFT:
        children = np.nonzero(tree.parent == inner)[0]
        if not len(children):
            break
        inner = int(children[np.argmax((tree.end - tree.first)[children])])
    return float((tree.end[inner] - tree.first[inner]) / (tree.end[outer] - tree.first[outer]))


def _full_size(scene: Scene, node: int, box: Ints, size: tuple[int, int]) -> Mask:
    """A node's mask at the image's size, produced inside its box only."""
    height, width = scene.size
    x1, y1 = max(int(box[0]) - 3, 0), max(int(box[1]) - 3, 0)
    x2, y2 = min(int(box[2]) + 3, width), min(int(box[3]) + 3, height)
    logits = mask_to_logits(_node_pixels(scene, node, np.array([x1, y1, x2, y2])), scene.rgb[y1:y2, x1:x2])
    sx, sy = width / size[1], height / size[0]
    left, top = int(np.floor(x1 / sx)), int(np.floor(y1 / sy))
    right, bottom = min(int(np.ceil(x2 / sx)), size[1]), min(int(np.ceil(y2 / sy)), size[0])
    # The centre of a pixel of the image is looked up where it lies between the centres of the grid's pixels.
    matrix = np.array([[sx, 0, (left + 0.5) * sx - 0.5 - x1], [0, sy, (top + 0.5) * sy - 0.5 - y1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    full = cv2.warpAffine(logits, matrix, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return Mask.from_crop(full > 0, (left, top), size)
