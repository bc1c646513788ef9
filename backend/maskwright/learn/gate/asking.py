"""What a model is asked on the held-out objects: which of them, with which boxes, for how many clicks.

Everything random follows from the seed and the names of image and object alone, so that two models are asked the very
same, whatever else is measured with them and in whatever order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.learn.interactive import MOST_CLICKS, REPORTED_CLICKS
from maskwright.masks import Mask
from maskwright.models.protocols import RGB
from maskwright.prompts import Box

PROMPT_TYPES = ("box", *(str(clicks) for clicks in REPORTED_CLICKS))
"""A box, and so many clicks: what a candidate may not get worse at."""
MOST_JITTER = 20.0
"""Pixels by which a side of a box is off at most, as in the training of Segment Anything (Kirillov et al. 2023)."""


@dataclass(frozen=True, eq=False)
class HeldOutObject:
    """An object that people left on a held-out image.

    Attributes:
        key: Names it within its image.
        label: Its class, or None.
        mask: Its pixels, at least one.
    """

    key: str
    label: str | None
    mask: Mask


@dataclass(frozen=True, eq=False)
class HeldOutImage:
    """A held-out image with its objects.

    Attributes:
        key: Names it within the project, e.g. the SHA-256 of its encoded bytes.
        pixels: Loads it: (H, W, 3) uint8 RGB. Called only if the image is to be measured, and not kept.
        objects: What people left on it.
    """

    key: str
    pixels: Callable[[], RGB]
    objects: tuple[HeldOutObject, ...]


@dataclass(frozen=True)
class Asking:
    """How a model is asked; measurements can only be compared if they were made alike.

    Attributes:
        most_objects: Of one image at most so many objects, drawn by the seed.
        most_clicks: Clicks on one object until it is given up, at least 5.
        jitter: How far each side of a box is off at most, as a share of the box's width or height; below 0.5.
        seed: Of the draws.

    Raises:
        InvalidInput: If a number is out of these bounds.
    """

    most_objects: int = 10
    most_clicks: int = MOST_CLICKS
    jitter: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.most_objects < 1:
            raise InvalidInput(f"most_objects is {self.most_objects}; ask for at least 1 object of an image")
        if self.most_clicks < max(REPORTED_CLICKS):
            raise InvalidInput(f"most_clicks is {self.most_clicks}; {max(REPORTED_CLICKS)} are reported on")
        if not 0 <= self.jitter < 0.5:
            raise InvalidInput(f"jitter is {self.jitter}; give a share of the box's side from 0 to below 0.5")

    def chosen(self, image: HeldOutImage) -> tuple[HeldOutObject, ...]:
        """The objects of an image to ask for, in the order of their keys.

        Raises:
            InvalidInput: If two objects have one key.
        """
        keys = [one.key for one in image.objects]
        if len(set(keys)) < len(keys):
            raise InvalidInput(f"image {image.key}: two objects have the same key, but each needs its own")
        drawn = sorted(image.objects, key=lambda one: self._digest(image.key, one.key, "draw"))[: self.most_objects]
        return tuple(sorted(drawn, key=lambda one: one.key))

    def box(self, image: str, one: HeldOutObject) -> Box:
        """The box (xyxy) that a person would draw around an object: the tight one with each side a little off."""
        x0, y0, x1, y1 = one.mask.box
        rng = np.random.default_rng(int.from_bytes(self._digest(image, one.key, "box")))
        off = rng.uniform(-1, 1, 4) * np.minimum(np.array([x1 - x0, y1 - y0] * 2) * self.jitter, MOST_JITTER)
        height, width = one.mask.size
        corners = np.clip(np.array([x0, y0, x1, y1]) + off, 0, [width, height, width, height])
        return float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3])

    def _digest(self, *names: str) -> bytes:
        text = "\x1f".join((str(self.seed), *names))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Asking:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: As for the class, or if it is something else.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise InvalidInput(f"this does not say how a model was asked: {error}") from error


def check_objects(image: HeldOutImage, objects: Sequence[HeldOutObject], size: tuple[int, int]) -> None:
    """Check objects against the (H, W) of their image.

    Raises:
        InvalidInput: If an object has no pixel or is not of this size; the message names it.
    """
    for one in objects:
        if one.mask.is_empty:
            raise InvalidInput(f"image {image.key}, object {one.key}: its mask has no pixel, so it cannot be asked for")
        if one.mask.size != size:
            raise InvalidInput(
                f"image {image.key}, object {one.key}: its mask is of size {one.mask.size}, the image of size {size}"
            )
