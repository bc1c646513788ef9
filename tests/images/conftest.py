"""Encoded pictures made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """``encode(array or picture, format, **options)`` to bytes."""

    def write(picture: Any, file_format: str, **options: Any) -> bytes:
        if isinstance(picture, np.ndarray):
            picture = PillowImage.fromarray(picture)
        buffer = io.BytesIO()
        picture.save(buffer, file_format, **options)
        return buffer.getvalue()

    return write


@pytest.fixture(scope="session")
def png_claiming() -> Callable[[int, int], bytes]:
    """A valid small PNG, except that its header claims another size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def write(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"\0" * 100_000, 9)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")

    return write


@pytest.fixture(scope="session")
def patch_of_colours() -> np.ndarray:
    """(6, 8, 3) uint8 in which no two rows, columns or channels are alike."""
    y, x, c = np.mgrid[0:6, 0:8, 0:3]
    return (y * 37 + x * 11 + c * 61).astype(np.uint8)
