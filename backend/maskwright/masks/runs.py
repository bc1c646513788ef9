"""Sets of pixels as sorted run boundaries, and the algebra on them.

A sequence of n pixels is kept as its *edges*: the strictly increasing int64 positions at which it changes between
outside and inside. It starts outside, so edges come in pairs: pixels [e0, e1), [e2, e3), ... are inside. The form is
canonical (equal sets have equal edges), costs memory by outline and not by area, and turns set algebra into sorting.
The one primitive is the symmetric difference: the edges of ``a xor b`` are those of a and b sorted together, where
two equal ones annihilate each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Edges = NDArray[np.int64]
"""(2k,) int64, strictly increasing."""

EMPTY: Edges = np.zeros(0, dtype=np.int64)
EMPTY.setflags(write=False)


def cancel(positions: NDArray[np.int64]) -> Edges:
    """Toggle at every one of the given positions, in any order and any number of times, and return the edges.

    Args:
        positions: (m,) int64; a position that occurs an even number of times leaves no edge.
    """
    ordered = np.sort(positions)
    first = np.empty(len(ordered), dtype=np.bool_)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    if first.all():
        return ordered
    starts = np.flatnonzero(first)
    # Written out: np.diff with an end costs more than all the rest of this function.
    times = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=times[:-1])
    times[-1] = len(ordered) - starts[-1]
    edges: Edges = ordered[starts[(times & 1).astype(np.bool_)]]
    return edges


def combine(operands: Sequence[Edges], inside: Sequence[bool], weights: Sequence[int] | None = None) -> Edges:
    """Any Boolean function of several sets, by one sweep over all their edges.

    Args:
        operands: Edges of the sets.
        inside: Truth table over the sum of the weights of those operands that hold a pixel; ``inside[0]`` is False.
        weights: One per operand, 1 where not given. Powers of two tell all operands apart.

    Returns:
        The edges of the pixels whose sum is marked in ``inside``.
    """
    if weights is None:
        weights = [1] * len(operands)
    steps = [np.tile(np.array([w, -w], dtype=np.int64), len(e) // 2) for e, w in zip(operands, weights, strict=True)]
    positions, deltas = np.concatenate([EMPTY, *operands]), np.concatenate([EMPTY, *steps])
    order = np.argsort(positions, kind="stable")
    positions, depth = positions[order], np.cumsum(deltas[order])
    last = np.empty(len(positions), dtype=np.bool_)
    last[-1:] = True
    np.not_equal(positions[1:], positions[:-1], out=last[:-1])
    positions, state = positions[last], np.asarray(inside, dtype=np.bool_)[depth[last]]
    changed: Edges = positions[state != np.concatenate([[False], state[:-1]])]
    return changed


def complement(edges: Edges, n: int) -> Edges:
    """Every pixel of [0, n) that is not inside."""
    return cancel(np.concatenate([edges, [0, n]]))


def count(edges: Edges) -> int:
    """How many pixels are inside."""
    return int((edges[1::2] - edges[::2]).sum())


def covered(edges: Edges, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many inside pixels lie before each position.

    Args:
        edges: (2k,) edges.
        positions: (m,) int64, any order.

    Returns:
        (m,) int64.
    """
    # Past an even number of edges the answer stays what it was; past an odd number it grows with the position.
    base = np.zeros(len(edges) + 1, dtype=np.int64)
    base[2::2] = np.cumsum(edges[1::2] - edges[::2])
    base[1::2] = base[:-1:2] - edges[::2]
    passed = np.searchsorted(edges, positions, side="right")
    result: NDArray[np.int64] = base[passed] + (passed & 1) * positions
    return result


def overlap(a: Edges, b: Edges) -> int:
    """How many pixels are inside both sets."""
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    reached = covered(many, few)
    return int((reached[1::2] - reached[::2]).sum())


def contains(edges: Edges, position: int) -> bool:
    """Whether one pixel is inside."""
    return bool(np.searchsorted(edges, position, side="right") % 2)


def from_lengths(lengths: NDArray[np.int64]) -> Edges:
    """Edges from alternating run lengths, the first of which counts outside pixels; any of them may be 0."""
    return cancel(np.cumsum(lengths)[: len(lengths) // 2 * 2])


def to_lengths(edges: Edges, n: int) -> NDArray[np.int64]:
    """Alternating run lengths of n >= 1 pixels: outside first (may be 0), then all above 0."""
    lengths = np.empty(len(edges) + 1, dtype=np.int64)
    lengths[:-1], lengths[-1] = edges, n
    lengths[1:] -= edges
    return lengths if lengths[-1] else lengths[:-1]
