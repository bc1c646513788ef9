"""What the evaluation gate costs and what it decides, with the embedded segmenter.

Run: .venv/bin/python tests/bench/bench_gate.py cost
     .venv/bin/python tests/bench/bench_gate.py verdicts [--pictures 20] [--steps 150] [--held-out 12] [--objects 5]

``cost`` prints the seconds that measuring one object takes at two sizes of image, by the most clicks made.
``verdicts`` tunes the variant that has never seen nuclei on nuclei pictures of the development sets, once on what
people left and once with the masks moved elsewhere in their pictures, and prints what the gate says of each on others.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np
import torch
from bench_adaptation import DATA, FITTED_NUCLEI, Listed, corrected, pictures, read
from numpy.typing import NDArray

from maskwright.learn.gate.asking import Asking, HeldOutImage, HeldOutObject
from maskwright.learn.gate.measure import measure
from maskwright.learn.gate.verdict import judge
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.train import train
from maskwright.masks import Mask
from maskwright.models.adapters.merging import merged
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.network import EmbeddedNetwork
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.embedded.weights import read_network
from maskwright.models.families import ModelDescription


def segmenter(network: EmbeddedNetwork, version: str) -> EmbeddedSegmenter:
    """One on the CPU."""
    description = ModelDescription("embedded", version, "embedded", 10**7)
    return EmbeddedSegmenter(description, network, ComputeDevice("cpu", "float32"))


def held_out(item: Listed, side: int | None = None) -> HeldOutImage:
    """A picture as the gate takes it, stretched to a square where a side is given."""
    path, masks = item
    if side is not None:
        masks = [cv2.resize(m.view(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0 for m in masks]
    objects = tuple(HeldOutObject(str(n), "nucleus", Mask.from_array(m)) for n, m in enumerate(masks) if m.any())
    return HeldOutImage(
        path.name, lambda: read(path) if side is None else cv2.resize(read(path), (side, side)), objects
    )


def cost(network: EmbeddedNetwork, listed: list[Listed], arguments: argparse.Namespace) -> None:
    """Seconds of an object at two sizes of image."""
    for side in (256, 512):
        chosen = [held_out(item, side) for item in listed[-arguments.held_out :]]
        for most in (20, 10, 5):
            how = Asking(most_objects=arguments.objects, most_clicks=most, seed=arguments.seed)
            began = time.process_time()
            found = measure(segmenter(network, "base"), chosen, how)
            spent = (time.process_time() - began) / len(found.records)
            print(
                f"{side} x {side}, {most:2d} clicks at most: {len(found.records)} objects, "
                f"{spent:.3f} CPU s an object, {found.seconds_per_object:.3f} s by the clock"
            )


def verdicts(network: EmbeddedNetwork, listed: list[Listed], arguments: argparse.Namespace) -> None:
    """What the gate says of a useful and of a harmful adapter."""
    taught, judged = listed[: arguments.pictures], [held_out(item) for item in listed[-arguments.held_out :]]
    how = Asking(most_objects=arguments.objects, seed=arguments.seed)
    right = [corrected(item) for item in taught]
    moved = [corrected((path, _strewn(masks, arguments.seed))) for path, masks in taught]
    served = measure(segmenter(network, "base"), judged, how)
    for name, lesson in (("corrected", right), ("shuffled masks", moved)):
        began = time.perf_counter()
        config = TrainingConfig(steps=arguments.steps, seed=arguments.seed)
        learnt = train(segmenter(network, "base"), lesson, config)
        trained = time.perf_counter() - began
        found = measure(segmenter(merged(network, learnt.tensors), name), judged, how)
        spent = found.encode_seconds + found.answer_seconds
        print(f"{name}: trained in {trained:.0f} s, measured in {spent:.0f} s\n  {judge(served, found).reason}")


def _strewn(masks: list[NDArray[np.bool_]], seed: int) -> list[NDArray[np.bool_]]:
    """The masks of a picture, each moved to somewhere else in it."""
    rng = np.random.default_rng([seed, len(masks)])
    height, width = masks[0].shape
    return [np.roll(m, (rng.integers(height), rng.integers(width)), (0, 1)) for m in masks]


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "verdicts"))
    parser.add_argument("--pictures", type=int, default=20, help="to learn from")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--held-out", type=int, default=12)
    parser.add_argument("--objects", type=int, default=5, help="of every held-out picture")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    torch.set_num_threads(1)
    listed = [item for item in pictures(arguments.seed)[:FITTED_NUCLEI] if item[1]]  # the rest is for the printed tests
    network = read_network(PACKAGED_WEIGHTS / "embedded-no-nuclei.safetensors")
    (cost if arguments.what == "cost" else verdicts)(network, listed, arguments)


if __name__ == "__main__":
    main()
