"""What neighbouring tiles of a large image saw of one object becomes one mask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from maskwright.images.tiles import IntBox
from maskwright.masks import Mask, pairwise_iou
from maskwright.models.protocols import Proposals

SAME_OBJECT_IOU = 0.5
"""Two masks that each are the other's best match inside the tiles' overlap are one object from this IoU on."""


@dataclass(frozen=True)
class Piece:
    """A mask found in one tile.

    Attributes:
        mask: Its pixels in the tile's frame.
        tile: The tile's place in the image, xyxy in whole pixels.
        predicted_iou: Estimate of its IoU with an object.
        stability: Its stability.
    """

    mask: Mask
    tile: IntBox
    predicted_iou: float
    stability: float


def stitch(pieces: list[Piece], size: tuple[int, int]) -> Proposals:
    """Join the pieces of objects that lie in several tiles; the masks of the result are of the image's ``size`` (H, W).

    Pieces of two tiles belong together if each is the other's best match where the tiles overlap. What ends at a tile's
    edge inside the image and has no partner beyond it is an artefact of tiling and goes. A joined mask is the union of
    its pieces; its predicted IoU and stability are their means, weighted by area.
    """
    groups = _Groups(len(pieces))
    by_tile: dict[IntBox, list[int]] = {}
    for i, piece in enumerate(pieces):
        if not piece.mask.is_empty:
            by_tile.setdefault(piece.tile, []).append(i)
    for first, second in combinations(by_tile, 2):
        overlap = _intersection(first, second)
        if overlap is not None:
            for i, j in _partners(pieces, by_tile[first], by_tile[second], overlap):
                groups.join(i, j)
    members: dict[int, list[int]] = {}
    for i in (i for indices in by_tile.values() for i in indices):
        members.setdefault(groups.root(i), []).append(i)
    whole = [group for group in members.values() if len(group) > 1 or not _is_cut(pieces[group[0]], size)]
    return Proposals(
        tuple(_union([pieces[i] for i in group], size) for group in whole),
        np.array([_mean(pieces, group, "predicted_iou") for group in whole], dtype=np.float32),
        np.array([_mean(pieces, group, "stability") for group in whole], dtype=np.float32),
    )


class _Groups:
    """Disjoint sets of piece numbers."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i

    def join(self, i: int, j: int) -> None:
        self._parent[self.root(j)] = self.root(i)


def _intersection(a: IntBox, b: IntBox) -> IntBox | None:
    box = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def _partners(pieces: list[Piece], first: list[int], second: list[int], overlap: IntBox) -> list[tuple[int, int]]:
    a = [(i, part) for i in first if not (part := _part(pieces[i], overlap)).is_empty]
    b = [(j, part) for j in second if not (part := _part(pieces[j], overlap)).is_empty]
    if not a or not b:
        return []
    iou = np.asarray(pairwise_iou([part for _, part in a], [part for _, part in b]))
    best_of_a, best_of_b = iou.argmax(axis=1), iou.argmax(axis=0)
    return [(a[r][0], b[c][0]) for r, c in enumerate(best_of_a) if best_of_b[c] == r and iou[r, c] >= SAME_OBJECT_IOU]


def _part(piece: Piece, overlap: IntBox) -> Mask:
    x, y = piece.tile[:2]
    return piece.mask.crop((overlap[0] - x, overlap[1] - y, overlap[2] - x, overlap[3] - y))


def _is_cut(piece: Piece, size: tuple[int, int]) -> bool:
    """Whether the piece ends at an edge of its tile that is not the image's border."""
    left, top, right, bottom = piece.mask.box
    x0, y0, x1, y1 = piece.tile
    height, width = size
    return (
        (left <= 0 < x0) or (top <= 0 < y0) or (right >= x1 - x0 and x1 < width) or (bottom >= y1 - y0 and y1 < height)
    )


def _union(group: list[Piece], size: tuple[int, int]) -> Mask:
    masks = [piece.mask.pasted(size, (piece.tile[0], piece.tile[1])) for piece in group]
    return masks[0].union(*masks[1:])


def _mean(pieces: list[Piece], group: list[int], name: str) -> float:
    areas = [pieces[i].mask.area for i in group]
    return float(np.average([getattr(pieces[i], name) for i in group], weights=areas))
