"""Low-resolution logits to a mask of the image's size, evaluated only where the mask can be.

SAM enlarges logits bilinearly to its padded input, cuts the padding off and enlarges (or shrinks) bilinearly to the
image; SAM 2 and SAM 3 go to the image in one step. Each step is linear and separable, so the composition is one
product ``rows @ logits @ columns^T`` with at most four weights per output row or column. Its weights are computed in
float32 exactly as PyTorch computes them. Since they are non-negative, a pixel can be positive only if one of its cells
is: everything outside the box of positive cells is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.masks import Mask

_BLOCK = 16
_PRODUCT = 2**18
"""Multiplications in one matrix product. Up to this number OpenBLAS stays in the calling thread: waking its pool for
such small products costs more than they do, and tens of milliseconds where other threads keep the cores busy."""


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Output positions along one axis as weighted sums of input cells.

    Attributes:
        cells: (n, t) int64 input cells, ascending along the second axis.
        weights: (n, t) float32, non-negative, each row summing to 1.
    """

    cells: NDArray[np.int64]
    weights: NDArray[np.float32]

    def __getitem__(self, positions: slice) -> AxisWeights:
        return AxisWeights(self.cells[positions], self.weights[positions])

    def after(self, first: AxisWeights) -> AxisWeights:
        """The composition: ``first``, cut to the cells that this step reads, then this step."""
        count = len(self.cells)
        cells = first.cells[self.cells].reshape(count, -1)
        weights = (first.weights[self.cells] * self.weights[:, :, None]).reshape(count, -1)
        return AxisWeights(cells, weights)

    def touching(self, low: int, high: int) -> slice:
        """The output positions with a weight on a cell in [low, high]."""
        last = np.where(self.weights > 0, self.cells, -1).max(axis=1)
        first = np.where(self.weights > 0, self.cells, np.iinfo(np.int64).max).min(axis=1)
        return slice(int(np.searchsorted(last, low)), int(np.searchsorted(first, high, side="right")))

    def dense(self, low: int, high: int) -> NDArray[np.float32]:
        """(n, high - low) float32 matrix over the cells in [low, high)."""
        out = np.zeros((len(self.cells), high - low), dtype=np.float32)
        rows = np.arange(len(self.cells))
        for column in range(self.cells.shape[1]):
            out[rows, self.cells[:, column] - low] += self.weights[:, column]
        return out


def bilinear_weights(cells: int, positions: int) -> AxisWeights:
    """Weights of bilinear resampling with half-pixel centres (``align_corners=False``), edges repeated.

    Args:
        cells: Length of the input axis.
        positions: Length of the output axis.
    """
    scale = np.float32(cells) / np.float32(positions)
    source = scale * (np.arange(positions, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    source = np.maximum(source, np.float32(0))
    first = np.minimum(source.astype(np.int64), cells - 1)
    second = np.minimum(first + 1, cells - 1)
    fraction = np.clip(source - first.astype(np.float32), np.float32(0), np.float32(1))
    return AxisWeights(np.stack([first, second], axis=1), np.stack([np.float32(1) - fraction, fraction], axis=1))


def axis_weights(cells: int, positions: int, *, padded: int | None = None, inside: int | None = None) -> AxisWeights:
    """Weights from low-resolution cells to image pixels along one axis.

    Args:
        cells: Low-resolution cells.
        positions: Image pixels.
        padded: Length of the model's input where enlarging passes through it (SAM), else None.
        inside: Length of the part of that input which holds the image.
    """
    if padded is None or inside is None:
        return bilinear_weights(cells, positions)
    return bilinear_weights(inside, positions).after(bilinear_weights(cells, padded))


def mask_from_logits(
    logits: NDArray[np.float32],
    original_size: tuple[int, int],
    *,
    padded: int | None = None,
    input_size: tuple[int, int] | None = None,
) -> Mask:
    """Enlarge logits to the image and threshold them at 0.

    Equal to the families' own bilinear steps except where a pixel's logit is zero within float32 rounding.

    Args:
        logits: (h, w) float32.
        original_size: (H, W) of the image in pixels.
        padded: Side of the padded input for families that enlarge in two steps (SAM, SAM-HQ), else None.
        input_size: (h, w) of the image inside that input; needed with ``padded``.

    Returns:
        A mask of ``original_size``: pixels whose logit is above 0.
    """
    positive = logits > 0
    filled_rows, filled_columns = np.flatnonzero(positive.any(axis=1)), np.flatnonzero(positive.any(axis=0))
    if not len(filled_rows):
        return Mask.empty(original_size)
    inside = input_size or (None, None)
    rows = axis_weights(logits.shape[0], original_size[0], padded=padded, inside=inside[0])
    columns = axis_weights(logits.shape[1], original_size[1], padded=padded, inside=inside[1])
    down = rows.touching(int(filled_rows[0]), int(filled_rows[-1]))
    across = columns.touching(int(filled_columns[0]), int(filled_columns[-1]))
    if down.start >= down.stop or across.start >= across.stop:
        return Mask.empty(original_size)
    crop = _evaluate(logits, rows[down], columns[across])
    return Mask.from_crop(crop, (across.start, down.start), original_size)


def _evaluate(logits: NDArray[np.float32], rows: AxisWeights, columns: AxisWeights) -> NDArray[np.bool_]:
    """(len(rows), len(columns)) bool: where ``rows @ logits @ columns^T`` is above 0."""
    top, bottom = int(rows.cells.min()), int(rows.cells.max()) + 1
    wide = np.empty((bottom - top, len(columns.cells)), dtype=np.float32)
    for span, low, weights in _blocks(columns):
        np.matmul(logits[top:bottom, low : low + weights.shape[1]], weights.T, out=wide[:, span])
    out = np.empty((len(rows.cells), len(columns.cells)), dtype=np.bool_)
    for span, low, weights in _blocks(rows):
        cells = wide[low - top : low - top + weights.shape[1]]
        step = max(1, _PRODUCT // weights.size)
        for start in range(0, wide.shape[1], step):
            part = slice(start, start + step)
            np.greater(weights @ cells[:, part], 0, out=out[span, part])
    return out


def _blocks(axis: AxisWeights) -> Iterator[tuple[slice, int, NDArray[np.float32]]]:
    """Output positions in short spans, each with its first cell and its dense weights, which are nearly a band."""
    for start in range(0, len(axis.cells), _BLOCK):
        block = axis[start : start + _BLOCK]
        low, high = int(block.cells.min()), int(block.cells.max()) + 1
        yield slice(start, start + _BLOCK), low, block.dense(low, high)
