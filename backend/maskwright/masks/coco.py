"""COCO run lengths: the compressed string and its checks.

Format (Microsoft COCO API, ``maskApi.c``, rleToString): run lengths down the columns, outside first. From the fourth
on, a length is kept as its difference from the one two before it. Each number is cut into groups of five bits, lowest
first, as a signed number; a sixth bit says that another group follows; 48 is added to make printable characters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

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
    for more in range(1, _MOST_GROUPS):
        groups += magnitude >= 1 << (5 * more - 1)
    ends = np.cumsum(groups)
    owner = np.repeat(np.arange(len(numbers)), groups)
    place = np.arange(len(owner)) - (ends - groups)[owner]
    codes = (numbers[owner] >> (5 * place)) & 0x1F | _MORE
    codes[ends - 1] &= ~_MORE
    return bytes((codes + _OFFSET).astype(np.uint8))


def decompress(counts: bytes, where: str) -> NDArray[np.int64]:
    """The run lengths behind compressed counts.

    Args:
        counts: Compressed counts.
        where: What to call the argument in an error.

    Returns:
        (k,) int64 alternating run lengths, outside first. Their sign and sum are the caller's to check.

    Raises:
        InvalidInput: On a character outside the format, a number cut off at the end, or one longer than 35 bits.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - _OFFSET
    bad = np.flatnonzero((codes < 0) | (codes >= 64))
    if len(bad):
        raise InvalidInput(f"{where}: character {int(bad[0])} is not one of COCO's compressed run lengths")
    ends = np.flatnonzero(codes < _MORE)
    if len(codes) and (not len(ends) or ends[-1] != len(codes) - 1):
        raise InvalidInput(f"{where}: the last run length is cut off; send the whole string")
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends + 1])[:-1]
    groups = ends + 1 - starts
    if (groups > _MOST_GROUPS).any():
        raise InvalidInput(f"{where}: a run length takes more than {_MOST_GROUPS} characters, so it cannot be meant")
    place = np.arange(len(codes)) - np.repeat(starts, groups)
    groups_in_place = (codes & 0x1F) << 5 * place
    numbers: NDArray[np.int64] = np.add.reduceat(groups_in_place, starts) if len(codes) else codes
    numbers -= np.where(codes[ends] & _SIGN, 1, 0) << (5 * groups)
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers
