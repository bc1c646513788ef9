"""Between arrays of pixels and runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.masks.runs import Edges, to_lengths

_WORD = 64


def edges_of(sequence: NDArray[np.bool_]) -> Edges:
    """The edges of a flat sequence.

    Eight pixels are packed into a byte and eight bytes into a word, so that the search for changes passes over an
    eighth of the memory and then looks only into the words that hold one.

    Args:
        sequence: (n,) bool.
    """
    packed = np.packbits(sequence)
    words = np.zeros(len(packed) // 8 + 1, dtype=">u8")  # at least one outside pixel follows, which closes the last run
    words.view(np.uint8)[: len(packed)] = packed
    bits = words.astype(np.uint64)
    previous = bits >> np.uint64(1)
    previous[1:] |= bits[:-1] << np.uint64(_WORD - 1)
    changes = bits ^ previous
    busy = np.flatnonzero(changes)
    found = np.flatnonzero(np.unpackbits(changes[busy].astype(">u8").view(np.uint8)))
    edges: Edges = (found & (_WORD - 1)) + busy[found // _WORD] * _WORD
    return edges


def fill(edges: Edges, n: int) -> NDArray[np.bool_]:
    """The flat sequence of n pixels that has these edges, (n,) bool."""
    lengths = to_lengths(edges, n)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
