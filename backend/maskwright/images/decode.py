"""The one way from encoded bytes to an image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from maskwright.errors import InvalidInput, NotFound, TooLarge
from maskwright.images.formats import DEFAULT_LIMITS, ImageLimits, exif_orientation, open_checked
from maskwright.images.pixels import Window, to_rgb


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, read-only, EXIF orientation applied.
        sha256: 64 hex digits of the encoded bytes' SHA-256.
        key: Identity of the pixels: ``sha256``, followed by the window where one was applied. Safe in file names.
    """

    pixels: NDArray[np.uint8]
    sha256: str
    key: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes held by the pixels."""
        return int(self.pixels.nbytes)


def decode_image(
    data: bytes,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    window: Window | None = None,
) -> Image:
    """Decode PNG, JPEG, WEBP, BMP, GIF or TIFF bytes as a browser would show them.

    Conversions are those of ``maskwright.images.pixels.to_rgb``. One picture per file: animations and TIFFs of several
    pages are refused (reduced overviews and masks of a TIFF's first page are ignored), the first picture of a
    multi-picture JPEG is taken.

    Args:
        data: The whole encoded file.
        limits: Bounds, checked against the header before pixels are decoded.
        window: Value range of images with more than 8 bits per sample; None = the image's own range.

    Raises:
        TooLarge: If the file or the size that it claims exceeds ``limits``.
        InvalidInput: If the file is empty, truncated, damaged, animated, or of a format that is not accepted.
    """
    data = bytes(data)
    with open_checked(data, limits) as file:
        # A TIFF is turned by its reader; everything else is turned here, once.
        orientation = 1 if isinstance(file, TiffImageFile) else exif_orientation(file)
        pixels, deep = to_rgb(file, data, window)
    pixels = np.ascontiguousarray(_oriented(pixels, orientation))
    pixels.setflags(write=False)
    sha256 = hashlib.sha256(data).hexdigest()
    key = f"{sha256}-window{window.level!r},{window.width!r}" if deep and window is not None else sha256
    return Image(pixels, sha256, key)


def load_image(
    path: str | Path,
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    window: Window | None = None,
) -> Image:
    """Decode a local file; see ``decode_image``. Messages name the file without its folder.

    Raises:
        NotFound: If there is no such file.
        TooLarge: If the file or its image exceeds ``limits``.
        InvalidInput: If it cannot be read or decoded.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise NotFound(f"there is no file {path.name!r}")
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise InvalidInput(f"the file {path.name!r} cannot be read: {error.strerror}") from error
    try:
        return decode_image(data, limits=limits, window=window)
    except (TooLarge, InvalidInput) as error:
        raise type(error)(f"{path.name}: {error}") from error


def _oriented(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation (EXIF 2.32, tag 0x0112): what is stored becomes what is displayed."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
