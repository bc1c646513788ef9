"""Brush RLE: ours beside the SDK's and the Rust package's, in one process, on smooth masks of 0.3, 2 and 12 megapixels.

The peers turn an array into a list of numbers and back; we turn a `Mask` into bytes and back. So that like is set
beside like, every direction is timed from and to the two forms in which a mask is met: the (H, W) array, and the Mask.
The Rust package's encoder wants the RGBA samples, and its decoder leaves them; making and reading them is its caller's
work and is counted where it says "array". The line "samples" leaves it out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import label_studio_brush_rle_rs as rust
import numpy as np
from label_studio_sdk.converter import brush as sdk

from maskwright.masks import Mask
from maskwright_label_studio.brush import decode_brush, encode_brush

SIZES = ((480, 640), (1154, 1732), (3000, 4000))
RUN_SIZES = [3, 4, 8, 16]


def smooth_mask(size: tuple[int, int]) -> Mask:
    """Two overlapping blobs and a hole: the outline of something that a person would paint."""
    h, w = size
    blob = Mask.from_ellipse(0.5 * w, 0.5 * h, 0.33 * w, 0.25 * h, 30, size)
    ear = Mask.from_ellipse(0.25 * w, 0.3 * h, 0.11 * w, 0.14 * h, 70, size)
    hole = Mask.from_ellipse(0.55 * w, 0.55 * h, 0.08 * w, 0.06 * h, 10, size)
    return (blob | ear) - hole


def milliseconds(run: Callable[[], object], runs: int) -> float:
    """Median over some runs, after one that does not count."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * 1e3


def fresh(mask: Mask) -> Mask:
    """The same mask that has not yet found anything out about itself."""
    return Mask(mask.size, mask.edges)


def report(what: str, ours: float, peers: dict[str, float]) -> None:
    """One line: our time, each peer's, and how many times ours it takes."""
    beside = "".join(f"   {name} {t:9.3f} ms = {t / ours:8.1f}x" for name, t in peers.items())
    print(f"  {what:<30} ours {ours:8.3f} ms{beside}")


def compare(size: tuple[int, int]) -> None:
    """All ways there and back at one size."""
    mask = smooth_mask(size)
    array = mask.to_array()
    pixels = array.astype(np.uint8) * 255
    samples = np.repeat(pixels.reshape(-1), 4)
    stream = encode_brush(mask)
    numbers = stream.tolist()
    for peer in (sdk.mask2rle(pixels), list(rust.encode_rle(samples, 8, RUN_SIZES))):
        assert numbers + [0] * (len(peer) - len(numbers)) == peer, "peers may add a spare zero byte, nothing else"
    assert decode_brush(numbers, size) == mask
    print(f"{size[0] * size[1] / 1e6:.1f} megapixels, {len(numbers)} bytes")

    few, many = (3, 7) if array.size > 1e6 else (7, 51)
    sdk_encode = milliseconds(lambda: sdk.mask2rle(pixels), few)
    rust_encode = milliseconds(lambda: rust.encode_rle(np.repeat(pixels.reshape(-1), 4), 8, RUN_SIZES), few)
    rust_samples = milliseconds(lambda: rust.encode_rle(samples, 8, RUN_SIZES), few)
    peers = {"SDK": sdk_encode, "Rust": rust_encode, "Rust (samples)": rust_samples}
    report("encode: Mask -> bytes", milliseconds(lambda: encode_brush(fresh(mask)), many), peers)
    report("encode: array -> Mask -> bytes", milliseconds(lambda: encode_brush(Mask.from_array(array)), many), peers)
    report(
        "encode: array -> Mask -> list",
        milliseconds(lambda: encode_brush(Mask.from_array(array)).tolist(), many),
        peers,
    )

    h, w = size
    sdk_decode = milliseconds(lambda: sdk.decode_rle(numbers).reshape(h, w, 4)[:, :, 3] > 0, few)
    peers = {
        "SDK": sdk_decode,
        "Rust": milliseconds(lambda: rust.decode_rle(numbers, False).reshape(h, w, 4)[:, :, 3] > 0, many),
        "Rust (samples)": milliseconds(lambda: rust.decode_rle(numbers, False), many),
    }
    report("decode: list -> Mask", milliseconds(lambda: decode_brush(numbers, size), many), peers)
    report("decode: list -> Mask -> array", milliseconds(lambda: decode_brush(numbers, size).to_array(), many), peers)
    report("decode: list -> Mask -> COCO", milliseconds(lambda: decode_brush(numbers, size).counts, many), peers)


def main() -> None:
    """Print the comparison."""
    for size in SIZES:
        compare(size)


if __name__ == "__main__":
    main()
