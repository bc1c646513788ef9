"""Patches grouped by direction: spherical k-means, with the number of groups chosen by how well they separate.

Names come afterwards, as those of all masks without classes do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.dense.input_grid import unit

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]

FEWEST, MOST = 2, 8
_STARTS = 4
_ROUNDS = 100
_SAMPLE = 600
"""Patches that the separation is measured on: it compares all pairs."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of vectors.

    Attributes:
        labels: Group of each vector, of the vectors' leading shape.
        centres: (k, d) float32 of length 1.
    """

    labels: Labels
    centres: Vectors


def spherical_k_means(vectors: Vectors, k: int, *, seed: int = 0) -> Clusters:
    """Group directions by cosine (Dhillon and Modha, Machine Learning 2001), started as k-means++ from four seeds.

    Args:
        vectors: (..., d) of any lengths.
        k: Groups, 1 to the number of vectors.
        seed: Of the random starts; equal seeds give equal groups.

    Raises:
        InvalidInput: If there are fewer vectors than groups.
    """
    rows = unit(vectors.reshape(-1, vectors.shape[-1]))
    if not 1 <= k <= len(rows):
        raise InvalidInput(f"{len(rows)} vectors cannot be put into {k} groups")
    generator = np.random.default_rng(seed)
    best, best_score = None, -np.inf
    for _ in range(_STARTS):
        labels, centres = _settle(rows, _spread_out(rows, k, generator))
        score = float(np.einsum("nd,nd->", rows, centres[labels]))
        if score > best_score:
            best, best_score = (labels, centres), score
    assert best is not None
    return Clusters(best[0].reshape(vectors.shape[:-1]), best[1])


def cluster(vectors: Vectors, *, fewest: int = FEWEST, most: int = MOST, seed: int = 0) -> Clusters:
    """Group directions into the number of groups, ``fewest`` to ``most``, with the largest silhouette."""
    rows = vectors.reshape(-1, vectors.shape[-1])
    tried = [spherical_k_means(vectors, k, seed=seed) for k in range(fewest, min(most, len(rows) - 1) + 1)]
    if not tried:
        raise InvalidInput(f"{len(rows)} vectors cannot be put into {fewest} groups or more and be compared")
    return max(tried, key=lambda found: silhouette(rows, found.labels.reshape(-1), seed=seed))


def silhouette(vectors: Vectors, labels: Labels, *, seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987) under ``1 - cosine``, in [-1, 1], on at most 600 vectors drawn at random.

    A vector alone in its group counts 0, as does every vector where there is one group.
    """
    if len(vectors) > _SAMPLE:
        drawn = np.random.default_rng(seed).choice(len(vectors), _SAMPLE, replace=False)
        vectors, labels = vectors[drawn], labels[drawn]
    rows = unit(vectors)
    distances = 1.0 - rows.astype(np.float64) @ rows.T
    names, own = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        return 0.0
    members = np.eye(len(names))[own]
    sizes = members.sum(axis=0)
    totals = distances @ members
    places = np.arange(len(rows))
    inside = totals[places, own] / np.maximum(sizes[own] - 1, 1)
    others = totals / sizes
    others[places, own] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(inside, nearest)
    values = np.where((sizes[own] > 1) & (larger > 0), (nearest - inside) / np.where(larger > 0, larger, 1), 0.0)
    return float(values.mean())


def _spread_out(rows: Vectors, k: int, generator: np.random.Generator) -> Vectors:
    """k rows, each drawn with a chance that grows with its distance from those drawn before (k-means++)."""
    chosen = [int(generator.integers(len(rows)))]
    distances = np.full(len(rows), np.inf)
    while len(chosen) < k:
        distances = np.minimum(distances, np.clip(1.0 - rows @ rows[chosen[-1]], 0, None).astype(np.float64))
        distances[chosen] = 0.0
        total = distances.sum()
        left = np.setdiff1d(np.arange(len(rows)), chosen)
        chosen.append(int(generator.choice(len(rows), p=distances / total) if total > 0 else generator.choice(left)))
    return rows[chosen]


def _settle(rows: Vectors, centres: Vectors) -> tuple[Labels, Vectors]:
    """Assign and average in turn until nothing moves; a group that loses all its vectors keeps its centre."""
    labels = np.full(len(rows), -1, dtype=np.int64)
    for _ in range(_ROUNDS):
        nearest = (rows @ centres.T).argmax(axis=1).astype(np.int64)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        members = (labels == np.arange(len(centres))[:, None]).astype(rows.dtype)
        moved = unit(members @ rows)
        centres = np.where(moved.any(axis=1, keepdims=True), moved, centres)
    return labels, centres
