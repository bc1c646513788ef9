"""A hierarchy of regions of an image: over-segmentation by watershed, then greedy merging of neighbours.

Regions are numbered so that every node of the merge tree is an interval of leaf numbers: a node's pixels are those
with ``first <= leaf < end``, and sums over nodes are differences of one cumulative sum. Sources: marker-controlled
watershed (Meyer 1992), mutual-best-neighbour region merging (Beaulieu and Goldberg 1989).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMOOTHING = 1.0
"""Standard deviation in working pixels of the blur before gradients."""
MINIMUM_WINDOW = 5
"""Side in working pixels of the window in which a gradient minimum must be the lowest to seed a region."""
CHANNEL_WEIGHTS = (1.0, 1.3, 1.3, 3.0)
"""Weights of lightness, a, b and texture in the distance between two regions."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Regions, their neighbourhood, and the tree in which they merge.

    Attributes:
        leaf: (h, w) int64 region number of every pixel, 0 .. n-1.
        features: (n, 4) mean L, a, b (CIE Lab) and texture of every region.
        edges: (E, 2) int64 neighbouring regions, first < second.
        edge_length: (E,) number of adjacent pixel pairs.
        edge_strength: (E,) mean colour gradient along the common border.
        first, end: (2n-1,) int64 interval of leaves of every node; node i < n is leaf i; the last node is the root.
        parent: (2n-1,) int64, -1 for the root.
        height: (2n-1,) cost at which the node was merged; never less than its children's.
    """

    leaf: Ints
    features: Floats
    edges: Ints
    edge_length: Floats
    edge_strength: Floats
    first: Ints
    end: Ints
    parent: Ints
    height: Floats

    @property
    def count(self) -> int:
        """Number of leaves."""
        return len(self.features)

    def ancestors(self, leaf: int) -> Ints:
        """The nodes that hold a leaf, from the leaf itself to the root."""
        nodes = [leaf]
        while self.parent[nodes[-1]] >= 0:
            nodes.append(int(self.parent[nodes[-1]]))
        return np.array(nodes, dtype=np.int64)


def build_hierarchy(rgb: NDArray[np.uint8]) -> Hierarchy:
    """Partition an (h, w, 3) uint8 RGB image into small regions and merge them up to one."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    gradient = colour_gradient(lab)
    leaf, count = oversegment(rgb, lab, gradient)
    area = np.bincount(leaf.ravel(), minlength=count).astype(np.float64)
    features = _region_features(lab, leaf, area)
    edges, length, total = _region_graph(leaf, count, gradient)
    parent, height, first, end = _merge(area, features, edges, length, total)

    rank = first[:count]  # position of every old leaf in depth-first order = its new number
    leaves_by_rank = np.argsort(rank, kind="stable")
    renamed = np.sort(rank[edges], axis=1)
    order = np.lexsort((renamed[:, 1], renamed[:, 0]))
    node_order = np.concatenate([leaves_by_rank, np.arange(count, len(parent))])
    new_parent = parent[node_order]
    return Hierarchy(
        leaf=rank[leaf],
        features=features[leaves_by_rank],
        edges=renamed[order],
        edge_length=length[order],
        edge_strength=(total / length)[order],
        first=first[node_order],
        end=end[node_order],
        parent=new_parent,
        height=height[node_order],
    )


