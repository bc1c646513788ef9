"""Image files as they go into a dataset: as they are where that shows them upright, else turned and encoded anew.

Masks live in the orientation in which an image is displayed. Many readers ignore the EXIF orientation, and would lay
the masks over a picture that lies on its side.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath

from PIL import Image as PillowImage

from maskwright.errors import InvalidInput
from maskwright.export.formats.names import apart_from_files
from maskwright.export.records import ImageRecord
from maskwright.images import decode_image, read_header

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
}
_QUALITY = 95


def upright(record: ImageRecord, image: bytes) -> tuple[bytes, str]:
    """The file to write, and the suffix that fits it.

    A file without EXIF orientation stays what it is, byte for byte. A turned JPEG is written as JPEG of quality 95, a
    turned file of any other kind as PNG.

    Args:
        record: Whose image it is; names it in errors, and its suffix is kept where it fits.
        image: The encoded image.

    Raises:
        InvalidInput: If it cannot be read as an image.
    """
    try:
        header = read_header(image)
        if header.orientation == 1:
            own = PurePosixPath(record.file_name).suffix
            fitting = _SUFFIXES.get(header.format, (own,))
            return image, own if own.lower() in fitting else fitting[0]
        if header.format == "JPEG":
            return _encode(image, "JPEG"), ".jpg"
        return _encode(image, "PNG"), ".png"
    except InvalidInput as error:
        raise type(error)(f"{record.file_name}: {error}") from error


def beside(record: ImageRecord, image: bytes | None) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """What an index calls the image, and its file for the folder ``images`` where it is at hand.

    Raises:
        InvalidInput: If it cannot be read as an image.
    """
    if image is None:
        return record.file_name, ()
    content, suffix = upright(record, image)
    own = PurePosixPath(record.file_name)
    name = apart_from_files(record.file_name if own.suffix == suffix else str(own.with_suffix(suffix)))
    return name, ((f"images/{name}", content),)


def as_jpeg(record: ImageRecord, image: bytes) -> bytes:
    """An upright JPEG: the file itself where it is one, else encoded with quality 95.

    Raises:
        InvalidInput: If it cannot be read as an image.
    """
    data, suffix = upright(record, image)
    return data if suffix.lower() in _SUFFIXES["JPEG"] else _encode(data, "JPEG")


def _encode(image: bytes, kind: str) -> bytes:
    sink = io.BytesIO()
    PillowImage.fromarray(decode_image(image).pixels).save(sink, kind, quality=_QUALITY)
    return sink.getvalue()
