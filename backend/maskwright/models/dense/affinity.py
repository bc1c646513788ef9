"""Objects without names: masks from where a class token attends, and from which patches are alike.

TokenCut (Wang et al., CVPR 2022) cuts the graph of like patches in two; MaskCut (Wang et al., CVPR 2023) does so again
on what is left. Both were made for the keys of DINO's last block.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.linalg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh  # type: ignore[import-untyped]

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.dense.input_grid import unit
from maskwright.models.upsample import mask_from_logits

Grid = NDArray[np.bool_]

MASS = 0.6
LIKE = 0.2
"""Cosine from which two patches are alike."""
WEAK = 1e-5
"""Weight of an edge between patches that are not: the graph stays connected."""
OBJECTS = 3
LEAST_SHARE = 0.01
MOST_CORNERS = 2
_DENSE = 400
"""Patches up to which all of the eigenproblem is solved at once; the time grows with their cube."""
_MOST = 4096
"""Patches at most: the graph has a weight for every pair."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A graph of patches cut in two.

    Attributes:
        foreground: (h, w) bool: the side that is taken for objects.
        seed: (row, column) of the eigenvector's largest value on the foreground.
    """

    foreground: Grid
    seed: tuple[int, int]


def attended(attention: NDArray[np.float32], mass: float = MASS) -> Grid:
    """The fewest patches that hold a share of the attention (DINO's way of showing it, Caron et al., ICCV 2021).

    Args:
        attention: (h, w), not negative.
        mass: Share in (0, 1] of their sum.

    Returns:
        (h, w) bool.
    """
    if not 0 < mass <= 1 or attention.min() < 0:
        raise InvalidInput("attention is not negative, and the share of it that a mask holds is above 0 and at most 1")
    order = np.argsort(-attention, axis=None, kind="stable")
    shares = np.cumsum(attention.reshape(-1)[order], dtype=np.float64)
    chosen = np.zeros(attention.size, dtype=np.bool_)
    if shares[-1] > 0:
        chosen[order[: int(np.searchsorted(shares, mass * shares[-1] * (1 - 1e-12))) + 1]] = True
    return chosen.reshape(attention.shape)


def affinity(vectors: NDArray[np.float32], like: float = LIKE) -> NDArray[np.float64]:
    """(n, n) float64 weights of n vectors: 1 where the cosine is above ``like``, else ``WEAK``."""
    directions = unit(vectors)
    return np.where(directions @ directions.T > like, 1.0, WEAK)


def second_smallest(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The generalised eigenvector y of ``(D - W) y = lambda D y`` with the second smallest lambda (Normalised Cut).

    With ``y = D^-1/2 z`` this is the ordinary problem of ``D^-1/2 W D^-1/2``, whose first eigenvector is known
    (``D^1/2 1``): it is taken out, and the largest of the rest is the one looked for. More than 400 patches are solved
    by Lanczos' iteration from a fixed start.

    Args:
        weights: (n, n) float64 symmetric, positive, n >= 2.

    Returns:
        (n,) float64 of length 1; its sign means nothing.
    """
    degrees = weights.sum(axis=1)
    root = np.sqrt(degrees)
    balanced = weights / np.outer(root, root)
    first = root / np.linalg.norm(root)
    n = len(weights)
    if n <= _DENSE:
        rest = balanced - 2 * np.outer(first, first)
        vector = scipy.linalg.eigh(rest, subset_by_index=[n - 1, n - 1])[1][:, 0]
    else:

        def without_first(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            flat = vector.reshape(-1)
            product: NDArray[np.float64] = balanced @ flat - 2 * (first @ flat) * first
            return product

        start = np.random.default_rng(0).standard_normal(n)
        operator = LinearOperator((n, n), matvec=without_first, dtype=np.float64)
        vector = eigsh(operator, k=1, which="LA", v0=start)[1][:, 0]
    found: NDArray[np.float64] = vector / root
    return found / np.linalg.norm(found)


def token_cut(features: NDArray[np.float32], like: float = LIKE, *, among: Grid | None = None) -> Cut | None:
    """Cut the patches in two at the mean of the eigenvector; the objects' side holds its largest absolute value.

    A side with three or four of the image's corners is the background, whatever its values.

    Args:
        features: (h, w, d) of any lengths; best the keys of DINO's last block.
        like: Cosine from which two patches are alike.
        among: (h, w) bool: only these patches; None = all.

    Returns:
        The cut, or None where all patches are alike or all differ, so that there is nothing to cut.

    Raises:
        InvalidInput: If there are more than 4096 patches.
    """
    height, width = features.shape[:2]
    chosen = np.ones((height, width), dtype=np.bool_) if among is None else among
    if chosen.sum() > _MOST:
        raise InvalidInput(f"{int(chosen.sum())} patches are too many to compare with each other; {_MOST} at most")
    weights = affinity(features[chosen], like)
    off_diagonal = weights[~np.eye(len(weights), dtype=np.bool_)]
    if not len(off_diagonal) or off_diagonal.min() == off_diagonal.max():
        return None
    vector = second_smallest(weights)
    strength = np.zeros((height, width))
    strength[chosen] = vector - vector.mean()
    if vector[np.abs(vector).argmax()] < vector.mean():
        strength = -strength
    if (strength[[0, 0, -1, -1], [0, -1, 0, -1]] > 0).sum() > MOST_CORNERS:
        strength = -strength
    row, column = np.unravel_index(int(strength.argmax()), strength.shape)
    return Cut((strength > 0) & chosen, (int(row), int(column)))


def mask_cut(features: NDArray[np.float32], objects: int = OBJECTS, like: float = LIKE) -> list[Grid]:
    """One object after the other: cut, keep the connected part with the seed, leave it out, cut what remains.

    The masks share no patch, so that none can be found twice.

    Args:
        features: (h, w, d) of any lengths; best the keys of DINO's last block.
        objects: Masks at most.
        like: Cosine from which two patches are alike.

    Returns:
        (h, w) bool masks, those above 1 % of the patches, in the order in which they were found.
    """
    left = np.ones(features.shape[:2], dtype=np.bool_)
    masks: list[Grid] = []
    for _ in range(objects):
        cut = token_cut(features, like, among=left)
        if cut is None:
            break
        parts = cv2.connectedComponents(cut.foreground.astype(np.uint8), connectivity=4)[1]
        part = parts == parts[cut.seed]
        left &= ~part
        if part.sum() > LEAST_SHARE * part.size:
            masks.append(part)
    return masks


def enlarged(patches: Grid, size: tuple[int, int]) -> Mask:
    """A mask of ``size`` (H, W) from (h, w) patches, its outline bilinear: a draft for a segmenter to refine."""
    return mask_from_logits(patches.astype(np.float32) - np.float32(0.5), size)
