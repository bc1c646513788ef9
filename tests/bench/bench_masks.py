"""Mask operations beside pycocotools' C functions, in one process, each from and to the form that a user holds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from pycocotools import mask as coco

from maskwright.masks import Mask, pairwise_iou


def milliseconds(run: Callable[[], object], runs: int = 15) -> float:
    """Median over some runs, after one that does not count."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * 1e3


def compare(what: str, ours: Callable[[], object], peer: Callable[[], object], name: str = "pycocotools") -> None:
    """One line of the report."""
    mine, theirs = milliseconds(ours), milliseconds(peer)
    print(f"  {what:<44} ours {mine:9.3f} ms   {name} {theirs:9.3f} ms = {theirs / mine:7.1f}x")


def blobs(count: int, size: tuple[int, int], seed: int) -> list[Mask]:
    """Ellipses of all sizes all over the frame."""
    rng = np.random.default_rng(seed)
    h, w = size
    return [
        Mask.from_ellipse(x * w, y * h, (0.02 + a) * w, (0.02 + b) * h, t, size)
        for x, y, a, b, t in rng.random((count, 5)) * (1, 1, 0.15, 0.15, 180)
    ]


def compare_one(size: tuple[int, int]) -> None:
    """Everything that one or two masks can do."""
    h, w = size
    print(f"{h * w / 1e6:.1f} megapixels")
    a, b = (m.union(*rest) for m, *rest in (blobs(3, size, 0), blobs(3, size, 1)))
    array, rle_a, rle_b = a.to_array(), a.to_coco(), b.to_coco()
    pixels = array.astype(np.uint8)

    compare(
        "from (H, W) array to counts",
        lambda: Mask.from_array(array).counts,
        lambda: coco.encode(np.asfortranarray(pixels)),
    )
    compare(
        "from counts to (H, W) array",
        lambda: Mask.from_coco(rle_a).to_array(),
        lambda: np.ascontiguousarray(coco.decode(rle_a)),
    )
    compare(
        "area and box of counts",
        lambda: (Mask.from_coco(rle_a).area, Mask.from_coco(rle_a).box),
        lambda: (coco.area(rle_a), coco.toBbox(rle_a)),
    )
    compare(
        "union of two, counts to counts",
        lambda: (Mask.from_coco(rle_a) | Mask.from_coco(rle_b)).counts,
        lambda: coco.merge([rle_a, rle_b]),
    )
    compare("IoU of two masks at hand", lambda: a.iou(b), lambda: coco.iou([rle_a], [rle_b], [0]))
    ring = a.to_polygons(1.0)[0].exterior
    compare(
        "polygon to mask",
        lambda: Mask.from_polygons([ring], size),
        lambda: coco.frPyObjects([ring.reshape(-1).tolist()], h, w),
    )
    compare(
        "exact outlines of an array",
        lambda: Mask.from_array(array).to_polygons(),
        lambda: cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE),
        "OpenCV (inexact)",
    )
    kernel = np.ones((21, 21), np.uint8)
    compare(
        "boundary 10 pixels wide, array to array",
        lambda: Mask.from_array(array).boundary(10).to_array(),
        lambda: pixels - cv2.erode(pixels, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0),
        "OpenCV",
    )


def compare_many(size: tuple[int, int]) -> None:
    """Many masks against many."""
    many, others = blobs(500, size, 2), blobs(400, size, 3)
    rles, other_rles = [m.to_coco() for m in many], [m.to_coco() for m in others]
    print("500 masks against 400, 2.1 megapixels")
    compare(
        "IoU of all pairs", lambda: pairwise_iou(many, others), lambda: coco.iou(rles, other_rles, [0] * len(others))
    )


def main() -> None:
    """Print the comparison."""
    for size in ((480, 640), (3000, 4000)):
        compare_one(size)
    compare_many((1080, 1920))


if __name__ == "__main__":
    main()
