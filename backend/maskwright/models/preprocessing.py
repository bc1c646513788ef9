"""From an image to a model's square input, and from image coordinates to that input's.

Two rules cover every family. SAM and SAM-HQ: scale the longest side to the input's side, normalise, pad with zeros on
the right and below (``ResizeLongestSide`` and ``Sam.preprocess`` of the original code). SAM 2 and SAM 3: stretch both
sides to the input's side, normalise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from maskwright.errors import InvalidInput, ModelUnavailable

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class InputFrame:
    """The square that an image encoder sees.

    Attributes:
        side: Height and width of the input in pixels.
        keep_aspect: Whether the image keeps its proportions and is padded (SAM), or is stretched (SAM 2, SAM 3).
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
    """

    side: int
    keep_aspect: bool
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD

    def with_statistics_of(self, processor: Mapping[str, Any]) -> InputFrame:
        """The same frame with ``image_mean`` and ``image_std`` of a checkpoint's preprocessor configuration.

        Raises:
            ModelUnavailable: If one of them does not hold three numbers.
        """
        values = {"mean": processor.get("image_mean", self.mean), "std": processor.get("image_std", self.std)}
        triples: dict[str, Triple] = {}
        for name, value in values.items():
            if not isinstance(value, (list, tuple)) or len(value) != 3:
                raise ModelUnavailable(f"the checkpoint's preprocessor configuration: image_{name} must hold 3 numbers")
            triples[name] = (float(value[0]), float(value[1]), float(value[2]))
        return InputFrame(self.side, self.keep_aspect, **triples)

    def input_size(self, original_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the resized image inside the input; at least one pixel, however thin the image is."""
        if not self.keep_aspect:
            return self.side, self.side
        height, width = original_size
        scale = self.side * 1.0 / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Resize (antialiased bilinear), normalise and pad one image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (3, side, side) float32.

        Raises:
            InvalidInput: If the image has another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InvalidInput(f"an image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
        height, width = self.input_size((image.shape[0], image.shape[1]))
        resized = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BILINEAR)
        mean = np.array(self.mean, dtype=np.float64) * 255
        std = np.array(self.std, dtype=np.float64) * 255
        out = np.zeros((3, self.side, self.side), dtype=np.float32)
        values = np.asarray(resized).transpose(2, 0, 1)
        np.subtract(values, mean.astype(np.float32)[:, None, None], out=out[:, :height, :width])
        out[:, :height, :width] /= std.astype(np.float32)[:, None, None]
        return out

    def coordinates(self, xy: NDArray[Any], original_size: tuple[int, int]) -> NDArray[np.float32]:
        """Scale image coordinates to the input's.

        Like ``ResizeLongestSide.apply_coords`` this scales and adds nothing: the prompt encoders themselves add the
        half pixel with which they were trained.

        Args:
            xy: (..., 2) in pixels of the original image.
            original_size: (H, W) of the original image.

        Returns:
            (..., 2) float32.
        """
        (height, width), (new_height, new_width) = original_size, self.input_size(original_size)
        scale = np.array([new_width / width, new_height / height], dtype=np.float64)
        return (xy.astype(np.float64) * scale).astype(np.float32)
