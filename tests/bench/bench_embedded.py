"""The learnt segmenter beside the weight-free one, filled box, GrabCut and flood fill, on the three development sets.

Run: .venv/bin/python tests/bench/bench_embedded.py [--limit 60] [--seed 0] [--sets nuclei,bsds,camvid] [--no-peers]
     [--models classical,embedded]

Prints per set mean IoU with a tight box and after 1, 3 and 5 clicks, NoC@80 and the share of objects that never reach
.80 in 20 clicks (``maskwright.learn``), their means over the sets, what the last model gains over the first with a
paired bootstrap 95 % interval over images, and the medians of encoding and of a click on pictures of 1920 x 1080. No
set was used to train the shipped weights but the first 100 images of nuclei, which are left out here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from bench_classical import DATA, filled_box, flood, grabcut, objects, read, tight_box
from numpy.typing import NDArray

from maskwright.errors import MaskwrightError
from maskwright.learn.clicker import Answer, click_through
from maskwright.learn.interactive import Session, click_until_good, evaluate_object
from maskwright.learn.metrics import Pixels, interval, iou, resampled_means
from maskwright.learn.summary import click_measures, measures
from maskwright.masks import Mask
from maskwright.models.protocols import RGB, ImageEmbedding, Segmenter
from maskwright.models.registry import ModelRegistry
from maskwright.settings import read_settings

COLUMNS = {"iou_box": "box", "iou_1": "1 click", "iou_3": "3 clicks", "iou_5": "5 clicks", "noc80": "NoC@80",
           "failed80": "failed"}  # fmt: skip
TOLERANCES = (16, 32)
FULL_HD = (1920, 1080)
TIMED_IMAGES = 10

Table = dict[str, dict[str, list[float]]]
"""By method, by measure: one number an object."""


class Measured:
    """What was measured on the objects of one set.

    Attributes:
        table: Every method's numbers, objects in one order for all.
        images: The image of each object.
    """

    def __init__(self) -> None:
        self.table: Table = {}
        self.images: list[str] = []

    def note(self, method: str, values: dict[str, float]) -> None:
        for column in COLUMNS:
            if column in values:
                self.table.setdefault(method, {}).setdefault(column, []).append(values[column])


def peers(image: RGB, truth: Pixels) -> dict[str, dict[str, float]]:
    """What needs no model: two answers to the box, and the magic wand with two tolerances."""
    box = tight_box(truth)
    found = {
        "filled box": {"iou_box": iou(filled_box(truth.shape, box), truth)},
        "GrabCut": {"iou_box": iou(grabcut(image[:, :, ::-1].copy(), box), truth)},
    }
    for tolerance in TOLERANCES:
        wand: Answer = partial(flood, image, tolerance)
        found[f"flood fill {tolerance}"] = click_measures(click_until_good(Mask.from_array(truth), wand))
    return found


def measure(name: str, limit: int, seed: int, models: dict[str, Segmenter], with_peers: bool) -> Measured:
    """Ask every method for the same objects of one set."""
    result, last, image, embeddings = Measured(), None, None, {}
    for path, truth in objects(name, limit, seed):
        if path != last:
            last, image = path, read(path)
            embeddings = {method: model.encode([image])[0] for method, model in models.items()}
        result.images.append(path.name)
        for method, values in peers(image, truth).items() if with_peers else ():
            result.note(method, values)
        for method, model in models.items():
            result.note(method, measures(evaluate_object(model, embeddings[method], Mask.from_array(truth))))
    return result


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """One table; a dot where a method has no such figure."""
    print(f"{title:20s}" + "".join(f"{heading:>10s}" for heading in COLUMNS.values()))
    for method, means in rows.items():
        cells = "".join(cell(column, means.get(column)) for column in COLUMNS)
        print(f"  {method:18s}{cells}", flush=True)


def cell(column: str, value: float | None) -> str:
    """A mean in ten characters."""
    if value is None:
        return f"{'.':>10s}"
    return f"{value:10.0%}" if column == "failed80" else f"{value:10.2f}" if column == "noc80" else f"{value:10.3f}"


def means(table: Table) -> dict[str, dict[str, float]]:
    """Of every method and measure."""
    return {method: {c: statistics.fmean(v) for c, v in columns.items()} for method, columns in table.items()}


def mean_of_sets(found: list[Measured]) -> dict[str, dict[str, float]]:
    """Every set weighs the same, whatever its number of objects."""
    rows = [means(one.table) for one in found]
    return {m: {c: statistics.fmean(row[m][c] for row in rows) for c in rows[0][m]} for m in rows[0]}


def show_gains(found: dict[str, Measured], better: str, than: str, seed: int) -> None:
    """What one model gains over another on the same objects, by set and on the mean of the sets."""
    print(f"{better + ' - ' + than:20s}" + "".join(f"{name:>26s}" for name in (*found, "mean of the sets")))
    for column, heading in COLUMNS.items():
        parts: list[tuple[float, NDArray[np.float64]]] = []
        for number, one in enumerate(found.values()):
            difference = np.subtract(one.table[better][column], one.table[than][column])
            # Sets are drawn from independently: a seed each.
            parts.append((float(difference.mean()), resampled_means(difference, one.images, seed + number)))
        parts.append((statistics.fmean(m for m, _ in parts), np.mean([r for _, r in parts], axis=0)))
        print(f"  {heading:18s}" + "".join(gain(column, *part) for part in parts), flush=True)


def gain(column: str, mean: float, resampled: NDArray[np.float64]) -> str:
    """A difference and its 95 % interval."""
    found, digits = interval(mean, resampled), 2 if column == "noc80" else 3
    low, high = f"{found.low:+.{digits}f}", f"{found.high:+.{digits}f}"
    return f"{f'{found.mean:+.{digits}f} [{low}, {high}]':>26s}"


def timed_encode(model: Segmenter, image: RGB) -> tuple[ImageEmbedding, float]:
    """The embedding and the seconds it took."""
    start = time.perf_counter()
    (embedding,) = model.encode([image])
    return embedding, time.perf_counter() - start


def show_speed(models: dict[str, Segmenter], seed: int) -> None:
    """Medians on photographs of the development sets brought to 1920 x 1080, clicked on five times each."""
    chosen: dict[Path, Pixels] = {}
    for path, truth in objects("bsds", 10**6, seed):
        if truth.shape[1] > truth.shape[0] and len(chosen) < TIMED_IMAGES:
            chosen.setdefault(path, truth)
    print(f"seconds at {FULL_HD[0]} x {FULL_HD[1]}, medians of {len(chosen)} images   encode     click")
    for method, model in models.items():
        encode_seconds, click_seconds = [], []
        for number, (path, truth) in enumerate(chosen.items()):
            image = cv2.resize(read(path), FULL_HD, interpolation=cv2.INTER_CUBIC)
            large = cv2.resize(truth.astype(np.uint8), FULL_HD, interpolation=cv2.INTER_NEAREST).astype(bool)
            if not number:  # a model's first call may do what later ones need not
                model.encode([image])
            embedding, seconds = timed_encode(model, image)
            encode_seconds.append(seconds)
            session = Session(model, embedding)
            click_through(large, session.ask, 5)
            click_seconds += session.seconds
        print(f"  {method:46s}{statistics.median(encode_seconds):8.3f}{statistics.median(click_seconds):10.3f}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="objects per set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", default="nuclei,bsds,camvid")
    parser.add_argument("--models", default="classical,embedded", help="URIs; the last is compared with the first")
    parser.add_argument("--no-peers", action="store_true", help="leave out filled box, GrabCut and flood fill")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    registry = ModelRegistry(read_settings())
    try:
        models = {uri: registry.segmenter(uri) for uri in arguments.models.split(",")}
    except MaskwrightError as error:
        parser.error(str(error))
    print("  ".join(f"{uri} = {model.version}" for uri, model in models.items()))
    found: dict[str, Measured] = {}
    for name in arguments.sets.split(","):
        found[name] = measure(name, arguments.limit, arguments.seed, models, not arguments.no_peers)
        show(f"{name} ({len(found[name].images)})", means(found[name].table))
    show("mean of the sets", mean_of_sets(list(found.values())))
    first, *_, last = models if len(models) > 1 else (None, None)
    if first and last:
        show_gains(found, last, first, arguments.seed)
    show_speed(models, arguments.seed)


if __name__ == "__main__":
    main()
