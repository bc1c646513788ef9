"""Typicality: images in whose likeness many others are.

While little is labelled, what a model doubts most is what it cannot learn yet; images that stand for many others teach
more (Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets", ICML
2022, arXiv 2202.02794).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.learn.acquisition.candidates import Candidate, Context, Scores
from maskwright.learn.acquisition.coreset import features
from maskwright.learn.acquisition.ordering import canonical

NEIGHBOURS = 20
"""An image is as typical as these many, the most alike, are near on the mean: the paper's number."""
COMPARED = 2000
"""An image is compared to at most so many others, spread evenly over the keys, so that large projects stay quick."""
_ROWS = 1024


class Typicality:
    """One over the mean distance to the ``NEIGHBOURS`` most alike images that wait."""

    name = "typicality"

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """See ``AcquisitionFunction``.

        Raises:
            InvalidInput: If a candidate has no vector, or vectors of different lengths.
        """
        order = canonical([candidate.key for candidate in candidates])
        found = np.zeros(len(order), dtype=np.float64)
        found[order] = typicality(features([candidates[i] for i in order]))
        return found


def typicality(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) float64, positive, of (n, d) vectors; where all images are alike, or there is one, the same for each."""
    count = len(vectors)
    if count < 2:
        return np.ones(count, dtype=np.float64)
    centred = vectors - vectors.mean(axis=0)
    others = centred[:: -(-count // COMPARED)]
    near = min(NEIGHBOURS + 1, len(others))  # itself is mostly among them, at no distance
    squares = np.einsum("nd,nd->n", others, others)
    distance = np.empty(count, dtype=np.float64)
    for start in range(0, count, _ROWS):
        rows = centred[start : start + _ROWS]
        apart = np.einsum("nd,nd->n", rows, rows)[:, None] + squares - 2 * (rows @ others.T)
        nearest = np.partition(np.maximum(apart, 0), near - 1, axis=1)[:, :near]
        distance[start : start + _ROWS] = np.sqrt(nearest).mean(axis=1)
    farthest = float(distance.max())
    return 1 / np.maximum(distance, 1e-3 * farthest) if farthest > 0 else np.ones(count, dtype=np.float64)
