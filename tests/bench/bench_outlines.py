"""Loosely drawn outlines: mean IoU of what was drawn, and of the object that the default model finds inside it.

Run: .venv/bin/python tests/bench/bench_outlines.py [--limit 60] [--seed 0] [--sets bsds,camvid] [--model URI]

Three hands, each with the outer outline of a true object: ten vertices that are off by a tenth of the object's size
(the square root of its area); a lasso, the convex hull a quarter larger; and a careful hand, 24 vertices off by a
thirtieth. What was drawn itself is the baseline: it is what a polygon tool without an assistant leaves. Objects that
have fewer vertices than a hand draws are left out. Intervals are over images.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable

import cv2
import numpy as np
from bench_classical import DATA, objects, read
from numpy.typing import NDArray

from maskwright.assist.outline_masks import refine_outline
from maskwright.learn.metrics import resampled_means
from maskwright.masks import Mask
from maskwright.models.protocols import ImageEmbedding
from maskwright.models.registry import ModelRegistry
from maskwright.settings import read_settings

Line = NDArray[np.float64]
Hand = Callable[[Line, float, np.random.Generator], Line]


def shaky(vertices: int, off: float) -> Hand:
    """Draws so many vertices, evenly along the outline, each off by a part of the object's size."""

    def draw(outline: Line, size: float, rng: np.random.Generator) -> Line:
        places = np.linspace(0, len(outline), vertices, endpoint=False).astype(int)
        drawn: Line = outline[places] + rng.normal(0, off * size, (vertices, 2))
        return drawn

    return draw


def lasso(outline: Line, size: float, rng: np.random.Generator) -> Line:
    """Runs around the object with room to spare."""
    hull = cv2.convexHull(outline.astype(np.float32))[:, 0].astype(np.float64)
    middle = hull.mean(axis=0)
    around: Line = middle + 1.25 * (hull - middle)
    return around


HANDS: dict[str, tuple[int, Hand]] = {
    "10 vertices, a tenth off": (10, shaky(10, 0.1)),
    "hull, a quarter too large": (3, lasso),
    "24 vertices, a thirtieth off": (24, shaky(24, 1 / 30)),
}


def outer(mask: NDArray[np.bool_]) -> Line:
    """(n, 2) xy of the longest outer outline."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(found, key=len)[:, 0].astype(np.float64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="objects per set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", default="bsds,camvid")
    parser.add_argument("--model", default="embedded", help="URI of the segmenter")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    segmenter = ModelRegistry(read_settings(model=arguments.model)).segmenter()
    found: dict[str, list[tuple[str, float, float]]] = {title: [] for title in HANDS}
    for name in arguments.sets.split(","):
        last, embedding = None, None
        for number, (path, pixels) in enumerate(objects(name, arguments.limit, arguments.seed)):
            if path != last:
                last, embedding = path, segmenter.encode([read(path)])[0]
            assert isinstance(embedding, ImageEmbedding)
            truth, outline = Mask.from_array(pixels), outer(pixels)
            for title, (least, hand) in HANDS.items():
                if len(outline) < least:
                    continue
                line = hand(outline, math.sqrt(truth.area), np.random.default_rng([arguments.seed, number]))
                drawn = Mask.from_polygons([line], truth.size)
                mask, _ = refine_outline(segmenter, embedding, drawn)
                found[title].append((path.name, truth.iou(drawn), truth.iou(mask)))
    print(f"{segmenter.version}, {arguments.sets}, seed {arguments.seed}")
    print(f"{'mean IoU':30s}{'objects':>8s}{'as drawn':>10s}{'refined':>10s}   gain")
    for title, rows in found.items():
        files, before, after = zip(*rows, strict=True)
        gains = np.array(after) - np.array(before)
        low, high = np.percentile(resampled_means(gains, files, arguments.seed), [2.5, 97.5])
        means = f"{statistics.fmean(before):10.3f}{statistics.fmean(after):10.3f}"
        print(f"{title:30s}{len(rows):8d}{means}   {gains.mean():+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
