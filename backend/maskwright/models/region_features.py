"""What the image tagger sees in regions, as vectors that a class head can learn from.

Two looks, put side by side: stage 5 of the network (stride 16, texture and parts) over the whole image, once, averaged
over each mask's share of every place; and the pooled output of the network on the region cut out of its surroundings
(what it is as a whole). Chosen on half of a street set by accuracy after corrections from 1 to 10 images among strides
4, 8, 16 and 32, inputs of 320 to 896 pixels, spreads beside means, and crops with surroundings: stride 16 at 640 was
the best single look, 8 to 14 points over stride 32; the cut-out added up to 6 points of mean accuracy over classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.protocols import RGB
from maskwright.models.region_classifier import REGIONS_PER_BATCH, crops
from maskwright.models.tagger import POOLED_CHANNELS, ImageNetTagger

SIDE = 640
"""Longer side of the image as the network sees it, in pixels."""
STAGE, STAGE_CHANNELS = 4, 112
"""The fifth stage: stride 16."""
CUT_OUT_WEIGHT = 0.7
"""Length of the cut-out's part of a vector beside the length 1 of the stage's part."""
DIMENSIONS = STAGE_CHANNELS + POOLED_CHANNELS


def coverage(masks: Sequence[Mask], grid: tuple[int, int]) -> NDArray[np.float32]:
    """How each mask is spread over a grid laid over the image: (M, h, w) float32, each summing to 1, or 0 if empty.

    Args:
        masks: M masks.
        grid: (h, w) places.
    """
    shares = np.zeros((len(masks), *grid), dtype=np.float32)
    for share, mask in zip(shares, masks, strict=True):
        if mask.is_empty:
            continue
        share[:] = cv2.resize(mask.to_array().astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
        total = float(share.sum())
        if total == 0.0:  # smaller than a place of an image that was enlarged
            left, top, right, bottom = mask.box
            row = int((top + bottom) / 2 / mask.height * grid[0])
            share[row, int((left + right) / 2 / mask.width * grid[1])] = 1.0
        else:
            share /= total
    return shares


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d) rows scaled to length 1; rows of zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.where(lengths > 0, lengths, np.float32(1))
    return scaled


class RegionFeatures:
    """Regions to vectors. Thread-safe; the tagger's weights load with the first region.

    Args:
        tagger: Whose features are read; may be shared with a classifier.
    """

    def __init__(self, tagger: ImageNetTagger) -> None:
        self._tagger = tagger
        self.version = f"region-features-1({tagger.version})"

    def describe(self, image: RGB, masks: Sequence[Mask]) -> NDArray[np.float32]:
        """(M, 1392) float32: the image is looked at once, each region's cut-out once more. Empty masks get zeros.

        Args:
            image: (H, W, 3) uint8 RGB.
            masks: M masks of the image's size.

        Raises:
            InvalidInput: If a mask is of another size than the image, or the image is not (H, W, 3) uint8.
            ModelUnavailable: If the weights are not installed.
        """
        for mask in masks:
            if tuple(mask.size) != image.shape[:2]:
                raise InvalidInput(f"a mask of {mask.size} (height, width) does not fit an image of {image.shape[:2]}")
        vectors: NDArray[np.float32] = np.zeros((len(masks), DIMENSIONS), dtype=np.float32)
        shown = [index for index, mask in enumerate(masks) if not mask.is_empty]
        if not shown:
            return vectors
        places = self._tagger.stage(image, SIDE, STAGE)
        shares = coverage([masks[index] for index in shown], (places.shape[1], places.shape[2]))
        vectors[shown, :STAGE_CHANNELS] = unit(
            shares.reshape(len(shown), -1) @ places.reshape(STAGE_CHANNELS, -1).T,
        )
        for start in range(0, len(shown), REGIONS_PER_BATCH):
            batch = shown[start : start + REGIONS_PER_BATCH]
            alone = self._tagger.pooled([crops(image, masks[index])[1] for index in batch])
            vectors[batch, STAGE_CHANNELS:] = unit(alone) * np.float32(CUT_OUT_WEIGHT)
        return vectors

    def directions(self, votes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Which way the vectors of regions lie from the mean of all that show what tags speak for.

        The tagger reads its tags off the cut-out's part of a vector linearly, so that words, which vote through tags,
        are directions of that part; the stage's part has no words.

        Args:
            votes: (1000, C) share of each tag in each of C meanings, as ``TagRegionClassifier.votes`` gives them.

        Returns:
            (1392, C) float32 columns of length 1, or 0 where all tags vote alike.

        Raises:
            ModelUnavailable: If the weights are not installed.
        """
        weights = self._tagger.tag_weights()
        meant = (votes - votes.mean(axis=0)).T @ (weights - weights.mean(axis=0))
        found = np.zeros((DIMENSIONS, votes.shape[1]), dtype=np.float32)
        found[STAGE_CHANNELS:] = unit(meant.astype(np.float32)).T
        return found
