"""From an image of any shape to a grid of patches, seen through windows of the size that a network knows.

Open-vocabulary segmentation with CLIP slides a window of 224 to 336 pixels by 112 over an image whose shorter side is
that of the window, and averages what overlapping windows say (SCLIP, Wang et al., ECCV 2024; ProxyCLIP, Lan et al.,
ECCV 2024). The image is stretched by less than half a patch so that whole patches cover all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.preprocessing import InputFrame, Triple

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
BICUBIC = int(PillowImage.Resampling.BICUBIC)

Features = NDArray[np.float32]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class InputGrid:
    """How a network sees images.

    Attributes:
        patch: Side of a patch in pixels.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
        short_side: Shorter side of the resized image in pixels.
        longest: Longer side at most; thinner images are made smaller than ``short_side`` asks.
        window: Side of a window in pixels, or None where the network sees the whole image at once.
        stride: Step of the windows in pixels.
        resample: Filter of the resizing, as Pillow numbers them.
    """

    patch: int
    mean: Triple
    std: Triple
    short_side: int = 336
    longest: int = 2016
    window: int | None = 336
    stride: int = 112
    resample: int = BICUBIC

    @classmethod
    def of_checkpoint(
        cls, patch: int, processor: Mapping[str, Any], mean: Triple, std: Triple, **sizes: Any
    ) -> InputGrid:
        """The grid with the statistics and the filter of a checkpoint's ``preprocessor_config.json``.

        Args:
            patch: Side of a patch in pixels.
            processor: That file's content; may be empty.
            mean: What stands in for a mean that is not there.
            std: What stands in for a deviation that is not there.
            **sizes: Other attributes.

        Raises:
            ModelUnavailable: If the statistics do not hold three numbers, or there is no such filter.
        """
        frame = InputFrame(1, False, mean, std).with_statistics_of(processor)
        try:
            resample = int(PillowImage.Resampling(processor.get("resample", BICUBIC)))
        except ValueError as error:
            raise ModelUnavailable("the checkpoint's preprocessor configuration: no such 'resample'") from error
        return cls(patch, frame.mean, frame.std, resample=resample, **sizes)

    def cells(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) patches that cover an image of ``size`` (H, W)."""
        scale = min(self.short_side / min(size), self.longest / max(size))
        rows, columns = (max(1, round(side * scale / self.patch)) for side in size)
        return rows, columns

    def pixels(self, image: NDArray[np.uint8]) -> Features:
        """An (H, W, 3) uint8 RGB image resized and normalised: (3, h * patch, w * patch) float32.

        Raises:
            InvalidInput: If the image has another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InvalidInput(f"an image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
        rows, columns = self.cells((image.shape[0], image.shape[1]))
        resized = PillowImage.fromarray(image).resize(
            (columns * self.patch, rows * self.patch), PillowImage.Resampling(self.resample)
        )
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        values = (np.asarray(resized, dtype=np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)

    def windows(self, cells: tuple[int, int]) -> list[Window]:
        """Rows and columns of patches that each window shows; all of one size, together they show every patch."""
        spans = []
        for length in cells:
            side = length if self.window is None else min(length, max(1, round(self.window / self.patch)))
            step = max(1, min(side, round(self.stride / self.patch)))
            starts = sorted({*range(0, length - side + 1, step), length - side})
            spans.append([slice(start, start + side) for start in starts])
        return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def slide(
    image: NDArray[np.uint8], grid: InputGrid, encode: Callable[[Features], Features], *, at_once: int
) -> Features:
    """Unit vectors of every patch, averaged over the windows that show it and scaled to length 1 again.

    Args:
        image: (H, W, 3) uint8 RGB.
        grid: Which windows.
        encode: (n, 3, H, W) float32 windows to (n, h, w, d) float32 unit vectors.
        at_once: Most windows in one call of ``encode``.

    Returns:
        (h, w, d) float32.
    """
    pixels, cells = grid.pixels(image), grid.cells((image.shape[0], image.shape[1]))
    windows = grid.windows(cells)
    total: Features | None = None
    for start in range(0, len(windows), at_once):
        batch = windows[start : start + at_once]
        shown = np.stack(
            [pixels[:, _pixels(rows, grid.patch), _pixels(columns, grid.patch)] for rows, columns in batch]
        )
        for window, answer in zip(batch, encode(shown), strict=True):
            if total is None:
                total = np.zeros((*cells, answer.shape[-1]), dtype=np.float32)
            total[window] += answer
    if total is None:
        raise InvalidInput("an image without pixels has no features")
    return unit(total)


def unit(vectors: Features) -> Features:
    """(..., d) scaled to length 1 along the last axis; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Features = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def _pixels(cells: slice, patch: int) -> slice:
    return slice(cells.start * patch, cells.stop * patch)
