"""How sure a gain is: a paired bootstrap over images.

Whole images are drawn, because objects of one image are alike (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, chapter 8), and both models are compared on the same draws. With few images the percentiles of a
bootstrap lie too close together, so they are expanded as Hesterberg proposes ("What Teachers Should Know About the
Bootstrap", The American Statistician 2015): by Student's t in the place of the normal distribution and by n / (n - 1).
Of 1,500 drawn candidates that were as good as the model in service, on five images with six objects each, 11 % had a
lower bound above 0 and not 17 % as with plain percentiles; 10 % is what a bound at 90 % promises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput

RESAMPLES = 2000
LEVEL = 0.9
_COUNTS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Gain:
    """Candidate less served, in one measure.

    Attributes:
        served: Mean over objects.
        candidate: Likewise.
        mean: Their difference; positive is more, which is worse where fewer clicks are better.
        low: Its lower bound: with a confidence of 90 % the true difference is not below it. None with one image only.
        high: Its upper bound, likewise.
        objects: How many objects it is measured on.
        images: On how many images these lie.
    """

    served: float
    candidate: float
    mean: float
    low: float | None
    high: float | None
    objects: int
    images: int

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Gain:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If it is something else.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise InvalidInput(f"this is no gain of a model: {error}") from error


@dataclass(frozen=True, eq=False)
class Compared:
    """One measure of two models on the same objects.

    Attributes:
        served: (n,) numbers.
        candidate: (n,) numbers.
        chosen: (n,) bool, the objects that count, at least one; None for all.
    """

    served: ArrayLike
    candidate: ArrayLike
    chosen: NDArray[np.bool_] | None = None


def paired_gains(
    compared: Sequence[Compared],
    images: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Gain]:
    """The gain in each measure, all of them on the same draws of images.

    The mean is over objects, so an image weighs as much as it has objects.

    Args:
        compared: Measures.
        images: (n,) the image of each object. Neither their order nor that of the objects matters.
        resamples: How often images are drawn.
        seed: Of the draws.
        level: Confidence of each bound, one-sided.

    Raises:
        InvalidInput: If a measure is not (n,), not finite, or chooses no object.
    """
    if not compared:
        return []
    _, owner = np.unique(np.asarray(images, dtype=np.str_), return_inverse=True)
    before, after = (np.array([getattr(one, side) for one in compared], dtype=np.float64) for side in _SIDES)
    kept = np.array([np.ones(len(owner), np.bool_) if one.chosen is None else one.chosen for one in compared])
    if before.shape != (len(compared), len(owner)) or after.shape != before.shape or kept.shape != before.shape:
        raise InvalidInput("each measure needs one number of each model for every object")
    if not (np.isfinite(before).all() and np.isfinite(after).all()) or not kept.any(axis=1).all():
        raise InvalidInput("a measure holds a number that is not finite, or no object at all")
    # (images, measures): what each image adds to the sums that a mean is made of.
    sums = np.stack([np.bincount(owner, np.where(k, b - a, 0)) for a, b, k in zip(before, after, kept, strict=True)], 1)
    counts = np.stack([np.bincount(owner, k) for k in kept], 1)
    drawn = _drawn_means(sums, counts, resamples, seed)
    found = []
    for measure, (a, b, k) in enumerate(zip(before, after, kept, strict=True)):
        holding = int(np.count_nonzero(counts[:, measure]))
        low, high = _bounds(drawn[:, measure], holding, level)
        served, candidate = float(a[k].mean()), float(b[k].mean())
        mean = float((b - a)[k].mean())
        found.append(Gain(served, candidate, mean, low, high, int(k.sum()), holding))
    return found


_SIDES = ("served", "candidate")


def _drawn_means(sums: NDArray[Any], counts: NDArray[Any], resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, measures); NaN where no image that counts was drawn."""
    images = len(sums)
    rng = np.random.default_rng(seed)
    step = max(1, _COUNTS_AT_ONCE // images)
    parts = []
    for start in range(0, resamples, step):
        # How often each image is drawn is all that matters of a draw with replacement.
        times = rng.multinomial(images, np.full(images, 1 / images), min(step, resamples - start)).astype(np.float64)
        held = times @ counts
        parts.append(np.divide(times @ sums, held, out=np.full_like(held, np.nan), where=held > 0))
    return np.concatenate(parts)


def _bounds(drawn: NDArray[np.float64], images: int, level: float) -> tuple[float | None, float | None]:
    """Lower and upper bound from resampled means over so many images."""
    if images < 2:
        return None, None
    from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]

    outside = float(ndtr(-math.sqrt(images / (images - 1)) * stdtrit(images - 1, level)))
    low, high = np.nanquantile(drawn, [outside, 1 - outside])
    return float(low), float(high)
