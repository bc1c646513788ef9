"""A sheet of samples with the outlines of their masks, to look at.

Run: python -m maskwright.learn.base.preview --sources scenes,photographs --count 24 --seed 0 --out FILE.png [--data D]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from maskwright.learn.base.samples import NAMES, Sample, open_sources
from maskwright.learn.base.sampling import Image

TILE = 320


def outlined(sample: Sample) -> Image:
    """(TILE, TILE, 3) uint8: the picture with the outline of every mask in a colour of its own."""
    scale = TILE / max(sample.image.shape[:2])
    size = round(sample.image.shape[1] * scale), round(sample.image.shape[0] * scale)
    picture = np.asarray(cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for k, mask in enumerate(sample.masks):
        hue = np.array([[[k * 180 // len(sample.masks), 255, 255]]], dtype=np.uint8)
        colour = tuple(int(v) for v in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0])
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        cv2.drawContours(picture, cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0], -1, colour, 1)
    tile = np.zeros((TILE, TILE, 3), dtype=np.uint8)
    tile[: size[1], : size[0]] = picture
    return tile


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sources", default=",".join(NAMES))
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--data", type=Path, default=None, help="folder that holds the set 'nuclei'")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sources = list(open_sources(arguments.data, arguments.sources.split(","), arguments.side).values())
    rng, tiles, seconds = np.random.default_rng(arguments.seed), [], 0.0
    for k in range(arguments.count):
        start = time.perf_counter()
        sample = sources[k % len(sources)].sample(rng)
        seconds += time.perf_counter() - start
        tiles.append(outlined(sample))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % arguments.columns)
    rows = [np.hstack(tiles[k : k + arguments.columns]) for k in range(0, len(tiles), arguments.columns)]
    PillowImage.fromarray(np.vstack(rows)).save(arguments.out)
    print(f"{arguments.count} samples, {1000 * seconds / arguments.count:.0f} ms each, first decoding included")


if __name__ == "__main__":
    main()
