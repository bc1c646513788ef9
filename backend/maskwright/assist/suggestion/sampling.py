"""A sample of a project's images, read for ``label_sets``, and where in them the proposed classes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.label_sets import LabelProposal, Sample
from maskwright.assist.suggestion.suggest import all_bounded, image_budget, read
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.images import Image
from maskwright.models.detectors.suppression import suppress
from maskwright.models.protocols import RGB, Detector
from maskwright.prompts import Box

MARGIN = 0.1
"""Of a box's sides, what is shown around it."""
Load = Callable[[], Image]
T = TypeVar("T")


def drawn(items: Iterable[T], count: int, seed: int = 0) -> list[T]:
    """A sample of a stream of unknown length, each as likely as any other, in its order (Vitter, 1985, algorithm R)."""
    rng = np.random.default_rng(seed)
    kept: list[tuple[int, T]] = []
    for place, item in enumerate(items):
        if place < count:
            kept.append((place, item))
        elif (slot := int(rng.integers(place + 1))) < count:
            kept[slot] = place, item
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]


def read_sample(
    images: Sequence[tuple[str, Load]],
    models: StageModels,
    options: StageOptions,
    step: Callable[[int], None] = lambda done: None,
) -> tuple[list[Sample], list[str]]:
    """What describers read off each image, and what could not be had.

    Args:
        images: (what the platform calls it, how to load it).
        models: Tagger and captioner.
        options: Whether captions are wanted, and what a language model's answers about one image may cost.
        step: Told how many images are done, after each.
    """
    samples: list[Sample] = []
    problems: list[str] = []
    for done, (name, load) in enumerate(images, start=1):
        image = attempt(load, None, f"image {name[:200]!r} was not read", problems)
        if image is not None:
            reading = read(image.pixels, all_bounded(models, image_budget(options)), options)
            problems += reading.problems
            samples.append(Sample(name, reading))
        step(done)
    return samples, list(dict.fromkeys(problems))


def find_examples(
    proposal: LabelProposal,
    images: Mapping[str, Load],
    detector: Detector | None,
    keep: Callable[[str, int, RGB], None] = lambda name, number, crop: None,
) -> LabelProposal:
    """The proposal with boxes around its examples, where a detector finds them.

    Args:
        proposal: Of ``propose_labels``.
        images: How to load what its examples name.
        detector: Looks for the classes, or None.
        keep: Told a class, the number of its example from 1, and its crop (h, w, 3) uint8 RGB: what is in the box and a
            little around it, or the whole image.
    """
    problems: list[str] = []
    boxes: dict[tuple[str, str], Box] = {}
    shown = [(one.name, n, item.image) for one in proposal.classes for n, item in enumerate(one.examples, start=1)]
    for name in dict.fromkeys(image for _, _, image in shown):
        image = attempt(images[name], None, f"image {name[:200]!r} was not read", problems)
        if image is None:
            continue
        here = [(label, number) for label, number, of in shown if of == name]
        found = {} if detector is None else _located(detector, image.pixels, [label for label, _ in here], problems)
        for label, number in here:
            keep(label, number, _crop(image.pixels, found.get(label)))
            if label in found:
                boxes[label, name] = found[label]
    classes = tuple(
        replace(one, examples=tuple(replace(item, box=boxes.get((one.name, item.image))) for item in one.examples))
        for one in proposal.classes
    )
    return replace(proposal, classes=classes, problems=tuple(dict.fromkeys((*proposal.problems, *problems))))


def _located(detector: Detector, pixels: RGB, labels: Sequence[str], problems: list[str]) -> dict[str, Box]:
    """The surest box of each class."""
    found = attempt(lambda: suppress(detector.detect(pixels, labels)), None, "examples were not located", problems)
    if found is None:
        return {}
    best: dict[str, Box] = {}
    for (x0, y0, x1, y1), index in zip(found.boxes.tolist(), found.phrase_indices.tolist(), strict=True):
        best.setdefault(labels[index], (x0, y0, x1, y1))
    return best


def _crop(pixels: RGB, box: Box | None) -> RGB:
    if box is None:
        return pixels
    x0, y0, x1, y1 = box
    across, down = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(0, int(x0 - across)), max(0, int(y0 - down))
    crop = pixels[top : max(top + 1, int(np.ceil(y1 + down))), left : max(left + 1, int(np.ceil(x1 + across)))]
    return crop if crop.size else pixels
