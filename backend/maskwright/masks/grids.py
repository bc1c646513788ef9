"""Grids of semantic descriptors: one class name for each of N x N cells of an image.

Source: Lan et al., "Text4Seg: Reimagining Image Segmentation as Text Generation", ICLR 2025, arXiv 2410.09855. The
paper samples the nearest pixel, so that objects smaller than a cell may vanish; two other ways are offered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput
from maskwright.masks.cells import cell_areas, cell_bounds, cell_sizes, cells_by_middle, mask_of_cells
from maskwright.masks.frames import Size, checked_size
from maskwright.masks.mask import Mask

BACKGROUND = "others"
"""What stands in the cells of no class, as in the paper. A class of that name, in any case, is the background."""
MOST_SIDE = 128
MOST_LABEL = 1000
"""Characters of a descriptor. What is longer is no name, and a parser may not have to look at it."""

Sampling = Literal["nearest", "majority", "any"]
"""What a cell is called after: the pixel in its middle; the class with the most pixels in it, where a draw goes to the
class rather than to the background; or the class with the most pixels, however few, so that no object vanishes."""
Layer = tuple[str, Mask]
"""A class name and its pixels."""


@dataclass(frozen=True, eq=False)
class DescriptorGrid:
    """One class name for each of N x N cells. Grids with the same name in every cell are equal.

    Attributes:
        names: The names that cells may have, all different; the first is ``BACKGROUND``.
        cells: (N, N) int32, read-only: index into ``names``, rows from the top.

    Raises:
        InvalidInput: If the cells are not N x N whole numbers that index ``names``, N from 1 to ``MOST_SIDE``; if a
            name is blank, repeated, or longer than ``MOST_LABEL``; or if the first is not the background.
    """

    names: tuple[str, ...]
    cells: NDArray[np.int32]

    def __post_init__(self) -> None:
        cells = np.array(self.cells)
        if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or cells.dtype.kind not in "iu":
            raise InvalidInput(f"a grid of descriptors is N x N whole numbers, not {cells.shape} {cells.dtype}")
        checked_side(cells.shape[0])
        if self.names[:1] != (BACKGROUND,):
            raise InvalidInput(f"the first name of a grid is that of the background, {BACKGROUND!r}")
        if len(set(self.names)) != len(self.names):
            raise InvalidInput("a name occurs twice in a grid; give every class one name")
        for name in self.names[1:]:
            checked_name(name)
        if cells.min() < 0 or cells.max() >= len(self.names):
            raise InvalidInput(f"the cells of a grid are 0 to {len(self.names) - 1}, one number for each name")
        cells = cells.astype(np.int32)
        cells.setflags(write=False)
        object.__setattr__(self, "cells", cells)

    @classmethod
    def from_words(cls, words: Sequence[Sequence[str]]) -> DescriptorGrid:
        """From N rows of N names; ``others``, in any case, is the background.

        Raises:
            InvalidInput: If they are not N x N, or a name is blank or too long.
        """
        known: dict[str, int] = {}
        rows = [[_index(known, word) for word in row] for row in words]
        if any(len(row) != len(rows) for row in rows):
            raise InvalidInput(f"a grid of {len(rows)} rows has {len(rows)} names in each row")
        return cls((BACKGROUND, *known), np.array(rows, dtype=np.int32).reshape(len(rows), -1))

    @property
    def side(self) -> int:
        """N, the number of cells along each side."""
        return int(self.cells.shape[0])

    @property
    def present(self) -> tuple[str, ...]:
        """The names that some cell has, without the background, in the order of ``names``."""
        return tuple(self.names[i] for i in np.unique(self.cells) if i)

    def words(self) -> list[list[str]]:
        """N rows of N names."""
        return [[self.names[i] for i in row] for row in self.cells.tolist()]

    def marked(self, name: str) -> NDArray[np.bool_]:
        """(N, N) bool: which cells have a name; none of them where the grid does not know it."""
        index = self.names.index(name) if name in self.names else -1
        marked: NDArray[np.bool_] = self.cells == index
        return marked

    def mask(self, name: str, size: Size) -> Mask:
        """The pixels of an (H, W) frame in cells of that name."""
        return mask_of_cells(self.marked(name), checked_size(size))

    def masks(self, size: Size) -> dict[str, Mask]:
        """The pixels of an (H, W) frame by name, without the background; only names that some cell has."""
        return {name: self.mask(name, size) for name in self.present}

    def label_map(self, size: Size) -> NDArray[np.int32]:
        """(H, W) int32: the index into ``names`` of each pixel's cell."""
        height, width = (np.diff(cell_bounds(length, self.side)) for length in checked_size(size))
        return self.cells.repeat(height, axis=0).repeat(width, axis=1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DescriptorGrid):
            return NotImplemented
        return self.words() == other.words()

    def __hash__(self) -> int:
        return hash(tuple(map(tuple, self.words())))


def checked_side(side: int) -> int:
    """N as it was given.

    Raises:
        InvalidInput: If it is not a whole number from 1 to ``MOST_SIDE``.
    """
    if side != int(side) or not 1 <= side <= MOST_SIDE:
        raise InvalidInput(f"the side of a grid of descriptors is 1 to {MOST_SIDE} cells, not {side}")
    return int(side)


