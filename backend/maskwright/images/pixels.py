"""Any decoded pixel layout to RGB bytes: palettes, grey, CMYK, more than 8 bits, transparency."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from maskwright.errors import InvalidInput

_BLOCK_PIXELS = 1 << 20
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_DEEP_GREY = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_DEEP_COLOUR = frozenset({"RGB", "RGBA", "LA"})
_CONVERTIBLE = frozenset({"1", "L", "P", "RGBX", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class Window:
    """Which sample values of a deep image become black and white.

    ``level - width / 2`` and below maps to 0, ``level + width / 2`` and above to 255, linear between. Applies to images
    of more than 8 bits per sample only, so that one setting serves a mixed project.

    Raises:
        InvalidInput: If ``width`` is not positive or a number is not finite.
    """

    level: float
    width: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.level) and math.isfinite(self.width) and self.width > 0):
            raise InvalidInput("a window needs a finite level and a width above 0, in sample values of the image")
        # Whole numbers and fractions of the same value must make the same key.
        object.__setattr__(self, "level", float(self.level))
        object.__setattr__(self, "width", float(self.width))

    @property
    def bounds(self) -> tuple[float, float]:
        """The sample values that become 0 and 255."""
        return self.level - self.width / 2, self.level + self.width / 2


def to_rgb(image: ImageFile.ImageFile, data: bytes, window: Window | None) -> tuple[NDArray[np.uint8], bool]:
    """Decode to RGB, before any orientation other than TIFF's own.

    More than 8 bits per sample: the window is applied; without one the range between the smallest and the largest
    finite sample of the image, over all its colours, becomes 0..255 (an image of one value becomes black, and so does
    NaN). Transparency is laid over white, the page that a browser shows it on. CMYK in a
    JPEG is taken as inverted, as Adobe writes it. Embedded colour profiles are not applied.

    Args:
        image: An open file, its header checked.
        data: The same file's bytes.
        window: See above.

    Returns:
        ((H, W, 3) uint8, whether the image had more than 8 bits per sample).

    Raises:
        InvalidInput: If the pixel layout is not supported.
    """
    deep = _sample_bits(image, data) > 8
    image.load()  # for 16-bit colour too: OpenCV would take a truncated file without a word
    if image.mode in _DEEP_GREY:
        samples: NDArray[Any] = np.asarray(image)
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            samples = np.invert(samples)
        return _grey_to_rgb(_windowed(samples, window)), True
    if deep and image.mode in _DEEP_COLOUR:
        return _deep_colour(data, window), True
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.asarray(image), False
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return _over_white(rgba[..., :3], rgba[..., 3]), False
    if image.mode in _CONVERTIBLE:
        return np.asarray(image.convert("RGB")), False
    raise InvalidInput(f"images of the pixel layout {image.mode} are not supported; convert the file to RGB")


def _sample_bits(image: ImageFile.ImageFile, data: bytes) -> int:
    if isinstance(image, PngImageFile):
        return data[24]  # the header chunk has a fixed place: signature 8, length 4, name 4, width 4, height 4
    if isinstance(image, TiffImageFile):
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    return 8


def _deep_colour(data: bytes, window: Window | None) -> NDArray[np.uint8]:
    """16-bit colour through OpenCV: Pillow keeps only the high byte."""
    samples = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.ndim != 3 or samples.shape[2] not in (3, 4):
        raise InvalidInput("this layout of 16-bit colour is not supported; save the file with 8 bits per sample")
    rgb = _windowed(samples[..., 2::-1], window)
    if samples.shape[2] == 3:
        return np.ascontiguousarray(rgb)
    return _over_white(rgb, (samples[..., 3] >> 8).astype(np.uint8))


def _windowed(samples: NDArray[Any], window: Window | None) -> NDArray[np.uint8]:
    low, high = window.bounds if window is not None else _range(samples)
    out = np.zeros(samples.shape, dtype=np.uint8)
    if not high > low:
        return out
    # A division, not a factor: for a denormal range the factor would overflow.
    with np.errstate(invalid="ignore", over="ignore"):
        for rows in _row_blocks(samples.shape):
            scaled = (samples[rows].astype(np.float64) - low) / (high - low) * 255
            out[rows] = np.rint(np.nan_to_num(np.clip(scaled, 0, 255), nan=0.0))
    return out


def _range(samples: NDArray[Any]) -> tuple[float, float]:
    if samples.dtype.kind != "f":
        return float(samples.min()), float(samples.max())
    finite = np.isfinite(samples)
    if not finite.any():
        return 0.0, 0.0
    low = float(samples.min(where=finite, initial=np.inf))
    return low, float(samples.max(where=finite, initial=-np.inf))


def _grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.empty(rgb.shape, dtype=np.uint8)
    for rows in _row_blocks(rgb.shape):
        weight = alpha[rows, :, None].astype(np.uint32)
        out[rows] = (rgb[rows] * weight + 255 * (255 - weight) + 127) // 255
    return out


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Bands of rows, so that wide intermediates stay small beside the image."""
    step = max(1, _BLOCK_PIXELS // max(1, shape[1]))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)
