"""From regions that overlap to one owner per pixel, by run lengths: the later-drawn region lies on top.

Formats of a single layer (label maps, panoptic images) can hold one region per pixel only. The sweep below cuts the
rows at every edge of every mask; each stretch between two cuts belongs to the last mask that covers it. Time and memory
go with the outlines, never with the area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask, Size
from maskwright.masks.frames import expand
from maskwright.masks.runs import cancel

NOBODY = -1


@dataclass(frozen=True, eq=False)
class Layers:
    """A frame cut into stretches of pixels along its rows, each with one owner.

    Attributes:
        size: (H, W) in pixels.
        masks: What was laid on top of each other, lowest first.
        starts: (m,) int64 row-major positions ``row * W + column`` at which a stretch begins; the first is 0, the last
            stretch ends with the frame.
        owners: (m,) int64 index of the mask that shows there, or -1 where there is none.
    """

    size: Size
    masks: tuple[Mask, ...]
    starts: NDArray[np.int64] = field(repr=False)
    owners: NDArray[np.int64] = field(repr=False)

    @cached_property
    def shown(self) -> NDArray[np.int64]:
        """(n,) int64: how many pixels of each mask show."""
        return self.counted(self.owners, len(self.masks))

    @cached_property
    def hidden(self) -> NDArray[np.int64]:
        """(n,) int64: how many pixels of each mask lie below later ones."""
        return np.array([mask.area for mask in self.masks], dtype=np.int64) - self.shown

    @cached_property
    def visible(self) -> tuple[Mask, ...]:
        """What shows of each mask; the mask itself where all of it does."""
        return tuple(
            self.where(self.owners == i) if hidden else self.masks[i] for i, hidden in enumerate(self.hidden.tolist())
        )

    def counted(self, groups: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """Pixels per group.

        Args:
            groups: (m,) int64 group of each stretch, -1 for none.
            n: How many groups there are.

        Returns:
            (n,) int64.
        """
        lengths = np.diff(self.starts, append=self.size[0] * self.size[1])
        # Sums of float64 are exact here: a frame has fewer than 2**31 pixels.
        return np.bincount(groups + 1, weights=lengths, minlength=n + 1)[1:].astype(np.int64)

    def where(self, chosen: NDArray[np.bool_]) -> Mask:
        """The pixels of some stretches, given as (m,) bool."""
        ends = np.append(self.starts[1:], self.size[0] * self.size[1])
        return Mask(self.size, row_edges=cancel(np.concatenate([self.starts[chosen], ends[chosen]])))


def flatten(masks: Sequence[Mask], size: Size) -> Layers:
    """Lay masks on top of each other, the first at the bottom.

    Raises:
        InvalidInput: If a mask is not of ``size`` (H, W).
    """
    for mask in masks:
        if mask.size != size:
            raise InvalidInput(f"a mask of {mask.size} (height, width) in an image of {size}")
    edges = [mask.row_edges for mask in masks]
    starts: NDArray[np.int64] = np.unique(np.concatenate([np.zeros(1, dtype=np.int64), *edges]))
    owners: NDArray[np.int64] = np.full(len(starts), NOBODY, dtype=np.int64)
    for i, own in enumerate(edges):
        first, last = np.searchsorted(starts, own[::2]), np.searchsorted(starts, own[1::2])
        owners[expand(first, last - first)[1]] = i
    if starts[-1] == size[0] * size[1]:  # an edge after the last pixel begins nothing
        starts, owners = starts[:-1], owners[:-1]
    return Layers(size, tuple(masks), starts, owners)
