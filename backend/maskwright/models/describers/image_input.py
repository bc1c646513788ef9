"""From an image to what a describing model reads, as the checkpoint's ``preprocessor_config.json`` says.

The same arithmetic as transformers' Pillow image processors (resize, crop the centre, rescale, normalise), which need
torchvision in some versions; here nothing does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.preprocessing import HALF, Triple
from maskwright.models.protocols import RGB

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_SMALLEST_STEP = 1e-5
_MOST_RESIZED = 64
"""Times that a resized image may be as large as what the crop keeps of it."""


def checked(image: RGB) -> RGB:
    """The image itself.

    Raises:
        InvalidInput: If it is not (H, W, 3) uint8 or holds no pixel.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInput(f"an image must be (H, W, 3) uint8 and hold a pixel, not {image.shape} {image.dtype}")
    return image


@dataclass(frozen=True)
class ImageInput:
    """How an image is brought to a model's input.

    Attributes:
        height: Of the resized image; 0 where the shorter edge decides.
        width: Of the resized image; 0 where the shorter edge decides.
        shortest_edge: Pixels of the resized image's shorter side, or 0.
        crop: (height, width) cut out of the centre afterwards, or None.
        resample: Pillow's number of the filter.
        scale: What values are multiplied by first.
        mean: Per channel, subtracted after that.
        std: Per channel, divided by after that.
    """

    height: int
    width: int
    shortest_edge: int
    crop: tuple[int, int] | None
    resample: PillowImage.Resampling
    scale: float
    mean: Triple
    std: Triple

    @classmethod
    def of(cls, checkpoint: Checkpoint, side: int, **defaults: Any) -> ImageInput:
        """Read a checkpoint's preprocessor configuration.

        Args:
            checkpoint: With ``processor``, which may be empty.
            side: Pixels of the model's square input, for sizes that the configuration lacks.
            **defaults: For other keys that it lacks.

        Raises:
            ModelUnavailable: If it is malformed.
        """
        said = {**defaults, **checkpoint.processor}
        try:
            crop = _size(said.get("crop_size", side), square=True) if said.get("do_center_crop", False) else None
            height, width, edge = _size(said.get("size", side), square=crop is None)
            if crop and (min(height, width) if height else edge) < max(crop[:2]):
                raise ValueError("crop_size is larger than size")
            return cls(
                height, width, edge, crop[:2] if crop else None,
                PillowImage.Resampling(said.get("resample", PillowImage.Resampling.BICUBIC)),
                float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0,
                _triple(said.get("image_mean", CLIP_MEAN)), _triple(said.get("image_std", CLIP_STD)),
            )  # fmt: skip
        except (TypeError, ValueError, KeyError) as error:
            raise ModelUnavailable(
                f"model {checkpoint.uri}: its preprocessor_config.json is malformed ({error})"
            ) from error

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of an image of (height, width) after resizing, before cropping."""
        if self.height:
            return self.height, self.width
        longer = int(self.shortest_edge * max(height, width) / min(height, width))
        return (self.shortest_edge, longer) if height <= width else (longer, self.shortest_edge)

    def pixels(self, image: RGB) -> NDArray[np.float32]:
        """(3, h, w) float32.

        Raises:
            InvalidInput: If the image is not (H, W, 3) uint8 or holds no pixel.
        """
        height, width = checked(image).shape[:2]
        rows, columns = self.resized_size(height, width)
        kept_rows, kept_columns = self.crop or (rows, columns)
        top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
        picture = PillowImage.fromarray(image)
        if rows * columns > _MOST_RESIZED * kept_rows * kept_columns:
            # So thin an image would first become a very large one: only its centre is resized, a few grey levels off.
            down, right = height / rows, width / columns
            box = (left * right, top * down, (left + kept_columns) * right, (top + kept_rows) * down)
            box = (box[0], box[1], min(box[2], width), min(box[3], height))
            resized = picture.resize((kept_columns, kept_rows), self.resample, box=box)
        else:
            resized = picture.resize((columns, rows), self.resample)
            resized = resized.crop((left, top, left + kept_columns, top + kept_rows))
        return normalised(resized, self.scale, self.mean, self.std)


@dataclass(frozen=True)
class PatchInput:
    """How SigLIP 2 reads an image of any shape: at most so many whole patches, about as wide as high as the image.

    Attributes:
        patch: Side of a patch in pixels.
        most: Patches that the input holds; fewer are padded.
        resample: Pillow's number of the filter.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
    """

    patch: int
    most: int
    resample: PillowImage.Resampling
    mean: Triple
    std: Triple

    @classmethod
    def of(cls, checkpoint: Checkpoint, patch: int) -> PatchInput:
        """Read a checkpoint's preprocessor configuration.

        Raises:
            ModelUnavailable: If it is malformed.
        """
        said = checkpoint.processor
        try:
            return cls(
                int(said.get("patch_size", patch)), int(said.get("max_num_patches", 256)),
                PillowImage.Resampling(said.get("resample", PillowImage.Resampling.BILINEAR)),
                _triple(said.get("image_mean", HALF)), _triple(said.get("image_std", HALF)),
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise ModelUnavailable(
                f"model {checkpoint.uri}: its preprocessor_config.json is malformed ({error})"
            ) from error

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of patches: the largest scale whose patches, rounded up, are not too many."""

        def at(scale: float) -> tuple[int, int]:
            return max(1, ceil(height * scale / self.patch)), max(1, ceil(width * scale / self.patch))

        low, high = _SMALLEST_STEP / 10, 100.0
        while high - low >= _SMALLEST_STEP:
            middle = (low + high) / 2
            rows, columns = at(middle)
            low, high = (middle, high) if rows * columns <= self.most else (low, middle)
        return at(low)

    def patches(self, image: RGB) -> tuple[NDArray[np.float32], NDArray[np.int32], tuple[int, int]]:
        """(most, 3 patch^2) float32, (most,) int32 that is 1 where a patch is of the image, and (rows, columns).

        Raises:
            InvalidInput: If the image is not (H, W, 3) uint8, holds no pixel, or is too thin for so few patches.
        """
        rows, columns = self.grid(*checked(image).shape[:2])
        if rows * columns > self.most:
            raise InvalidInput(f"an image of {image.shape[1]} x {image.shape[0]} px is too thin for this model")
        side = self.patch
        resized = PillowImage.fromarray(image).resize((columns * side, rows * side), self.resample)
        values = normalised(resized, 1 / 255, self.mean, self.std)
        cut = values.reshape(3, rows, side, columns, side).transpose(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        out = np.zeros((self.most, cut.shape[1]), dtype=np.float32)
        out[: len(cut)] = cut
        return out, (np.arange(self.most) < len(cut)).astype(np.int32), (rows, columns)


def normalised(image: PillowImage.Image, scale: float, mean: Triple, std: Triple) -> NDArray[np.float32]:
    """(3, h, w) float32 of an RGB picture: ``(values * scale - mean) / std``."""
    values = np.asarray(image).astype(np.float64).transpose(2, 0, 1) * scale
    out: NDArray[np.float64] = (values - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    return out.astype(np.float32)


def _size(said: Any, *, square: bool) -> tuple[int, int, int]:
    """(height, width, shortest edge) of which either the first two or the last are 0."""
    if isinstance(said, Mapping):
        edge = int(said.get("shortest_edge", 0))
        height, width = (0, 0) if edge else (int(said["height"]), int(said["width"]))
    else:
        height = width = int(said) if square else 0
        edge = 0 if square else int(said)
    if min(height, width, edge) < 0 or not max(height, edge):
        raise ValueError("sizes must be positive")
    return height, width, edge


def _triple(said: Any) -> Triple:
    if not isinstance(said, (list, tuple)) or len(said) != 3:
        raise ValueError("image_mean and image_std must hold 3 numbers")
    return float(said[0]), float(said[1]), float(said[2])
