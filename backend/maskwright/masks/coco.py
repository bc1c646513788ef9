"""COCO run lengths: the compressed string and its checks.

Format (Microsoft COCO API, ``maskApi.c``, rleToString): run lengths down the columns, outside first. From the fourth
on, a length is kept as its difference from the one two before it. Each number is cut into groups of five bits, lowest
first, as a signed number; a sixth bit says that another group follows; 48 is added to make printable characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import InvalidInput
from maskwright.masks.frames import Size, checked_size

_OFFSET = 48
_MORE = 0x20
_SIGN = 0x10
_MOST_GROUPS = 7  # 35 bits hold any difference of two 32-bit lengths


def compress(lengths: NDArray[np.int64]) -> bytes:
    """The compressed counts of COCO, byte for byte as pycocotools writes them.

    Args:
        lengths: (k,) int64 alternating run lengths, outside first.
    """
    numbers = lengths.copy()
    numbers[3:] -= lengths[1:-2]
    magnitude = np.where(numbers < 0, ~numbers, numbers)
    groups = np.ones(len(numbers), dtype=np.int64)
    for more in range(1, 1 + int(magnitude.max(initial=0)).bit_length() // 5):
        groups += magnitude >= 1 << (5 * more - 1)
    ends = np.cumsum(groups)
    owner = np.repeat(np.arange(len(numbers)), groups)
    place = np.arange(len(owner)) - (ends - groups)[owner]
    codes = (numbers[owner] >> (5 * place)) & 0x1F | _MORE
    codes[ends - 1] &= ~_MORE
    return bytes((codes + _OFFSET).astype(np.uint8))


def decompress(counts: bytes) -> NDArray[np.int64]:
    """The run lengths behind compressed counts.

    Returns:
        (k,) int64 alternating run lengths, outside first. Their sign and sum are the caller's to check.

    Raises:
        InvalidInput: On a character outside the format, a number cut off at the end, or one longer than 35 bits.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - _OFFSET
    bad = np.flatnonzero((codes < 0) | (codes >= 64))
    if len(bad):
        raise InvalidInput(f"counts: character {int(bad[0])} is not one of COCO's compressed run lengths")
    ends = np.flatnonzero(codes < _MORE)
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise InvalidInput("counts: the last run length is cut off; send the whole string")
    starts = np.concatenate([[0], ends[:-1] + 1])
    groups = ends + 1 - starts
    if (groups > _MOST_GROUPS).any():
        raise InvalidInput(f"counts: a run length takes more than {_MOST_GROUPS} characters, so it cannot be meant")
    place = np.arange(len(codes)) - np.repeat(starts, groups)
    numbers: NDArray[np.int64] = np.add.reduceat((codes & 0x1F) << 5 * place, starts)
    numbers -= np.where(codes[ends] & _SIGN, 1, 0) << 5 * groups
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def parse(rle: Mapping[str, Any]) -> tuple[Size, NDArray[np.int64]]:
    """Size and run lengths of COCO's ``{"size": [height, width], "counts": ...}``, from whoever sent it.

    Raises:
        InvalidInput: If a key is missing or of the wrong form, or the run lengths do not fit the size.
        TooLarge: If the size is out of bounds.
    """
    if not isinstance(rle, Mapping) or "size" not in rle or "counts" not in rle:
        raise InvalidInput('a COCO mask is an object {"size": [height, width], "counts": ...}')
    size, counts = checked_size(rle["size"]), rle["counts"]
    if isinstance(counts, str):
        counts = counts.encode("utf-8", "surrogatepass")
    return size, checked_lengths(size, decompress(counts) if isinstance(counts, bytes) else counts)


def checked_lengths(size: Size, lengths: ArrayLike) -> NDArray[np.int64]:
    """Run lengths that fit a size.

    Raises:
        InvalidInput: If a length is negative or not an integer, or they do not add up to height times width.
    """
    try:
        counts = np.asarray(lengths)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("counts must be a compressed string or a flat list of whole numbers") from error
    if counts.ndim != 1 or counts.dtype.kind not in "ui":
        raise InvalidInput("counts must be a compressed string or a flat list of whole numbers")
    pixels = size[0] * size[1]
    if counts.min(initial=0) < 0 or counts.max(initial=0) > pixels:
        raise InvalidInput(f"counts: every run length must lie between 0 and the {pixels} pixels of the mask")
    counts = counts.astype(np.int64)
    if counts.sum() != pixels:
        raise InvalidInput(f"counts: the run lengths add up to {counts.sum()}, but the mask has {pixels} pixels")
    return counts
