"""Pictures of a round to look at: where the candidate is worst, where it differs most, and annotations it disputes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.images import draw_overlay
from maskwright.learn.acquisition.calibration import Calibration, calibrate
from maskwright.learn.clicker import next_click
from maskwright.learn.gate.records import Measurement
from maskwright.learn.rounds.corpus import CorpusImage
from maskwright.learn.rounds.proposals import Proposed
from maskwright.masks import Mask
from maskwright.models.protocols import RGB, ImageEmbedding, Segmenter
from maskwright.prompts import Prompt
from maskwright.store.artifacts import write_atomically

Kind = Literal["worst", "disputed", "suspect"]
MOST = 8
"""Pictures of a kind."""
MOST_LOOKED_AT = 16
"""Images on which annotations are searched for errors: each costs one encoding."""
MOST_OBJECTS = 16
"""Objects of such an image that are asked for."""
SURE, APART = 0.7, 0.5
"""An annotation is suspect if the model expects at least the first IoU of its own mask, which has at most the second
with what was drawn; or is at least so sure of another class."""
LONGEST, SHORTEST = 480, 240
"""Pixels of a picture's longer side; smaller details are enlarged."""
_MARGIN, _LEAST_MARGIN = 0.15, 3
_AROUND = 1.0
"""A picture shows no more around an object than so many times its longer side, however much the model draws: what it is
about stays large."""
_PERSON, _MODEL = (0, 200, 80), (230, 40, 160)


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A picture to be drawn.

    Attributes:
        kind: What it shows.
        rank: The higher, the sooner it is shown.
        image: Of it.
        object: Number of the object on it.
        model: The model's mask, or None: that of a first click is then asked for.
        iou: Of the model's mask with what the person left.
        note: For a person.
    """

    kind: Kind
    rank: float
    image: CorpusImage
    object: int
    model: Mask | None
    iou: float
    note: str


def compared_exhibits(images: dict[str, CorpusImage], served: Measurement, candidate: Measurement) -> list[Exhibit]:
    """The held-out objects on which the candidate is worst after one click, and those on which both differ most.

    Args:
        images: By key.
        served: Of the model in service.
        candidate: Of the other, on the same objects.
    """
    found = []
    for before, after in zip(served.records, candidate.records, strict=True):
        image, was, now = images[after.image], before.iou["1"], after.iou["1"]
        place = image.correction.keys.index(after.object)
        note = f"after 1 click: served {was:.2f}, candidate {now:.2f}"
        found.append(Exhibit("worst", 1 - now, image, place, None, now, note))
        found.append(Exhibit("disputed", abs(now - was), image, place, None, now, note))
    return found


def suspect_outlines(
    segmenter: Segmenter, measured: Measurement, images: Sequence[CorpusImage], step: Callable[[int], None]
) -> list[Exhibit]:
    """Annotations whose outline the model disputes although it is sure of its own.

    Args:
        segmenter: In service.
        measured: Of it; tells how far its own estimates can be trusted.
        images: The first few are looked at.
        step: Told how many are done; what it raises ends the search.
    """
    trust = calibrate(*(np.clip(values, 0, 1) for values in measured.predictions()))
    found = []
    for done, image in enumerate(images[:MOST_LOOKED_AT], start=1):
        found += _suspects_of(segmenter, trust, image)
        step(done)
    return found


def _suspects_of(segmenter: Segmenter, trust: Calibration, image: CorpusImage) -> list[Exhibit]:
    objects = image.correction.objects[:MOST_OBJECTS]
    if not objects:
        return []
    (embedding,) = segmenter.encode([image.pixels()])
    answer = segmenter.decode(embedding, [Prompt(box=one.mask.box) for one in objects])
    expected = trust(np.nan_to_num(answer.predicted_iou[:, 0]))
    found = []
    for number, one in enumerate(objects):
        if expected[number] < SURE:
            continue
        mask = segmenter.upsample(embedding, answer.low_res_logits[number, 0])
        iou = mask.iou(one.mask)
        if iou <= APART and not mask.is_empty:
            note = (
                f"asked with the box around it, the model draws something else and expects IoU {expected[number]:.2f}"
            )
            found.append(Exhibit("suspect", float(expected[number]) - iou, image, number, mask, iou, note))
    return found


def suspect_classes(proposed: Iterable[Proposed]) -> list[Exhibit]:
    """Annotations whose class the model disputes although it is sure of another."""
    found = []
    for one in proposed:
        for i, j, iou in one.pairs:
            region, drawn = one.regions[i], one.image.correction.objects[j]
            sure = region.class_scores.get(region.label or "", 0.0)
            if drawn.label is not None and region.label not in (None, drawn.label) and sure >= SURE:
                note = f"drawn as {drawn.label!r}; the model says {region.label!r} ({sure:.2f})"
                found.append(Exhibit("suspect", sure, one.image, j, region.mask, iou, note))
    return found


def draw_gallery(folder: Path, segmenter: Segmenter, exhibits: Iterable[Exhibit]) -> list[dict[str, Any]]:
    """Draw the foremost exhibits of each kind as PNG files, person's outline and model's.

    Args:
        folder: Of the round.
        segmenter: Whose first click is shown where an exhibit has no mask.
        exhibits: Any number.

    Returns:
        The report's ``gallery``.
    """
    rows = []
    embeddings: dict[str, ImageEmbedding] = {}
    ordered = sorted(exhibits, key=lambda one: (-one.rank, one.image.key, one.object))
    for kind in ("worst", "disputed", "suspect"):
        for number, one in enumerate([e for e in ordered if e.kind == kind and e.rank > 0][:MOST], start=1):
            pixels, drawn = one.image.pixels(), one.image.correction.objects[one.object]
            if one.model is None and one.image.key not in embeddings:
                (embeddings[one.image.key],) = segmenter.encode([pixels])
            model = one.model or _first_click(segmenter, embeddings[one.image.key], drawn.mask)
            name = f"{kind}-{number:02d}.png"
            write_atomically(folder / name, picture(pixels, drawn.mask, model))
            rows.append(
                {
                    "file": name, "kind": kind, "task": one.image.correction.task, "label": drawn.label or "",
                    "iou": round(one.iou, 4), "note": one.note,
                }
            )  # fmt: skip
    return rows


def _first_click(segmenter: Segmenter, embedding: ImageEmbedding, truth: Mask) -> Mask:
    wanted = truth.to_array()
    click = next_click(wanted, np.zeros_like(wanted), np.zeros_like(wanted))
    if click is None:
        return Mask.empty(truth.size)
    answer = segmenter.decode(embedding, [Prompt.from_points([click.at_centre])], multimask_output=True)
    best = int(np.nan_to_num(answer.predicted_iou[0]).argmax())
    return segmenter.upsample(embedding, answer.low_res_logits[0, best])


def picture(pixels: RGB, person: Mask, model: Mask) -> bytes:
    """A PNG of the part of an image around an object, with the person's outline in green and the model's in magenta.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        person: Of its size, not empty.
        model: Of its size.
    """
    left, top, right, bottom = _around(person, model)
    longer = max(right - left, bottom - top)
    scale = min(LONGEST / longer, max(1.0, SHORTEST / longer))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas: NDArray[np.uint8] = np.asarray(
        cv2.resize(np.ascontiguousarray(pixels[top:bottom, left:right]), size, interpolation=area), dtype=np.uint8
    )

    def shrunk(mask: Mask) -> Mask:
        crop = mask.crop_array(left, top, right, bottom).astype(np.uint8)
        return Mask.from_array(cv2.resize(crop, size, interpolation=cv2.INTER_NEAREST))

    # The larger first, so that it does not hide the other.
    for mask, colour in sorted([(person, _PERSON), (model, _MODEL)], key=lambda item: -item[0].area):
        canvas = draw_overlay(canvas, [(shrunk(mask), None, None)], colours={None: colour})
    encoded, png = cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
    assert encoded
    return bytes(png)


def _around(person: Mask, model: Mask) -> tuple[int, int, int, int]:
    """Left, top, right, bottom pixel of what a picture shows."""
    height, width = person.size
    own, both = person.box, person.union(model).box
    side = max(own[2] - own[0], own[3] - own[1])
    margin = max(_LEAST_MARGIN, _MARGIN * side)
    most = max(_LEAST_MARGIN, _AROUND * side)
    left, top = (max(0, int(max(both[i] - margin, own[i] - most))) for i in (0, 1))
    right, bottom = (min(end, int(min(both[i] + margin, own[i] + most)) + 1) for i, end in ((2, width), (3, height)))
    return left, top, right, bottom
