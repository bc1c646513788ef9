"""What ten corrected pictures of a new domain teach the embedded segmenter.

Run: .venv/bin/python tests/bench/bench_adaptation.py [--pictures 10] [--seconds 170] [--rank R] [--objects 4]

The variant that has never seen nuclei is tuned on nuclei pictures and measured on 40 others, before and after, by the
same rules: mean IoU with a box, at 1 and 5 clicks, and the differences with paired bootstrap intervals over pictures.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from bench_classical import ANNOTATIONS, DATA, FITTED_NUCLEI, read
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskwright.learn.adapt import CorrectedPicture, Tuning, tune
from maskwright.learn.clicker import click_through
from maskwright.learn.interactive import Session
from maskwright.learn.metrics import estimate, iou
from maskwright.masks import Mask
from maskwright.models.checkpoints import Checkpoint, Fingerprints, locate
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.adapters import adapted
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.embedded.weights import card, read_network
from maskwright.models.families import FAMILIES
from maskwright.models.uri import parse_model_uri

COLUMNS = ("box", "1", "5")
UNSEEN = 40


def pictures(seed: int) -> list[tuple[Path, list[NDArray[np.bool_]]]]:
    """All nuclei pictures with their masks, the first ``FITTED_NUCLEI`` first, each part shuffled by the seed."""
    document = json.loads((DATA / "nuclei" / ANNOTATIONS["nuclei"]).read_text())
    masks: dict[int, list[NDArray[np.bool_]]] = {}
    for annotation in document["annotations"]:
        masks.setdefault(annotation["image_id"], []).append(coco_mask.decode(annotation["segmentation"]).astype(bool))
    listed = [(DATA / "nuclei" / i["file_name"], masks.get(i["id"], [])) for i in document["images"]]
    first, rest = listed[:FITTED_NUCLEI], listed[FITTED_NUCLEI:]
    random.Random(seed).shuffle(first)
    random.Random(seed).shuffle(rest)
    return first + rest


def measure(
    segmenter: EmbeddedSegmenter, unseen: list[tuple[Path, list[NDArray[np.bool_]]]], objects: int, seed: int
) -> tuple[NDArray[np.float64], list[str]]:
    """(objects, 3) IoU in the order of ``COLUMNS``, and the picture of each object."""
    rows, names = [], []
    for path, masks in unseen:
        embedding = segmenter.encode([read(path)])[0]
        for truth in random.Random(seed).sample(masks, min(objects, len(masks))):
            clicked = click_through(truth, Session(segmenter, embedding).ask, 5)
            boxed = iou(Session(segmenter, embedding).ask([], Mask.from_array(truth).box), truth)
            rows.append((boxed, clicked[0], clicked[4]))
            names.append(path.name)
    return np.array(rows), names


def main() -> None:
    """Print before, after and the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=170, help="CPU seconds of tuning")
    parser.add_argument("--rate", type=float, default=Tuning.rate)
    parser.add_argument("--rank", type=int, default=None, help="low-rank corrections instead of the whole decoder")
    parser.add_argument("--objects", type=int, default=4, help="objects of every unseen picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="embedded-no-nuclei")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    torch.set_num_threads(1)
    device = ComputeDevice("cpu", "float32")
    uri = parse_model_uri(arguments.model)
    found: Checkpoint = locate(uri, Fingerprints())
    if found.path is None or arguments.pictures > FITTED_NUCLEI:
        parser.error(f"{uri} has no weights here, or more than {FITTED_NUCLEI} pictures were asked for")
    network = read_network(found.path, None if uri.location else card(uri.scheme)["sha256"])
    description = FAMILIES[uri.scheme].describe(found, device)
    listed = [item for item in pictures(arguments.seed) if item[1]]
    corrected = [CorrectedPicture(read(path), tuple(masks)) for path, masks in listed[: arguments.pictures]]
    unseen = listed[-UNSEEN:]
    before, names = measure(EmbeddedSegmenter(description, network, device), unseen, arguments.objects, arguments.seed)
    start, wall = time.thread_time(), time.perf_counter()
    adapter = tune(
        network,
        corrected,
        Tuning(10_000, arguments.seconds, rate=arguments.rate, rank=arguments.rank, seed=arguments.seed),
    )
    spent, wall = time.thread_time() - start, time.perf_counter() - wall
    segmenter = EmbeddedSegmenter(description, adapted(network, adapter), device)
    after, _ = measure(segmenter, unseen, arguments.objects, arguments.seed)
    size = sum(t.numel() for t in adapter.values())
    print(f"{len(corrected)} pictures, {len(before)} objects of {len(unseen)} unseen ones, {size:,} trained values")
    print(f"tuned for {spent:.0f} CPU seconds ({wall:.0f} s by the clock)")
    print("prompt   before    after   difference, 95 % interval")
    for column, name in enumerate(COLUMNS):
        gain = estimate(after[:, column] - before[:, column], names, arguments.seed)
        print(
            f"{name:6s} {before[:, column].mean():8.3f} {after[:, column].mean():8.3f}"
            f"   {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        )


if __name__ == "__main__":
    main()
