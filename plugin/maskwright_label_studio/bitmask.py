"""Masks as PNG data URLs, the value of Bitmask and BitmaskLabels regions."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from maskwright.errors import InvalidInput
from maskwright.masks import Mask

_PREFIX = "data:image/png;base64,"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The first level that looks for long matches: a quarter of level 1's bytes, which come back with every later click.
_COMPRESSION = 4
_FILTER_UP = 2


def encode_bitmask(mask: Mask) -> str:
    """A PNG of the image's natural size, RGBA: opaque black where the mask is, transparent elsewhere.

    Label Studio reads nothing but the alpha and draws in the label's colour. The file is put together here (PNG
    specification, chunks IHDR, IDAT, IEND): rows outside the mask's box are one repeated row of zeros, rows inside it
    are differences to the row above (filter 2), which are nearly all zero.
    """
    height, width = mask.size
    left, top, right, bottom = (int(v) for v in mask.box)
    packer = zlib.compressobj(_COMPRESSION)
    blank = bytes(1 + 4 * width)
    packed = [packer.compress(blank * top)]
    if not mask.is_empty:
        alpha = mask.crop_array(left, top, right, bottom).astype(np.uint8) * 255
        rows = np.zeros((bottom - top, 1 + 4 * width), dtype=np.uint8)
        rows[:, 0] = _FILTER_UP
        samples = rows[:, 1:].reshape(bottom - top, width, 4)[:, left:right, 3]
        samples[0] = alpha[0]
        np.subtract(alpha[1:], alpha[:-1], out=samples[1:])
        packed.append(packer.compress(rows.tobytes()))
    packed += [packer.compress(blank * (height - bottom)), packer.flush()]
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    png = _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"".join(packed)) + _chunk(b"IEND", b"")
    return _PREFIX + base64.b64encode(png).decode("ascii")


def decode_bitmask(url: object, size: tuple[int, int]) -> Mask:
    """Read such a data URL; every pixel that is not fully transparent belongs to the mask.

    Raises:
        InvalidInput: If it is not a PNG of ``size`` (h, w).
    """
    if not isinstance(url, str) or not url.startswith(_PREFIX):
        raise InvalidInput("a bitmask region needs a PNG data URL under 'imageDataURL'")
    try:
        with PillowImage.open(BytesIO(base64.b64decode(url[len(_PREFIX) :], validate=True)), formats=["PNG"]) as file:
            if (file.height, file.width) != size:
                raise InvalidInput(f"a bitmask is {file.width} x {file.height} pixels, its image {size[1]} x {size[0]}")
            alpha = np.asarray(file.convert("RGBA"))[:, :, 3]
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InvalidInput("the PNG of a bitmask region is damaged") from error
    return Mask.from_array(alpha > 0)


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
