"""What corrected pictures of a new domain teach the embedded segmenter, and what it costs.

Run: .venv/bin/python tests/bench/bench_adaptation.py [--pictures 20] [--kind decoder|lora] [--objects 4] [--tuning]

The variant that has never seen nuclei is trained on nuclei pictures and measured on others, before and after, by the
same rules: mean IoU with a box, at 1, 3 and 5 clicks, and the differences with paired bootstrap intervals over
pictures. With --tuning both come from the pictures that constants may be fitted on; else the measured ones are unseen.
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

from maskwright.learn.clicker import click_through
from maskwright.learn.interactive import Session
from maskwright.learn.metrics import estimate, iou
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.learn.training.train import train
from maskwright.masks import Mask
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.merging import adapted
from maskwright.models.checkpoints import Checkpoint, Fingerprints, locate
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.embedded.weights import card, read_network
from maskwright.models.families import FAMILIES
from maskwright.models.uri import parse_model_uri

COLUMNS = ("box", "1", "3", "5")
Listed = tuple[Path, list[NDArray[np.bool_]]]


def pictures(seed: int) -> list[Listed]:
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


def corrected(item: Listed) -> TrainingImage:
    """A picture as if a person had left all of its objects."""
    path, masks = item
    return TrainingImage(path.name, lambda: read(path), tuple(TrainingObject(Mask.from_array(m)) for m in masks))


def measure(
    segmenter: EmbeddedSegmenter, unseen: list[Listed], objects: int, seed: int
) -> tuple[NDArray[np.float64], list[str]]:
    """(objects, 4) IoU in the order of ``COLUMNS``, and the picture of each object."""
    rows, names = [], []
    for path, masks in unseen:
        embedding = segmenter.encode([read(path)])[0]
        for truth in random.Random(seed).sample(masks, min(objects, len(masks))):
            clicked = click_through(truth, Session(segmenter, embedding).ask, 5)
            boxed = iou(Session(segmenter, embedding).ask([], Mask.from_array(truth).box), truth)
            rows.append((boxed, clicked[0], clicked[2], clicked[4]))
            names.append(path.name)
    return np.array(rows), names


def main() -> None:
    """Print before, after and the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None, help="CPU seconds of training")
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--kind", choices=("decoder", "lora"), default=None)
    parser.add_argument("--objects", type=int, default=4, help="objects of every unseen picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tuning", action="store_true", help="measure on pictures that constants may be fitted on")
    parser.add_argument("--model", default="embedded-no-nuclei")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    torch.set_num_threads(arguments.threads)
    device = ComputeDevice("cpu", "float32")
    uri = parse_model_uri(arguments.model)
    found: Checkpoint = locate(uri, Fingerprints())
    if found.path is None:
        parser.error(f"{uri} has no weights here")
    network = read_network(found.path, None if uri.location else card(uri.scheme)["sha256"])
    description = FAMILIES[uri.scheme].describe(found, device)
    base = EmbeddedSegmenter(description, network, device)
    everything = pictures(arguments.seed)
    fitted = [item for item in everything[:FITTED_NUCLEI] if item[1]]
    rest = [item for item in everything[FITTED_NUCLEI:] if item[1]]
    unseen = (fitted[arguments.pictures :] if arguments.tuning else rest)[-arguments.unseen :]
    before, names = measure(base, unseen, arguments.objects, arguments.seed)
    config = TrainingConfig(
        adapter=AdapterConfig(arguments.kind) if arguments.kind else None,
        steps=arguments.steps,
        seconds=arguments.seconds,
        rate=arguments.rate,
        seed=arguments.seed,
    )
    wall = time.perf_counter()
    trained = train(base, [corrected(item) for item in fitted[: arguments.pictures]], config)
    wall = time.perf_counter() - wall
    after, _ = measure(
        EmbeddedSegmenter(description, adapted(network, trained.adapter, trained.tensors), device),
        unseen,
        arguments.objects,
        arguments.seed,
    )
    size = sum(t.numel() for t in trained.tensors.values())
    print(f"{arguments.pictures} pictures, {len(before)} objects of {len(unseen)} others, {size:,} trained values")
    print(f"{trained.steps} steps in {trained.seconds:.0f} CPU seconds ({wall:.0f} s by the clock)")
    looks = [f"{look['step']}: {look['validation_iou']:.3f}" for look in trained.curve if look["validation_iou"]]
    print("validation IoU", ", ".join(looks))
    print("prompt   before    after   difference, 95 % interval")
    for column, name in enumerate(COLUMNS):
        gain = estimate(after[:, column] - before[:, column], names, arguments.seed)
        print(
            f"{name:6s} {before[:, column].mean():8.3f} {after[:, column].mean():8.3f}"
            f"   {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        )


if __name__ == "__main__":
    main()