def colour_gradient(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) norm of the smoothed colour derivative of an (h, w, 3) float32 Lab image, per pixel of distance."""
    smooth = cv2.GaussianBlur(lab, (0, 0), SMOOTHING)
    dx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    dy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    norm: NDArray[np.float32] = np.sqrt((dx * dx + dy * dy).sum(axis=2))
    return norm


def oversegment(rgb: NDArray[np.uint8], lab: NDArray[np.float32], gradient: NDArray[np.float32]) -> tuple[Ints, int]:
    """Flood the image from the minima of its gradient.

    Returns:
        (h, w) int64 region numbers and how many there are.
    """
    levels = np.round(gradient * 4)
    lowest = cv2.erode(levels, np.ones((MINIMUM_WINDOW, MINIMUM_WINDOW), np.uint8))
    count, markers = cv2.connectedComponents((levels <= lowest).astype(np.uint8), connectivity=8)
    # cv2.watershed blanks a frame of one pixel, so it gets one to blank.
    framed = cv2.copyMakeBorder(markers, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.watershed(cv2.copyMakeBorder(rgb, 1, 1, 1, 1, cv2.BORDER_REPLICATE), framed)
    labels = framed[1:-1, 1:-1].astype(np.int64)
    while True:
        ys, xs = np.nonzero(labels <= 0)
        if not len(ys):
            return labels - 1, count - 1
        _give_to_nearest_colour(labels, lab, ys, xs)


def _give_to_nearest_colour(labels: Ints, lab: NDArray[np.float32], ys: Ints, xs: Ints) -> None:
    """Give each listed pixel the label of the labelled neighbour (of four) most like it; in place."""
    near_label = np.pad(labels, 1)
    near_lab = np.pad(lab, ((1, 1), (1, 1), (0, 0)), mode="edge")
    candidates, distances = [], []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        label = near_label[ys + 1 + dy, xs + 1 + dx]
        distance = np.abs(near_lab[ys + 1 + dy, xs + 1 + dx] - lab[ys, xs]).sum(axis=1)
        candidates.append(label)
        distances.append(np.where(label > 0, distance, np.inf))
    best = np.argmin(distances, axis=0)
    labels[ys, xs] = np.asarray(candidates)[best, np.arange(len(ys))]


def _region_features(lab: NDArray[np.float32], leaf: Ints, area: Floats) -> Floats:
    lightness = lab[:, :, 0]
    detail = np.abs(lightness - cv2.GaussianBlur(lightness, (0, 0), 2.5))
    planes = [*cv2.split(lab), cv2.GaussianBlur(detail, (0, 0), 3)]
    flat = leaf.ravel()
    return np.stack([np.bincount(flat, p.ravel(), minlength=len(area)) / area for p in planes], axis=1)


def _region_graph(leaf: Ints, count: int, gradient: NDArray[np.float32]) -> tuple[Ints, Floats, Floats]:
    """Neighbouring pairs (E, 2), the number of pixel pairs between them, and the summed gradient there."""
    pairs, strengths = [], []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        differ = leaf[a] != leaf[b]
        low, high = np.minimum(leaf[a], leaf[b])[differ], np.maximum(leaf[a], leaf[b])[differ]
        pairs.append(low * count + high)
        strengths.append(np.maximum(gradient[a], gradient[b])[differ])
    keys, inverse, length = np.unique(np.concatenate(pairs), return_inverse=True, return_counts=True)
    total: Floats = np.bincount(inverse, np.concatenate(strengths), minlength=len(keys)).astype(np.float64)
    return np.stack([keys // count, keys % count], axis=1), length.astype(np.float64), total


def merge_cost(smaller: Floats, difference: Floats, strength: Floats, length: Floats) -> Floats:
    """Cost of merging two regions.

    Args:
        smaller: (E,) area of the smaller of the two, pixels.
        difference: (E, 4) absolute difference of their features.
        strength: (E,) mean gradient along their common border.
        length: (E,) length of that border, pixels.

    Returns:
        (E,) cost: high where colours differ, the border is sharp, both are big, and they touch only in a short piece.
    """
    distance = np.sqrt(((difference * CHANNEL_WEIGHTS) ** 2).sum(axis=1))
    contrast = (distance + 0.5) * (strength + 0.2)
    cost: Floats = contrast * smaller**0.3 * (np.sqrt(smaller) / length) ** 0.6
    return cost


def _merge(
    area: Floats, features: Floats, edges: Ints, length: Floats, total: Floats
) -> tuple[Ints, Floats, Ints, Ints]:
    """Merge mutual best neighbours in rounds until one region is left; see ``Hierarchy`` for what is returned."""
    count = len(area)
    parent = np.full(2 * count - 1, -1, dtype=np.int64)
    height = np.zeros(2 * count - 1)
    size = np.ones(2 * count - 1, dtype=np.int64)
    node: Ints = np.arange(count)
    area, features = area.copy(), features.copy()
    rounds: list[tuple[Ints, Ints, Ints]] = []
    next_node = count
    while len(edges):
        a, b = edges[:, 0], edges[:, 1]
        cost = merge_cost(np.minimum(area[a], area[b]), np.abs(features[a] - features[b]), total / length, length)
        rank = np.empty(len(cost), dtype=np.int64)
        rank[np.argsort(cost, kind="stable")] = np.arange(len(cost))
        best = np.full(len(area), len(cost), dtype=np.int64)
        np.minimum.at(best, a, rank)
        np.minimum.at(best, b, rank)
        chosen = np.nonzero((best[a] == rank) & (best[b] == rank))[0]
        chosen = chosen[np.argsort(rank[chosen])]
        kept, gone = a[chosen], b[chosen]
        made = next_node + np.arange(len(chosen))
        next_node += len(chosen)
        left, right = node[kept], node[gone]
        rounds.append((made, left, right))
        parent[left] = parent[right] = made
        size[made] = size[left] + size[right]
        height[made] = np.maximum(cost[chosen], np.maximum(height[left], height[right]))

        whole = area[kept] + area[gone]
        features[kept] = (features[kept] * area[kept, None] + features[gone] * area[gone, None]) / whole[:, None]
        area[kept], node[kept] = whole, made
        target = np.arange(len(area))
        target[gone] = kept
        alive = target == np.arange(len(area))
        target = (np.cumsum(alive) - 1)[target]
        node = node[alive]
        area, features = area[alive], features[alive]
        edges = np.sort(target[edges], axis=1)
        outer = edges[:, 0] != edges[:, 1]
        keys, inverse = np.unique(edges[outer, 0] * len(area) + edges[outer, 1], return_inverse=True)
        length = np.bincount(inverse, length[outer]).astype(np.float64)
        total = np.bincount(inverse, total[outer]).astype(np.float64)
        edges = np.stack([keys // len(area), keys % len(area)], axis=1)

    first = np.zeros(2 * count - 1, dtype=np.int64)
    for parents, left, right in reversed(rounds):
        first[left] = first[parents]
        first[right] = first[parents] + size[left]
    return parent, height, first, first + size
