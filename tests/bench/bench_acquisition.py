"""Which images to label next: what the signals know, and what every acquisition function makes of a few rounds.

Run: .venv/bin/python tests/bench/bench_acquisition.py [--quick | --signals | --only-speed] [--functions random,hybrid]
    [--seeds 0,1] [--rounds 3] [--steps 40]

On the first 100 nuclei images, never on the others, with the variant that has never seen nuclei.

``--signals [NAMES]``: rank correlation over the images of every signal with the true error of the segmenter, and of the
cost foreseen without any lead time with the clicks that a simulated annotator needs; then what two batches of every
function hold, without training.

Otherwise 50 images chosen by the seed are the pool and 50 the check half. Nothing is labelled at first; in every
round a function chooses 10 of the pool by what the segmenter of that round sees, the base is tuned on all so chosen,
and the IoU at 1 click is measured on the check half. Prints mean IoU after each batch and the objects that had to be
labelled for it. Before, in every mode, the time that ordering 10,000 candidates takes.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from bench_classical import ANNOTATIONS, DATA, FITTED_NUCLEI, read
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco_mask

from maskwright.assist.everything import propose_regions
from maskwright.assist.preannotate import PreannotationOptions, proposal_options
from maskwright.learn.acquisition.candidates import AcquisitionFunction, Candidate, Context, Look, measure
from maskwright.learn.acquisition.catalogue import NAMES, Tools, acquisition_function, needed_signals
from maskwright.learn.acquisition.committee import dropout_committee
from maskwright.learn.acquisition.coreset import pooled
from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.acquisition.hybrid import Hybrid, relative_cost
from maskwright.learn.acquisition.looking import proposed_regions
from maskwright.learn.acquisition.ordering import by_priority, ranks
from maskwright.learn.clicker import click_through
from maskwright.learn.interactive import Session
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.learn.training.train import train
from maskwright.masks import Mask
from maskwright.models.adapters.merging import merged
from maskwright.models.checkpoints import Fingerprints, locate
from maskwright.models.device import ComputeDevice
from maskwright.models.embedded.network import EmbeddedNetwork
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.embedded.weights import card, read_network
from maskwright.models.families import FAMILIES, ModelDescription
from maskwright.models.protocols import ImageEmbedding
from maskwright.models.uri import parse_model_uri
from maskwright.regions import Provenance, Region

DEVICE = ComputeDevice("cpu", "float32")
BATCH = 10
POOL = 50
DRAWS = 40
MANY = 10_000
VARIANTS: dict[str, tuple[float, float]] = {
    "hybrid-uncertain": (0.0, 0.0),
    "hybrid-diverse": (1.0, 0.0),
    "hybrid-half-cost": (1.0, 0.5),
    "hybrid-full-cost": (1.0, 1.0),
}
"""Other hybrids to choose the default among: powers of diversity and cost."""


@dataclass(frozen=True, eq=False)
class Shown:
    """An image with its objects, encoded, and what is proposed on it."""

    key: str
    image: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...]
    embedding: ImageEmbedding
    regions: tuple[Region, ...]

    def corrected(self) -> TrainingImage:
        """As if a person had left all of its objects."""
        objects = tuple(TrainingObject(Mask.from_array(mask)) for mask in self.masks)
        return TrainingImage(self.key, lambda: self.image, objects)


def load(network: EmbeddedNetwork, description: ModelDescription) -> list[Shown]:
    """The first ``FITTED_NUCLEI`` images that have objects."""
    document = json.loads((DATA / "nuclei" / ANNOTATIONS["nuclei"]).read_text())
    segmenter = EmbeddedSegmenter(description, network, DEVICE)
    masks: dict[int, list[NDArray[np.bool_]]] = {}
    for annotation in document["annotations"]:
        masks.setdefault(annotation["image_id"], []).append(coco_mask.decode(annotation["segmentation"]).astype(bool))
    found = []
    for listed in document["images"][:FITTED_NUCLEI]:
        if not masks.get(listed["id"]):
            continue
        image = read(DATA / "nuclei" / listed["file_name"])
        (embedding,) = segmenter.encode([image])
        options = proposal_options(PreannotationOptions(), segmenter, 1, 2048, 128)
        proposals = propose_regions(
            segmenter, lambda _, made=embedding: made, (image.shape[0], image.shape[1]), options
        )
        regions = tuple(
            Region(mask, "nucleus", float(score), Provenance("preannotation"))
            for mask, score in zip(proposals.masks, proposals.predicted_iou, strict=True)
        )
        found.append(Shown(listed["file_name"], image, tuple(masks[listed["id"]]), embedding, regions))
    return found


def function_named(name: str, tools: Tools) -> AcquisitionFunction:
    """From the catalogue, or one of ``VARIANTS``."""
    made = acquisition_function("hybrid" if name in VARIANTS else name, tools)
    if name in VARIANTS and isinstance(made, Hybrid):
        return Hybrid(made.uncertainty, *VARIANTS[name])
    return made


def at_one_click(segmenter: EmbeddedSegmenter, check: list[Shown], objects: int, seed: int) -> float:
    """Mean IoU over seeded objects of the check half."""
    found = []
    for shown in check:
        masks = list(shown.masks)
        for truth in random.Random(seed).sample(masks, min(objects, len(masks))):
            found.append(click_through(truth, Session(segmenter, shown.embedding).ask, 1)[0])
    return float(np.mean(found))


def play(
    name: str, base: EmbeddedNetwork, description: ModelDescription, halves: tuple[list[Shown], list[Shown]],
    seed: int, arguments: argparse.Namespace,
) -> tuple[list[float], list[int]]:  # fmt: skip
    """IoU at 1 click after each batch, and the objects that were labelled by then."""
    pool, check = halves
    by_key = {shown.key: shown for shown in pool}
    network, chosen = base, list[str]()
    reached, labelled = [], []
    features = {shown.key: pooled(shown.embedding) for shown in pool}
    for _ in range(arguments.rounds):
        segmenter = EmbeddedSegmenter(description, network, DEVICE)
        draws = name == "bald" or name.startswith("hybrid")
        drawn = dropout_committee(network, description, DEVICE, members=3, seed=seed) if draws else None
        function = function_named(name, Tools(segmenter, drawn))
        context = Context(
            seed=seed, batch=BATCH, labelled=np.array([features[key] for key in chosen], dtype=np.float32)
        )

        def look(shown: Shown, seen_by: EmbeddedSegmenter = segmenter) -> Look:
            asked = proposed_regions(seen_by, shown.embedding, shown.regions, arguments.proposals)
            return Look(shown.embedding, asked, shown.regions)

        left = [Candidate(s.key, partial(look, s), feature=features[s.key]) for s in pool if s.key not in chosen]
        signals = needed_signals(function)
        if name not in ("random", "core-set"):
            left = [measure(candidate, signals, context, pooled) for candidate in left]
        scores = function.score(left, context)
        chosen += by_priority({c.key: float(s) for c, s in zip(left, scores, strict=True)})[:BATCH]
        lesson = [by_key[key].corrected() for key in chosen]
        config = TrainingConfig(steps=arguments.steps, seed=seed)
        network = merged(base, train(EmbeddedSegmenter(description, base, DEVICE), lesson, config).tensors)
        reached.append(at_one_click(EmbeddedSegmenter(description, network, DEVICE), check, arguments.objects, seed))
        labelled.append(sum(len(by_key[key].masks) for key in chosen))
    return reached, labelled


def signals_beside_truth(
    network: EmbeddedNetwork, description: ModelDescription, listed: list[Shown], arguments: argparse.Namespace
) -> None:
    """Print the rank correlation of every signal with the true error, and of the cost with the clicks needed."""
    segmenter = EmbeddedSegmenter(description, network, DEVICE)
    names = tuple(arguments.signals.split(","))
    tools = Tools(segmenter, dropout_committee(network, description, DEVICE) if "bald" in names else None)
    signals = [signal for name in names for signal in needed_signals(acquisition_function(name, tools))]
    measured, errors, clicks = [], [], []
    for shown in listed:
        asked = proposed_regions(segmenter, shown.embedding, shown.regions, arguments.proposals)
        look = Look(shown.embedding, asked, shown.regions)
        measured.append(measure(Candidate(shown.key, lambda look=look: look), signals, Context(), pooled))
        truths = random.Random(0).sample(shown.masks, min(5, len(shown.masks)))
        curves = [click_through(truth, Session(segmenter, shown.embedding).ask, 8) for truth in truths]
        errors.append(1 - float(np.mean([curve[0] for curve in curves])))
        needed = [next((n for n, value in enumerate(curve, 1) if value >= 0.85), 9) for curve in curves]
        clicks.append(float(np.mean(needed)) * len(shown.masks))
    print("\nrank correlation over the images with the error at 1 click")
    columns = {name: [candidate.signals[name] for candidate in measured] for name in names}
    for name, values in columns.items():
        print(f"  {name:18s} {correlation(values, errors):+.2f}")
    for one in names:
        for other in names:
            if one < other:
                both = ranks(columns[one]) + ranks(columns[other])
                print(f"  {one + ' + ' + other:30s} {correlation(both, errors):+.2f}")
    cost = relative_cost(measured, Context())
    print(f"rank correlation of the foreseen cost with the clicks to IoU 0.85: {correlation(cost, clicks):+.2f}")
    batches_beside_truth(measured, tools, np.array(errors), np.array(clicks))


def batches_beside_truth(
    measured: list[Candidate], tools: Tools, errors: NDArray[np.float64], clicks: NDArray[np.float64]
) -> None:
    """Print what two batches of every function hold, without training: mean over ``DRAWS`` pools drawn from the images.

    Error at 1 click of the images chosen, clicks that labelling them takes, and how far the images of the pool lie from
    the nearest chosen one, as shares of what random choice gives.
    """
    vectors = np.stack([np.asarray(c.feature) for c in measured])
    chosen_by: dict[str, list[tuple[float, float, float]]] = {}
    for draw in range(DRAWS):
        pool = sorted(random.Random(draw).sample(range(len(measured)), POOL))
        for name in ("random", "core-set", "predicted-iou", "disagreement", "correction-cost", *VARIANTS):
            chosen: list[int] = []
            for _ in range(2):
                left = [i for i in pool if i not in chosen]
                context = Context(seed=draw, batch=BATCH, labelled=vectors[chosen])
                scores = function_named(name, tools).score([measured[i] for i in left], context)
                chosen += [left[j] for j in np.argsort(-scores, kind="stable")[:BATCH]]
            apart = np.linalg.norm(vectors[pool][:, None] - vectors[chosen][None], axis=2).min(axis=1)
            facts = (float(errors[chosen].mean()), float(clicks[chosen].sum()), float(apart.mean()))
            chosen_by.setdefault(name, []).append(facts)
    usual = np.mean(chosen_by["random"], axis=0)
    print(f"\ntwo batches of {BATCH} from {DRAWS} pools of {POOL}, relative to random")
    print("  function            error of the chosen   clicks to label them   distance of the pool to them")
    for name, rows in chosen_by.items():
        error, labour, distance = np.mean(rows, axis=0) / usual
        print(f"  {name:18s} {error:20.2f} {labour:22.2f} {distance:30.2f}")


def correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def timed(function: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def order_many() -> None:
    """Order ``MANY`` candidates from stored numbers with every function; each has to take less than a second."""
    rng = np.random.default_rng(0)
    names = ("entropy", "predicted-iou", "disagreement", "bald", "class-entropy")
    candidates = [
        Candidate(
            f"image-{i:05d}",
            signals=dict(zip(names, rng.random(len(names)).tolist(), strict=True)),
            feature=rng.normal(size=256).astype(np.float32),
            effort=Effort(int(rng.integers(0, 40)), float(rng.random()), float(rng.random())),
        )
        for i in range(MANY)
    ]
    tools = Tools(None, lambda *_: np.zeros(0))  # type: ignore[arg-type]
    context = Context(labelled=rng.normal(size=(100, 256)).astype(np.float32))
    print(f"\n{MANY:,} candidates from stored numbers, 100 labelled, batch of {context.batch}: seconds")
    for name in NAMES:
        seconds = timed(partial(acquisition_function(name, tools).score, candidates, context))
        print(f"  {name:18s} {seconds:6.3f}")
        assert seconds < 1, f"{name} took {seconds:.2f} s"


def main() -> None:
    """Play, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", default="random,entropy,predicted-iou,disagreement,bald,core-set,hybrid")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of tuning, after each batch")
    parser.add_argument("--objects", type=int, default=2, help="of every image of the check half")
    parser.add_argument("--proposals", type=int, default=12, help="asked about per image")
    parser.add_argument("--quick", action="store_true", help="two functions, two rounds, ten steps")
    parser.add_argument("--signals", nargs="?", const="entropy,predicted-iou,disagreement,bald", default="")
    parser.add_argument("--only-speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.functions, arguments.rounds, arguments.steps, arguments.objects = "random,hybrid", 2, 10, 1
        arguments.proposals = 6
    order_many()
    if arguments.only_speed:
        return
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    torch.set_num_threads(1)
    checkpoint = locate(parse_model_uri("embedded-no-nuclei"), Fingerprints())
    if checkpoint.path is None:
        parser.error("embedded-no-nuclei has no weights here")
    base = read_network(checkpoint.path, card("embedded-no-nuclei")["sha256"])
    description = FAMILIES["embedded-no-nuclei"].describe(checkpoint, DEVICE)
    shown = load(base, description)
    print(
        f"\n{len(shown)} images of the first {FITTED_NUCLEI} have objects; encoded in {time.process_time():.0f} CPU s"
    )
    if arguments.signals:
        signals_beside_truth(base, description, shown, arguments)
        return
    print("function           seed  IoU at 1 click before and after each batch    mean  objects labelled      CPU s")
    for seed in (int(part) for part in arguments.seeds.split(",")):
        mixed = random.Random(seed).sample(shown, len(shown))
        halves = (mixed[:POOL], mixed[POOL:])
        before = at_one_click(EmbeddedSegmenter(description, base, DEVICE), halves[1], arguments.objects, seed)
        for name in arguments.functions.split(","):
            start = time.process_time()
            reached, labelled = play(name, base, description, halves, seed, arguments)
            curve = "  ".join(f"{value:.3f}" for value in [before, *reached])
            spent = time.process_time() - start
            print(
                f"{name:18s} {seed:4d}  {curve:42s} {np.mean(reached):8.3f}  {labelled!s:20s} {spent:6.0f}", flush=True
            )


if __name__ == "__main__":
    main()
