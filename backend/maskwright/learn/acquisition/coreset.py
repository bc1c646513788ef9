"""Diversity: images unlike those that are labelled already, and unlike each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import Candidate, Context, Scores
from maskwright.learn.acquisition.looking import without_padding
from maskwright.learn.acquisition.ordering import Spread, canonical
from maskwright.models.protocols import ImageEmbedding


class CoreSet:
    """Distance of every image to the nearest labelled or earlier chosen one, by k-centre greedy.

    Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (ICLR 2018): every image
    shall have a labelled one near it; the greedy choice is within twice the best radius. The first ``Context.batch``
    choices are made one after the other; the others keep their distance to what is covered then. Without any labelled
    image the most central one is the first.
    """

    name = "core-set"

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """See ``AcquisitionFunction``; of images alike all but one get 0.

        Raises:
            InvalidInput: If a candidate has no vector, or vectors of different lengths.
        """
        order = canonical([candidate.key for candidate in candidates])
        found = np.zeros(len(order), dtype=np.float64)
        if not len(order):
            return found
        spread = Spread(features([candidates[i] for i in order]), context.labelled)
        left = np.ones(len(order), dtype=bool)
        for turn in range(min(context.batch, len(order))):
            reach = np.where(left, spread.reach(), -1.0)
            best = int(reach.argmax())
            first = turn == 0 and not context.labelled.size
            left[best] = False
            spread.cover(best)
            # The first of all comes before the second, whose distance is the largest to it.
            found[order[best]] = 2 * spread.reach().max() if first else reach[best]
        found[order[left]] = spread.reach()[left]
        return found


def features(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """(n, d) float32 vectors of the candidates; those that cannot be compared (not finite) count as zeros.

    Raises:
        InvalidInput: If a candidate has none, or one of another length than the first.
    """
    rows: list[NDArray[np.float32]] = []
    for candidate in candidates:
        if candidate.feature is None:
            raise InvalidInput(f"image {candidate.key}: no vector says what it shows; measure it first")
        if candidate.feature.ndim != 1 or (rows and candidate.feature.shape != rows[0].shape):
            raise InvalidInput(
                f"image {candidate.key}: its vector has shape {candidate.feature.shape}; all must be alike: "
                "measure all images with the same model"
            )
        rows.append(np.asarray(candidate.feature, dtype=np.float32))
    made = np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
    return np.nan_to_num(made, nan=0.0, posinf=0.0, neginf=0.0)


def pooled(embedding: ImageEmbedding) -> NDArray[np.float32]:
    """What an image shows, as a vector of length 1: mean and spread of every channel of its embedding.

    Of the embedding's arrays (C, h, w) the one with most channels is taken, which is the most abstract one in every
    family that learns; engines without learnt features give shares of colours.

    Returns:
        (d,) float32.
    """
    maps = [a for a in embedding.arrays.values() if a.ndim == 3 and np.issubdtype(a.dtype, np.floating)]
    if maps:
        array = max(maps, key=lambda a: a.shape[0]).astype(np.float32)
        shown = without_padding(array, embedding)
        flat = shown.reshape(len(shown), -1)
        vector = np.concatenate([flat.mean(axis=1), flat.std(axis=1)])
    else:
        pictures = [a for a in embedding.arrays.values() if a.ndim == 3 and a.dtype == np.uint8 and a.shape[2] == 3]
        if not pictures:
            raise InvalidInput("the image embedding holds nothing that images can be compared by")
        levels = (pictures[0].reshape(-1, 3) >> 6).astype(np.int64) @ np.array([16, 4, 1])
        vector = np.sqrt(np.bincount(levels, minlength=64).astype(np.float32))
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, dtype=np.float32)
