"""Label Studio's brush format, straight from and to run lengths.

A brush region is the RGBA picture of its mask, row by row, four equal samples per pixel, packed bit by bit by thi.ng's
``rle-pack``: a header of 53 bits (number of samples, 32; bits per sample less 1, 5; four run sizes less 1, 4 each),
then tokens. A token is a bit that tells one sample repeated (1) from a list of samples (0), two bits that choose a run
size, so many bits for the number of samples less 1, and the sample or samples. The highest bit comes first, and zeros
fill the last byte.

Neither direction builds that picture. Writing multiplies run lengths by four; reading follows the tokens and keeps the
places where the alpha sample turns from zero to something else. Both take time by the length of the outline.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks import Mask, Size
from maskwright.masks.frames import expand
from maskwright.masks.runs import Edges, cancel

_CHANNELS = 4
_HEADER_BITS = 53
_SAMPLE_BITS = 8
_RUN_SIZES = (3, 4, 8, 16)
_LONGEST_RUN = 1 << 16
_INSIDE = 255
_REPEATED = 0b100


def encode_brush(mask: Mask) -> NDArray[np.uint8]:
    """The brush stream of a mask, byte for byte what Label Studio's front end writes when a person accepts it.

    The SDK's ``mask2rle`` makes the same of an array of 0 and 255, but adds a zero byte where the bits end with a byte;
    the front end drops it, and a region would come back one byte shorter than it was sent.

    Returns:
        (n,) uint8; as JSON, the list of these numbers is a result's ``rle``.

    Raises:
        TooLarge: If the mask has 2**30 pixels or more, whose samples the format cannot count.
    """
    samples = mask.height * mask.width * _CHANNELS
    if samples >= 1 << 32:
        raise TooLarge("a brush region can have less than 2**30 pixels; crop or scale the image")
    runs: NDArray[np.int64] = np.diff(mask.row_edges * _CHANNELS, prepend=0, append=samples)
    values: NDArray[np.int64] = np.arange(len(runs)) % 2 * _INSIDE
    runs, values = runs[runs > 0], values[runs > 0]

    # A run beyond the longest is told in pieces, all of them with the run size that the whole one asks for.
    pieces = (runs + _LONGEST_RUN - 1) // _LONGEST_RUN
    choice = np.repeat(np.searchsorted([1 << size for size in _RUN_SIZES[:-1]], runs), pieces)
    values = np.repeat(values, pieces)
    lengths = np.full(len(values), _LONGEST_RUN)
    lengths[np.cumsum(pieces) - 1] = runs - (pieces - 1) * _LONGEST_RUN

    sizes = np.array(_RUN_SIZES)[choice]
    tokens = ((_REPEATED | choice) << sizes | lengths - 1) << _SAMPLE_BITS | values
    codes = np.concatenate([[samples, _SAMPLE_BITS - 1, *(size - 1 for size in _RUN_SIZES)], tokens])
    widths = np.concatenate([[32, 5, 4, 4, 4, 4], 3 + sizes + _SAMPLE_BITS])
    return _packed(codes, widths)


def _packed(codes: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Numbers written one after the other, ``widths`` <= 32 bits each, highest bit first; zeros fill the last byte."""
    ends = np.cumsum(widths)
    word, place = np.divmod(ends - widths, 32)
    window = codes << 64 - widths - place  # in two words of 32 bits, of which the first is number `word` of the stream
    n = int(ends[-1]) // 32 + 2
    # Bits of different numbers never coincide, so that adding up joins them; sums below 2**32 are exact in float64.
    high = np.bincount(word, weights=window >> 32 & 0xFFFFFFFF, minlength=n)
    low = np.bincount(word + 1, weights=window & 0xFFFFFFFF, minlength=n)
    return (high + low).astype(">u4").view(np.uint8)[: (int(ends[-1]) + 7) // 8]


def decode_brush(rle: Sequence[int] | bytes | NDArray[np.uint8], size: Size) -> Mask:
    """The mask of a brush stream: every pixel whose alpha sample is not 0.

    Reads whatever word size, run sizes and cut into tokens the writer chose. A last token that tells of more samples
    than there are is cut, and bytes after it are left alone, both as Label Studio's readers do.

    Args:
        rle: Numbers from 0 to 255.
        size: (height, width) of the image that the region belongs to.

    Raises:
        InvalidInput: If the numbers are no bytes, the stream is of another size or ends too early.
    """
    stream = _Stream.of(rle)
    empty = Mask.empty(size)
    if stream.samples != empty.height * empty.width * _CHANNELS:
        raise InvalidInput(
            f"rle: the stream tells of {stream.samples} samples, but an image {empty.width} pixels wide and "
            f"{empty.height} high has {empty.height * empty.width * _CHANNELS}; was it made for another image?"
        )
    return Mask(empty.size, row_edges=_alpha_edges(stream))


class _Stream(NamedTuple):
    """A stream with its header read.

    Attributes:
        data: The bytes, with zeros after them so that windows may reach past the end.
        bits: Length of the stream proper.
        samples: Number of samples in the picture.
        sample_bits: Bits per sample.
        run_sizes: The four widths of a token's count.
    """

    data: bytes
    bits: int
    samples: int
    sample_bits: int
    run_sizes: tuple[int, ...]

    @classmethod
    def of(cls, rle: Sequence[int] | bytes | NDArray[np.uint8]) -> _Stream:
        if isinstance(rle, np.ndarray) and rle.dtype != np.uint8:
            rle = rle.tolist()
        try:
            if not isinstance(rle, Sequence | np.ndarray):
                raise TypeError
            data = bytes(rle)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidInput("rle must be a flat list of whole numbers from 0 to 255") from error
        if len(data) * 8 < _HEADER_BITS:
            raise InvalidInput(f"rle: {len(data)} bytes are less than a brush stream's header")
        head = int.from_bytes(data[:7]) >> 3
        samples, sample_bits = head >> 21, (head >> 16 & 31) + 1
        run_sizes = tuple((head >> shift & 15) + 1 for shift in (12, 8, 4, 0))
        # Were every sample a token of its own, it would take so many bits; whatever follows cannot be part of it.
        bits = min(len(data) * 8, _HEADER_BITS + samples * (3 + max(run_sizes) + sample_bits))
        return cls(data[: bits // 8 + 1] + bytes(16), bits, samples, sample_bits, run_sizes)

    def list_length(self, at: int) -> int:
        """How many bits a list of samples takes that begins at bit ``at``."""
        head = int.from_bytes(self.data[at >> 3 : (at >> 3) + 4]) << (at & 7)
        size = self.run_sizes[head >> 29 & 3]
        count = (head >> 29 - size & (1 << size) - 1) + 1
        return 3 + size + count * self.sample_bits

    def windows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """57 or more bits from each position on, at the high end of a signed word."""
        every: NDArray[np.int64] = np.ndarray((len(self.data) - 7,), dtype=">i8", buffer=self.data, strides=(1,))
        windows: NDArray[np.int64] = every[positions >> 3].astype(np.int64) << (positions & 7)
        return windows


def _alpha_edges(stream: _Stream) -> Edges:
    """Row-major edges of the pixels whose alpha sample is not 0."""
    bits = _token_lengths(stream)
    ends = _HEADER_BITS + np.cumsum(bits)
    token = stream.windows(ends - bits)
    sizes = np.array(stream.run_sizes)[token >> 61 & 3]
    counts = (token >> 61 - sizes & (1 << sizes) - 1) + 1
    after = np.cumsum(counts)
    used = int(np.searchsorted(after, stream.samples)) + 1
    if used > len(bits) or ends[used - 1] > stream.bits:
        raise InvalidInput("rle: the stream ends before the image is full; send all of it")

    # A token covers the alpha samples, the last of every four, of pixels [first, last); its first sample is at offset.
    before = (after - counts)[:used]
    first, last = before // _CHANNELS, np.minimum(after[:used], stream.samples) // _CHANNELS
    offset = (ends - bits + 3 + sizes)[:used]
    listed = token[:used] >= 0
    if listed.any():
        # A list is so many runs of one pixel, each with its own sample.
        owner, pixel = expand(first, np.where(listed, last - first, 1))
        listed = listed[owner]
        skipped = (pixel * _CHANNELS + _CHANNELS - 1 - before[owner]) * stream.sample_bits
        offset = offset[owner] + np.where(listed, skipped, 0)
        first, last = pixel, np.where(listed, pixel + 1, last[owner])
    inside = stream.windows(offset) >> 64 - stream.sample_bits != 0
    return cancel(np.concatenate([first[inside], last[inside]]))


def _token_lengths(stream: _Stream) -> NDArray[np.int64]:
    """How many bits each token takes; to the end of the stream, whether or not the picture is full before.

    Where a token begins is known only once the one before has been read, so this is a walk; but how long a repeated
    sample *would* be is looked up for all bits at once, and a step of the walk is one index into these lengths.
    """
    data = np.frombuffer(stream.data, dtype=np.uint8)
    ten_bits = data[:-1].astype(np.intp) << 2 | data[1:] >> 6
    length_at = _repeated_lengths(stream.sample_bits, stream.run_sizes)[ten_bits].tobytes()
    longest = 3 + max(stream.run_sizes) + stream.sample_bits
    lengths: list[int] = []
    at, burst = _HEADER_BITS, len(length_at)
    while at < stream.bits:
        if not length_at[at]:
            lengths.append(stream.list_length(at))
            at += lengths[-1]
            continue
        known, length, certain = len(lengths), 0, (stream.bits - at) // longest + 1
        lengths += [length := length_at[at := at + length] for _ in repeat(None, min(certain, burst))]
        at, burst = at + length, 2 * burst
        if not length:  # it stood still at a list of samples or behind the end; where lists are many, walk less at once
            del lengths[lengths.index(0, known) :]
            burst = 1
    return np.frombuffer(array("q", lengths), dtype=np.int64)


@lru_cache(maxsize=8)
def _repeated_lengths(sample_bits: int, run_sizes: tuple[int, ...]) -> NDArray[np.uint64]:
    """(1024,): by ten bits, eight bytes that say how many bits a token takes that begins at each of the first eight.

    A list of samples, whose length these bits do not tell, takes 0.
    """
    first_three = np.arange(1 << 10)[:, None] >> np.arange(7, -1, -1) & 0b111
    lengths = [0, 0, 0, 0, *(3 + size + sample_bits for size in run_sizes)]
    together: NDArray[np.uint64] = np.array(lengths, dtype=np.uint8)[first_three].view(np.uint64)[:, 0]
    return together
