"""Pre-annotation in stages with a language model that takes its time: images one by one, and many in flight.

A scripted language model answers after ``--latency`` seconds; words and boxes are scripted too, so that what is left
for the device is segmentation: encode, boxes, points, boxes with points. Printed are the seconds of segmentation alone
and the ratio to them of everything, with and without overlap. ``--embedded`` has the package's own tagger and detector
work beside the script: the device then has more to do than to segment.

    .venv/bin/python tests/bench/bench_suggestion.py [--images 100] [--latency 1] [--workers 16] [--embedded]
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.in_flight import WORKERS, Turn, in_flight
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.protocols import Detections, Detector, Segmenter, Tag, Tagger
from maskwright.models.registry import ModelRegistry
from maskwright.models.stages import Stages
from maskwright.settings import read_settings

SIZE = (480, 640)
LABELS = LabelSet.of(["car", "dog", "person"])
WORDS = ("saloon", "dog", "person")
ONE_BY_ONE = 10
"""Most images that are timed without overlap: each costs the latency."""


class Scene:
    """A picture of three things, and where they are."""

    def __init__(self, number: int) -> None:
        rng = np.random.default_rng(number)
        pixels = np.clip(rng.normal(110, 12, (*SIZE, 3)), 0, 255)
        self.boxes: list[tuple[float, float, float, float]] = []
        for third, colour in enumerate(rng.permutation(((220, 60, 50), (50, 190, 90), (60, 90, 230)))):
            cx, cy = 640 / 3 * (third + 0.5) + rng.uniform(-20, 20), rng.uniform(150, 330)
            rx, ry = rng.uniform(40, 85), rng.uniform(50, 130)
            mask = Mask.from_ellipse(cx, cy, rx, ry, 0, SIZE).to_array()
            pixels[mask] = np.clip(rng.normal(colour, 12, (int(mask.sum()), 3)), 0, 255)
            self.boxes.append((cx - rx, cy - ry, cx + rx, cy + ry))
        shown = pixels.astype(np.uint8)
        shown.setflags(write=False)
        self.image = Image(shown, f"{number:064d}", f"{number:064d}")


class ScriptedTagger:
    """Says what every picture shows, after the work of another tagger if there is one."""

    name, version = "script", "script-1"

    def __init__(self, worker: Tagger | None) -> None:
        self._worker = worker

    def tags(self, images: Sequence[Any], *, top: int = 10) -> list[list[Tag]]:
        if self._worker is not None:
            self._worker.tags(images, top=top)
        return [[Tag(word, 0.9) for word in WORDS[:top]] for _ in images]


class ScriptedDetector:
    """Knows where the three things of one scene are, after the work of another detector if there is one."""

    name, version = "script", "script-1"

    def __init__(self, scene: Scene, worker: Detector | None) -> None:
        self._boxes, self._worker = scene.boxes, worker

    def detect(self, image: Any, phrases: Sequence[str]) -> Detections:
        if self._worker is not None:
            self._worker.detect(image, phrases)
        found = [(box, phrases.index(name)) for box, name in zip(self._boxes, LABELS.names, strict=True)]
        return Detections(
            np.array([box for box, _ in found], dtype=np.float32),
            np.full(len(found), 0.6, dtype=np.float32),
            np.array([index for _, index in found], dtype=np.int64),
        )


class SlowLanguageModel:
    """Answers rightly, after a while, to any number of questions at once."""

    name, version = "slow", "slow-1"

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._lock = threading.Lock()
        self.questions = 0

    def answer(self, messages: Any, schema: Any) -> dict[str, Any]:
        with self._lock:
            self.questions += 1
        time.sleep(self._latency)
        if "label" in schema["properties"]:
            return {"label": "car"}
        return {
            "labels": [{"name": n, "evidence": [w], "implied": False} for n, w in zip(LABELS.names, WORDS, strict=True)]
        }


class Bench:
    """The same images under several regimes; adds up the seconds of the stages."""

    def __init__(self, scenes: Sequence[Scene], segmenter: Segmenter, workers: StageModels) -> None:
        self.scenes, self.segmenter, self.workers = scenes, segmenter, workers
        self.memo = PhraseMemo()
        self.seconds: dict[str, float] = {}

    def run(self, scene: Scene, language: SlowLanguageModel | None, turn: Turn) -> Preannotation:
        tagger, detector = ScriptedTagger(self.workers.tagger), ScriptedDetector(scene, self.workers.detector)
        context = Context(
            StageModels(tagger=tagger, language=language, detector=detector),
            self.segmenter,
            lambda window: self.segmenter.encode([scene.image.pixels])[0],
            self.memo,
            "bench",
            turn=turn,
            observe=self._observe,
        )
        options = StageOptions(check_pixels=False, every_class=language is None)
        return preannotate_in_stages(scene.image, LABELS, PreannotationOptions(), options, context)

    def one_by_one(self, language: SlowLanguageModel | None, count: int) -> tuple[float, int]:
        """Wall seconds and regions of the first ``count`` images."""
        self.seconds = {}
        started = time.perf_counter()
        regions = sum(len(self.run(scene, language, nullcontext()).regions) for scene in self.scenes[:count])
        return time.perf_counter() - started, regions

    def many_at_once(self, language: SlowLanguageModel, workers: int) -> tuple[float, int]:
        """Wall seconds and regions of all images."""
        self.seconds, self.memo = {}, PhraseMemo()
        started, regions = time.perf_counter(), 0
        for outcome in in_flight(self.scenes, lambda scene, turn: self.run(scene, language, turn), workers=workers):
            if outcome.error is not None:
                raise outcome.error
            regions += len(outcome.result.regions) if outcome.result is not None else 0
        return time.perf_counter() - started, regions

    def _observe(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds of each answer of the language model")
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--model", default="embedded", help="URI of the segmenter")
    parser.add_argument("--embedded", action="store_true", help="the package's own tagger and detector")
    options = parser.parse_args()
    settings = read_settings()
    segmenter = ModelRegistry(settings).segmenter(options.model)
    stages = Stages(settings)
    own = StageModels(tagger=stages.tagger("embedded"), detector=stages.detector("embedded"))
    bench = Bench(
        [Scene(number) for number in range(options.images)], segmenter, own if options.embedded else StageModels()
    )
    bench.one_by_one(None, 2)  # loads what is loaded once

    alone, regions = bench.one_by_one(None, options.images)
    segmentation = bench.seconds["segment"]
    print(f"{options.images} images of {SIZE[1]}x{SIZE[0]}, {segmenter.name}, {regions} regions")
    print(f"  segmentation alone         {segmentation:7.2f} s")
    print(f"  without a language model   {alone:7.2f} s   {alone / segmentation:5.2f} times")
    few = min(options.images, ONE_BY_ONE)
    language = SlowLanguageModel(options.latency)
    spent, _ = bench.one_by_one(language, few)
    spent *= options.images / few
    print(f"  one by one                 {spent:7.2f} s   {spent / segmentation:5.2f} times   (from {few} images)")
    language = SlowLanguageModel(options.latency)
    spent, regions = bench.many_at_once(language, options.workers)
    print(f"  {options.workers:3d} in flight              {spent:7.2f} s   {spent / segmentation:5.2f} times")
    print(
        f"    of it segmenting         {bench.seconds['segment']:7.2f} s   "
        f"({language.questions} questions of {options.latency:g} s, {regions} regions)"
    )


if __name__ == "__main__":
    main()