def checked_name(name: str) -> str:
    """A descriptor as it was given.

    Raises:
        InvalidInput: If it is blank or has more than ``MOST_LABEL`` characters.
    """
    if not name.strip():
        raise InvalidInput("a descriptor is blank; every class needs a name")
    if len(name) > MOST_LABEL:
        raise InvalidInput(f"a descriptor has at most {MOST_LABEL} characters; {name[:40]!r}... has {len(name)}")
    return name


def is_background(name: str) -> bool:
    """Whether a name means no class."""
    return name.strip().casefold() == BACKGROUND


def grid_of_mask(mask: Mask, name: str, side: int = 16, sampling: Sampling = "nearest") -> DescriptorGrid:
    """The grid of one object.

    Raises:
        InvalidInput: On a blank name or a side out of bounds.
    """
    return grid_of_layers([(name, mask)], side, sampling)


def grid_of_layers(layers: Sequence[Layer], side: int = 16, sampling: Sampling = "nearest") -> DescriptorGrid:
    """The grid of masks that lie on each other.

    Args:
        layers: Names and masks of one size in the order of drawing: later ones lie on top. A name may occur often.
        side: N.
        sampling: What a cell is called after.

    Raises:
        InvalidInput: If the masks differ in size, a name is blank or too long, or the side is out of bounds.
    """
    checked_side(side)
    known: dict[str, int] = {}
    indices = [_index(known, name) for name, _ in layers]
    if len({mask.size for _, mask in layers}) > 1:
        raise InvalidInput("the masks of one grid have one size; these differ")
    cells: NDArray[np.int32] = np.zeros((side, side), dtype=np.int32)
    for index, (_, mask) in zip(indices, layers, strict=True):
        cells[cells_by_middle(mask, side)] = index
    if sampling != "nearest" and layers:
        sizes = cell_sizes(layers[0][1].size, side)
        areas = np.zeros((len(known) + 1, side, side), dtype=np.int64)
        for index, mask in zip(indices, visible_parts([mask for _, mask in layers]), strict=True):
            areas[index] += cell_areas(mask, side)
        areas[0] = sizes - areas[1:].sum(axis=0)
        found = _named_by_area(areas, sampling)
        cells[sizes > 0] = found[sizes > 0]  # cells without a pixel are called after the nearest one
    return DescriptorGrid((BACKGROUND, *known), cells)


def grid_of_label_map(
    label_map: ArrayLike, names: Mapping[int, str], side: int = 16, sampling: Sampling = "nearest"
) -> DescriptorGrid:
    """The grid of a label map.

    Args:
        label_map: (H, W) whole numbers.
        names: Class name by number; pixels with another number are background.
        side: N.
        sampling: What a cell is called after.

    Raises:
        InvalidInput: If the label map is not (H, W) whole numbers, a name is blank, or the side is out of bounds.
    """
    values = np.asarray(label_map)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "bui":
        raise InvalidInput(f"a label map is (H, W) whole numbers, not {values.shape} {values.dtype}")
    used = names if len(names) < 2 else {v: names[v] for v in np.unique(values).tolist() if v in names}
    return grid_of_layers([(name, Mask.from_array(values == v)) for v, name in used.items()], side, sampling)


def visible_parts(masks: Sequence[Mask]) -> list[Mask]:
    """What is seen of masks of one size that lie on each other, later ones on top."""
    boxes = np.array([mask.box for mask in masks]).reshape(-1, 4)
    seen = []
    for number, mask in enumerate(masks):
        left, top, right, bottom = mask.box
        later = boxes[number + 1 :]
        touching = (later[:, 0] < right) & (later[:, 2] > left) & (later[:, 1] < bottom) & (later[:, 3] > top)
        above = [masks[number + 1 + int(i)] for i in np.flatnonzero(touching)]
        seen.append(mask.difference(*above) if above else mask)
    return seen


def _named_by_area(areas: NDArray[np.int64], sampling: Sampling) -> NDArray[np.int64]:
    """(N, N) index of the name that wins each cell, from (names, N, N) pixels with the background first."""
    if len(areas) == 1:
        return np.zeros(areas.shape[1:], dtype=np.int64)
    best = areas[1:].argmax(axis=0) + 1
    most = areas[1:].max(axis=0)
    if sampling == "any":
        return np.where(most > 0, best, 0)
    return np.where((most > 0) & (most >= areas[0]), best, 0)


def _index(known: dict[str, int], name: str) -> int:
    """The number of a name, which is given one if it is new; 0 for the background."""
    if is_background(name):
        return 0
    return known.setdefault(checked_name(name), len(known) + 1)


def with_instances(layers: Iterable[Layer]) -> list[Layer]:
    """The same layers with each object numbered within its class, ``dog#1``, ``dog#2``: our extension of the paper's
    semantic form, in which two objects of a class merge."""
    counted: dict[str, int] = {}
    numbered = []
    for name, mask in layers:
        if is_background(name):
            numbered.append((name, mask))
            continue
        counted[name] = counted.get(name, 0) + 1
        numbered.append((f"{name}#{counted[name]}", mask))
    return numbered
