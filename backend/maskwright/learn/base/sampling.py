"""One training picture with masks, and the rules that every source of them keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""
Pixels = NDArray[np.bool_]
"""(H, W) bool."""
Floats = NDArray[np.float32]
SMALLEST_SIDE = 160
MOST_MASKS = 12
SMALLEST_SHARE = 0.0015
LARGEST_SHARE = 0.80
MOST_TRIES = 30


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and some things in it that an annotator might want.

    Attributes:
        image: (H, W, 3) uint8 RGB; the longer side is the ``side`` that the source was opened with, the shorter one at
            least ``SMALLEST_SIDE``.
        masks: 1 to ``MOST_MASKS`` arrays (H, W) bool of visible parts, each between ``SMALLEST_SHARE`` and
            ``LARGEST_SHARE`` of the picture. They may overlap and nest.
        source: Name of the source.
    """

    image: Image
    masks: tuple[Pixels, ...]
    source: str


class Source(Protocol):
    """An endless stream of samples.

    Attributes:
        name: As in ``Sample.source``.
    """

    name: str

    def sample(self, rng: np.random.Generator) -> Sample:
        """A new sample. The same state of ``rng`` gives the same bytes, whatever was drawn before."""
        ...


def kept(masks: Iterable[Pixels], rng: np.random.Generator, most: int = MOST_MASKS) -> tuple[Pixels, ...]:
    """The masks of a permitted size; at most ``most`` of them, chosen by ``rng``, in their order."""
    fitting = [m for m in masks if SMALLEST_SHARE * m.size <= np.count_nonzero(m) <= LARGEST_SHARE * m.size]
    if len(fitting) > most:
        fitting = [fitting[k] for k in sorted(rng.permutation(len(fitting))[:most])]
    return tuple(fitting)


def frame(rng: np.random.Generator, side: int, flattest: float = 0.6) -> tuple[int, int]:
    """Height and width of a picture whose longer side is ``side``; the shorter is ``flattest`` to 1 of it."""
    short = max(SMALLEST_SIDE, round(side * np.exp(rng.uniform(np.log(flattest), 0.0))))
    short = side if rng.random() < 0.15 else min(short, side)
    return (short, side) if rng.random() < 0.7 else (side, short)


def check_side(side: int) -> int:
    """``side`` itself.

    Raises:
        InvalidInput: If pictures of that size cannot be made.
    """
    if not SMALLEST_SIDE <= side <= 4096:
        raise InvalidInput(f"side: {side} is not between {SMALLEST_SIDE} and 4096 pixels")
    return side
