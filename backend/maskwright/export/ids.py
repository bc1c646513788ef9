"""Ids that stay the same from one export to the next, without a register: derived from what they name."""

from __future__ import annotations

import hashlib

from maskwright.export.records import ImageRecord
from maskwright.regions import Region

_MOST = 2**53 - 1
"""The largest id: every whole number up to it survives float64 (COCOeval) and JavaScript."""
_LARGEST_NUMBER = 2**31


def stable_id(*parts: str) -> int:
    """A number from 1 to 2**53 - 1 that depends on nothing but ``parts``.

    With 100,000 ids the chance that two of them are the same is about one in two million.
    """
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return 1 + int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) % _MOST


def image_id(record: ImageRecord) -> int:
    """The task's own number where it is one and names a single image, else a number derived from the key."""
    if record.is_only_image and record.task.isascii() and record.task.isdigit():
        number = int(record.task)
        if 0 < number < _LARGEST_NUMBER:
            return number
    return stable_id("image", record.key)


def annotation_id(record: ImageRecord, region: Region, position: int) -> int:
    """Derived from image, person and the platform's name of the region; from its position where it has no name."""
    own = region.key or f"#{position}"
    return stable_id("annotation", record.key, region.provenance.person or "", own)
