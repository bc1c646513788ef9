"""From an image to a detector's input, as the public processors make it, without their need for torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy.sparse import coo_array  # type: ignore[import-untyped]

from maskwright.errors import ModelUnavailable
from maskwright.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, InputFrame, Triple
from maskwright.models.protocols import RGB

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_TRUNCATE = 4.0
"""Standard deviations at which the smoothing ends."""


@dataclass(frozen=True)
class AspectFrame:
    """An input that keeps an image's proportions: a short side, unless the long side then gets too long.

    Attributes:
        short: Length of the shorter side in pixels.
        longest: Most that the longer side may have.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
    """

    short: int = 800
    longest: int = 1333
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD

    @classmethod
    def of(cls, processor: Mapping[str, Any]) -> AspectFrame:
        """With sizes and statistics of a checkpoint's preprocessor configuration, where it states them.

        Raises:
            ModelUnavailable: If it states something else than numbers, or a fixed size.
        """
        size = processor.get("size", {})
        try:
            short, longest = int(size.get("shortest_edge", 800)), int(size.get("longest_edge", 1333))
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelUnavailable(
                "the checkpoint's preprocessor configuration: size must hold shortest_edge and longest_edge"
            ) from error
        mean, std = _statistics(processor, IMAGENET_MEAN, IMAGENET_STD)
        return cls(short, longest, mean, std)

    def input_size(self, original_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the input for an (H, W) image; at least one pixel, however thin the image is."""
        height, width = original_size
        least, most = min(original_size), max(original_size)
        side = float(self.short)
        if most / least * self.short > self.longest:
            side = self.longest * least / most
        rounded = round(side)
        if rounded == least:
            return original_size
        other = int(side * most / least)
        short, long = max(1, rounded), max(1, other)
        return (short, long) if height <= width else (long, short)

    def pixels(self, image: RGB) -> NDArray[np.float32]:
        """(3, h, w) float32 of an (H, W, 3) uint8 RGB image: antialiased bilinear, normalised."""
        height, width = self.input_size((image.shape[0], image.shape[1]))
        resized = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BILINEAR)
        return _normalised(np.asarray(resized, dtype=np.float32), self.mean, self.std)


@dataclass(frozen=True)
class PaddedFrame:
    """A square input: the image is padded with black on the right and below, smoothed, and scaled bilinearly.

    The arithmetic is that of scikit-image's ``resize`` with anti-aliasing, with which OWLv2 was released.

    Attributes:
        side: Height and width of the input in pixels.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
    """

    side: int
    mean: Triple = CLIP_MEAN
    std: Triple = CLIP_STD

    @classmethod
    def of(cls, side: int, processor: Mapping[str, Any]) -> PaddedFrame:
        """With statistics of a checkpoint's preprocessor configuration, where it states them.

        Raises:
            ModelUnavailable: If they are not three numbers each.
        """
        return cls(side, *_statistics(processor, CLIP_MEAN, CLIP_STD))

    def pixels(self, image: RGB) -> NDArray[np.float32]:
        """(3, side, side) float32 of an (H, W, 3) uint8 RGB image."""
        operator = _resampling(max(image.shape[:2]), self.side)
        values: NDArray[Any] = image
        # What is padded is black and adds nothing, so that it is never made; the longer side shrinks first.
        for axis in sorted((0, 1), key=lambda axis: -image.shape[axis]):
            lines = np.moveaxis(values, axis, 0)
            scaled = operator[:, : len(lines)] @ lines.reshape(len(lines), -1).astype(np.float32)
            values = np.moveaxis(scaled.reshape(self.side, *lines.shape[1:]), 0, axis)
        return _normalised(values, self.mean, self.std)


def _statistics(processor: Mapping[str, Any], mean: Triple, std: Triple) -> tuple[Triple, Triple]:
    frame = InputFrame(1, keep_aspect=False, mean=mean, std=std).with_statistics_of(processor)
    return frame.mean, frame.std


def _normalised(values: NDArray[np.float32], mean: Triple, std: Triple) -> NDArray[np.float32]:
    """(3, h, w) float32 of (h, w, 3) in [0, 255]."""
    scaled = (values / np.float32(255) - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _resampling(count: int, size: int) -> Any:
    """(size, count) sparse float32: Gaussian smoothing, then linear interpolation between the centres of pixels.

    Both are mirrored at the outer pixels.
    """
    spread = max(0.0, (count / size - 1) / 2)
    radius = int(_TRUNCATE * spread + 0.5)
    distances = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (distances / spread) ** 2) if radius else np.ones(1)
    places = (np.arange(size) + 0.5) * (count / size) - 0.5
    before = np.floor(places).astype(np.int64)
    share = places - before
    weights = np.stack([1 - share, share], axis=1)[..., None] * (kernel / kernel.sum())
    nearest = _mirrored(np.stack([before, before + 1], axis=1), count)
    sources = _mirrored(nearest[..., None] + distances, count)
    targets = np.broadcast_to(np.arange(size)[:, None, None], sources.shape)
    entries = weights.ravel(), (targets.ravel(), sources.ravel())
    return coo_array(entries, shape=(size, count)).tocsr().astype(np.float32)


def _mirrored(index: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    inside = np.abs(index)
    return np.where(inside >= count, 2 * count - 2 - inside, inside).clip(0, count - 1)
