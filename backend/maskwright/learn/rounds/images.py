"""The images of a round: fetched once, kept as encoded files while it runs, decoded when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.errors import InvalidInput
from maskwright.images import ImageLimits, Window, decode_image
from maskwright.images.similar import Fingerprint, fingerprint_of_pixels
from maskwright.masks import Size
from maskwright.models.protocols import RGB
from maskwright.store.artifacts import write_atomically

if TYPE_CHECKING:
    from maskwright.export.image_sources import ImageFetcher

MOST_BYTES = 4 * 2**30
"""Of files kept; what is beyond is fetched again whenever it is needed."""


@dataclass(frozen=True)
class ImageFile:
    """What was found behind an address.

    Attributes:
        sha256: Of the encoded bytes, in hex.
        size: (H, W) of the displayed image.
        fingerprint: For finding near-duplicates.
    """

    sha256: str
    size: Size
    fingerprint: Fingerprint


class RoundImages:
    """Images by the SHA-256 of their encoded bytes.

    Args:
        folder: Of their files; is made if need be.
        fetch: Finds images.
        limits: Bounds on image files.
        window: Value range of images with more than 8 bits per sample, as the annotators saw them.
        most_bytes: Of files kept.
    """

    def __init__(
        self,
        folder: Path,
        fetch: ImageFetcher,
        limits: ImageLimits,
        window: Window | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._folder, self._fetch, self._limits, self._window = folder, fetch, limits, window
        self._room = most_bytes
        self._addresses: dict[str, tuple[str, str, str]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, source: str, file_name: str, task: str) -> ImageFile:
        """Fetch an image and keep its file; arguments as of ``ImageFetcher``.

        Raises:
            MaskwrightError: If it cannot be had or decoded.
        """
        data = self._fetch(source, file_name, task)
        image = decode_image(data, limits=self._limits, window=self._window)
        if image.sha256 not in self._addresses:
            self._addresses[image.sha256] = source, file_name, task
            if len(data) <= self._room:
                write_atomically(self._folder / image.sha256, data)
                self._room -= len(data)
        return ImageFile(image.sha256, image.size, fingerprint_of_pixels(image.pixels, image.sha256))

    def pixels(self, sha256: str) -> RGB:
        """The (H, W, 3) uint8 RGB pixels of an image that was taken.

        Raises:
            InvalidInput: If its file has changed since.
            MaskwrightError: If it cannot be had again.
        """
        path = self._folder / sha256
        data = path.read_bytes() if path.is_file() else self._fetch(*self._addresses[sha256])
        image = decode_image(data, limits=self._limits, window=self._window)
        if image.sha256 != sha256:
            raise InvalidInput(f"the image {self._addresses[sha256][0]!r} was replaced while a round learnt from it")
        return image.pixels
