"""What a file claims to be: format, size and orientation, read and bounded before any pixel is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image as PillowImage
from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from maskwright.errors import InvalidInput, MaskwrightError, TooLarge

ORIENTATION_TAG = 0x0112
"""EXIF and TIFF tag of the orientation, 1..8."""

_SUBFILE_TYPE, _TILE_WIDTH, _TILE_LENGTH = 254, 322, 323
_REDUCED_OR_MASK = 0b101
_MAX_DIRECTORIES = 64


class _UnboundedTiff(TiffImageFile):
    """Pillow's reader without its process-wide pixel limit: ours has been applied by the time pixels are made."""

    def load_prepare(self) -> None:
        if self._im is None:
            self._im = PillowImage.new(self.mode, self._tile_size).im
        super().load_prepare()


# The classes are opened directly, not through PIL.Image.open, whose process-wide pixel limit is not ours to change.
# A multi-picture JPEG (MPO) opens as its first picture, which is what browsers show.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": _UnboundedTiff,
}
_MAGIC: tuple[tuple[str, bytes], ...] = (
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("JPEG", b"\xff\xd8\xff"),
    ("BMP", b"BM"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("TIFF", b"II*\x00"),
    ("TIFF", b"MM\x00*"),
    ("TIFF", b"II+\x00"),
    ("TIFF", b"MM\x00+"),
)
_HOW_TO_SPLIT = {
    "TIFF": "save each page as a file of its own",
    "GIF": "extract its frames and import them as still images",
    "WEBP": "extract its frames and import them as still images",
    "PNG": "extract its frames and import them as still images",
}


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted.

    Attributes:
        max_bytes: Largest encoded file in bytes.
        max_pixels: Largest image, width x height, checked against the header before decoding.
        formats: Accepted formats, out of PNG, JPEG, WEBP, BMP, GIF and TIFF.
    """

    max_bytes: int = 256 * 1024**2
    max_pixels: int = 200_000_000
    formats: frozenset[str] = field(default=frozenset(_READERS))


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of a file say.

    Attributes:
        format: One of ``ImageLimits.formats``.
        size: (height, width) as displayed, EXIF orientation applied.
        orientation: EXIF orientation, 1..8.
        mode: Pillow's name of the pixel layout.
    """

    format: str
    size: tuple[int, int]
    orientation: int
    mode: str


def sniff_format(data: bytes) -> str:
    """The format that the first bytes announce.

    Raises:
        InvalidInput: If the bytes are empty or announce no known format.
    """
    if not data:
        raise InvalidInput("the image file is empty (0 bytes)")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for name, magic in _MAGIC:
        if data.startswith(magic):
            return name
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    accepted = ", ".join(_READERS)
    if start.startswith(b"<"):
        kind = "an SVG drawing or XML" if b"svg" in start or start.startswith(b"<?xml") else "a web page (HTML)"
        raise InvalidInput(f"the file is {kind}, not an image of pixels; accepted formats: {accepted}")
    raise InvalidInput(f"the file is of no known image format; accepted formats: {accepted}")


def read_header(data: bytes, *, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Read format, size and orientation, and check them, without decoding pixels.

    Raises:
        TooLarge: If the file or the size it claims exceeds ``limits``.
        InvalidInput: If the format is unknown or not accepted, or the header is damaged.
    """
    with open_checked(data, limits) as image:
        height, width = image.size[1], image.size[0]
        orientation = exif_orientation(image)
        # Pillow has exchanged the sides of a TIFF already.
        if orientation >= 5 and not isinstance(image, TiffImageFile):
            height, width = width, height
        return ImageHeader(reader_format(image), (height, width), orientation, image.mode)


@contextmanager
def open_checked(data: bytes, limits: ImageLimits) -> Iterator[ImageFile.ImageFile]:
    """Open a file for decoding, its header checked; errors of the decoder inside the block become ours.

    Raises:
        TooLarge: If the file or the size it claims exceeds ``limits``.
        InvalidInput: If the format is unknown or not accepted, holds several pictures, or the file is damaged.
    """
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"the image file has {len(data)} bytes, more than the {limits.max_bytes} accepted "
            "(MASKWRIGHT_MAX_IMAGE_BYTES)"
        )
    name = sniff_format(data)
    if name not in limits.formats:
        raise InvalidInput(
            f"{name} images are not accepted here; accepted formats: {', '.join(sorted(limits.formats))}"
        )
    try:
        if name == "WEBP":
            # Its reader allocates the canvas at once, so the claimed size has to be read by hand first.
            _check_size(_webp_size(data), limits)
        with _READERS[name](io.BytesIO(data)) as image:
            _check_size(image.size, limits)
            if isinstance(image, TiffImageFile):
                tags = image.tag_v2
                _check_size((int(tags.get(_TILE_WIDTH, 1)), int(tags.get(_TILE_LENGTH, 1))), limits)
            _check_single(image, name)
            yield image
    except MaskwrightError:
        raise
    except (MemoryError, PillowImage.DecompressionBombError) as error:
        raise TooLarge(f"the {name} image needs more memory than can be had; make it smaller or cut it up") from error
    except Exception as error:  # decoders raise a dozen types on damaged bytes; all mean a bad file
        raise InvalidInput(
            f"the {name} file cannot be decoded: it is truncated, damaged or of an unusual layout; "
            "export it again, best as PNG"
        ) from error


def exif_orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation 1..8 of an open file; 1 where none or nonsense is given, as browsers do."""
    if isinstance(image, TiffImageFile):
        value = image.tag_v2.get(ORIENTATION_TAG, 1)
    else:
        exif = PillowImage.Exif()
        try:
            exif.load(image.info.get("exif", b""))
            value = exif.get(ORIENTATION_TAG, 1)
        except Exception:  # noqa: BLE001 - the parser raises many types; broken metadata must not lose the picture
            value = 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def reader_format(image: ImageFile.ImageFile) -> str:
    """The format's name in ``ImageLimits.formats``."""
    return next(name for name, reader in _READERS.items() if isinstance(reader, type) and isinstance(image, reader))


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InvalidInput(f"the image claims a size of {width} x {height} pixels; both must be at least 1")
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"the image claims {width} x {height} pixels, more than the {limits.max_pixels} accepted in all "
            "(MASKWRIGHT_MAX_IMAGE_PIXELS)"
        )


def _check_single(image: ImageFile.ImageFile, name: str) -> None:
    if not getattr(image, "is_animated", False):
        return
    if isinstance(image, TiffImageFile) and not _has_second_page(image):
        return
    what = "several pages" if name == "TIFF" else "an animation"
    raise InvalidInput(f"the {name} file holds {what}, and a task shows one picture; {_HOW_TO_SPLIT[name]}")


def _has_second_page(image: TiffImageFile) -> bool:
    """Whether a directory after the first is a picture of its own: overviews and masks of the first do not count."""
    for page in range(1, _MAX_DIRECTORIES):
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return False
        except SyntaxError:
            pass  # a pixel layout that cannot be read, as masks have; its tags are there all the same
        if not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & _REDUCED_OR_MASK:
            return True
    return True


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the canvas; layout of the first chunk as in RFC 9649, sections 2.5 to 2.7."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise InvalidInput("the WEBP file is truncated inside its header; export it again")
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise InvalidInput("the WEBP file does not start with a picture; export it again")
