"""Between flat sequences of pixels and their edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.masks.runs import Edges, to_lengths

_CHUNK = 1 << 18  # the pixels and what is made of them stay in a core's cache


def edges_of(sequence: NDArray[np.bool_]) -> Edges:
    """The edges of a flat sequence.

    Args:
        sequence: (n,) bool, n >= 1.
    """
    n = len(sequence)
    found: list[NDArray[np.int64]] = [np.zeros(int(sequence[0]), dtype=np.int64)]
    for start in range(0, n, _CHUNK):
        part = sequence[start : start + _CHUNK + 1]
        found.append(np.flatnonzero(part[1:] != part[:-1]).astype(np.int64, copy=False) + (start + 1))
    found.append(np.full(int(sequence[-1]), n, dtype=np.int64))
    return np.concatenate(found)


def fill(edges: Edges, n: int) -> NDArray[np.bool_]:
    """The flat sequence of n pixels that has these edges, (n,) bool."""
    lengths = to_lengths(edges, n)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
