"""Images that show the same: equal files, and re-encoded, resized or slightly changed copies.

The fingerprint is the difference hash of Neal Krawetz ("Kind of like that", 2013): of a small grey picture, whether
each pixel is darker than its right neighbour. A coarse one of 64 bits (9 x 8 pixels) finds candidates; a finer one of
256 bits (17 x 16) must agree as well, so that pictures with the same layout and other content stay apart. Pictures
without contrast have no difference hash: only an equal file is their duplicate.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.images.decode import decode_image
from maskwright.images.formats import DEFAULT_LIMITS, ImageLimits

MOST_DIFFERENT_BITS = 6
"""Of 64, in two copies of one picture."""
MOST_DIFFERENT_FINE_BITS = 40
"""Of 256."""
_LEAST_CONTRAST = 2.0
"""Standard deviation of the grey values below which they are noise."""
_BANDS, _BAND_BITS = 4, 16
_MOST_COMPARED = 64
"""In a crowd of equal bands, with how many others each picture is compared."""
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Fingerprint:
    """What of an image is compared.

    Attributes:
        sha256: Of the encoded file, in hex.
        coarse: 64 bits as a number, or None where the picture has no contrast.
        fine: 256 bits as 32 bytes; empty where it has none.
    """

    sha256: str
    coarse: int | None
    fine: bytes = b""

    def to_text(self) -> str:
        """The hashes as at most 56 ASCII characters, to be kept beside the SHA-256; empty where there are none."""
        return "" if self.coarse is None else b64encode(self.coarse.to_bytes(8) + self.fine).decode()

    @classmethod
    def from_text(cls, digest: str, text: str) -> Fingerprint:
        """The reverse of :meth:`to_text`.

        Raises:
            InvalidInput: If the text is none that it gives.
        """
        try:
            data = b64decode(text, validate=True)
        except ValueError:
            data = b"?"
        if len(data) not in (0, 40):
            raise InvalidInput(f"{text[:80]!r} is not a fingerprint as maskwright writes it")
        return cls(digest, int.from_bytes(data[:8]), data[8:]) if data else cls(digest, None)


def fingerprint(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Fingerprint:
    """The fingerprint of an encoded image, in its displayed orientation.

    Raises:
        InvalidInput: If it is no image, or one beyond ``limits``.
    """
    return fingerprint_of_pixels(decode_image(data, limits=limits).pixels, sha256(data).hexdigest())


def fingerprint_of_pixels(pixels: NDArray[np.uint8], digest: str) -> Fingerprint:
    """The fingerprint of a decoded image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        digest: SHA-256 of the encoded file, in hex.
    """
    # First to at most 256 pixels a side in colour: turning a large picture grey would cost more than all the rest.
    height, width = pixels.shape[:2]
    target = min(width, 256), min(height, 256)
    small = cv2.resize(pixels, target, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)
    if float(fine.std()) < _LEAST_CONTRAST:
        return Fingerprint(digest, None)
    coarse = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return Fingerprint(digest, int.from_bytes(_differences(coarse)), _differences(fine))


def _differences(grey: NDArray[np.float32]) -> bytes:
    return np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes()


def near_duplicates(fingerprints: Sequence[Fingerprint]) -> list[list[int]]:
    """Groups of images that show the same, each image in one group; what resembles a member belongs to the group.

    Two images are alike if their files are equal, or at most 6 of the 64 and 40 of the 256 bits differ. Candidates are
    found by bands: of 4 bands of 16 bits at least one differs in at most one bit. Where very many pictures share a
    band (a fixed camera), each is compared with its 64 neighbours in the order of their hashes, which joins chains of
    similar ones all the same, but may leave apart two that have no picture between them.

    Returns:
        Indices into ``fingerprints``; groups in the order of their first members, members in increasing order.
    """
    leader = np.arange(len(fingerprints))
    first_with: dict[object, int] = {}
    for index, one in enumerate(fingerprints):
        _join(leader, first_with.setdefault(one.sha256, index), index)
        if one.coarse is not None:
            _join(leader, first_with.setdefault((one.coarse, one.fine), index), index)
    # From here on one picture stands for all with the same hashes.
    kinds = sorted(
        (one.coarse, one.fine, first_with[one.coarse, one.fine])
        for one in {(f.coarse, f.fine): f for f in fingerprints}.values()
        if one.coarse is not None
    )
    if kinds:
        coarse = np.array([kind[0] for kind in kinds], dtype=np.uint64)
        fine = np.frombuffer(b"".join(kind[1] for kind in kinds), dtype=np.uint64).reshape(-1, 4)
        names = np.array([kind[2] for kind in kinds])
        _join_alike(leader, names, coarse, fine)
    groups: dict[int, list[int]] = {}
    for index in range(len(fingerprints)):
        groups.setdefault(_find(leader, index), []).append(index)
    return list(groups.values())


def _join_alike(
    leader: NDArray[np.intp], names: NDArray[np.intp], coarse: NDArray[np.uint64], fine: NDArray[np.uint64]
) -> None:
    """Join the groups of all hashes that differ in few bits; ``names`` are their places in ``leader``."""
    for a, b in _candidates(coarse):
        while not np.array_equal(further := leader[leader], leader):
            leader[:] = further
        apart = leader[names[a]] != leader[names[b]]  # what is together already need not be compared
        a, b = a[apart], b[apart]
        near = np.bitwise_count(coarse[a] ^ coarse[b]) <= MOST_DIFFERENT_BITS
        a, b = a[near], b[near]
        near = np.bitwise_count(fine[a] ^ fine[b]).sum(axis=1) <= MOST_DIFFERENT_FINE_BITS
        for first, second in zip(names[a[near]].tolist(), names[b[near]].tolist(), strict=True):
            _join(leader, first, second)


def _candidates(coarse: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of hashes of which one band differs in at most one bit, in blocks."""
    for band in range(_BANDS):
        keys = ((coarse >> np.uint64(band * _BAND_BITS)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flipped in [0, *(1 << bit for bit in range(_BAND_BITS))]:
            wanted = ordered ^ flipped
            begin = np.searchsorted(ordered, wanted, side="left")
            end = np.searchsorted(ordered, wanted, side="right")
            if flipped:
                begin, end = begin[wanted > ordered], end[wanted > ordered]
                sources = np.flatnonzero(wanted > ordered)
            else:
                sources = np.arange(len(ordered))
                begin = sources + 1
            for left, right in _pairs(sources, begin, end):
                yield order[left], order[right]


def _pairs(
    sources: NDArray[np.intp], begin: NDArray[np.intp], end: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Each source with the places [begin, end), at most 64 of them, in blocks of bounded size."""
    lengths = np.clip(end - begin, 0, _MOST_COMPARED)
    step = _BLOCK // _MOST_COMPARED
    for start in range(0, len(sources), step):
        part = slice(start, start + step)
        counts = lengths[part]
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(sources[part], counts), np.repeat(begin[part], counts) + offsets


def _find(leader: NDArray[np.intp], index: int) -> int:
    while leader[index] != index:
        leader[index] = leader[leader[index]]
        index = int(leader[index])
    return index


def _join(leader: NDArray[np.intp], first: int, second: int) -> None:
    low, high = sorted((_find(leader, first), _find(leader, second)))
    leader[high] = low
