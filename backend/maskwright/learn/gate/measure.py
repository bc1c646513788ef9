"""Ask a model for the held-out objects: by a box, and by clicks where its mask is most wrong.

The annotator is that of ``learn.clicker``, the rules of a session those of ``learn.interactive``: every prompt goes out
with the logits of the last answer, and a first click takes the best of three masks. Here the objects of an image click
in step, so that each pass of the decoder answers all of them, and an image is encoded once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import Cancelled, InvalidInput
from maskwright.learn.clicker import Click, next_click
from maskwright.learn.gate.asking import PROMPT_TYPES, Asking, HeldOutImage, HeldOutObject, check_objects
from maskwright.learn.gate.records import Measurement, ObjectRecord
from maskwright.learn.interactive import REPORTED_CLICKS
from maskwright.learn.metrics import Pixels, boundary_iou, iou
from maskwright.masks import Mask
from maskwright.models.protocols import RGB, ImageEmbedding, Segmenter
from maskwright.prompts import Box, Prompt

GOOD = (0.85, 0.90)
"""IoU to be reached, of NoC@85 and NoC@90."""
_PIXELS_AT_ONCE = 1 << 25
"""Bounds the memory of objects that click in step: about three bytes for each."""


@dataclass(frozen=True)
class Progress:
    """How far a measurement has come.

    Attributes:
        done: Images that are measured, the ones of an earlier measurement included.
        images: All images with objects.
        part: What the last image added; merged into what was there before, it can be stored and resumed from.
    """

    done: int
    images: int
    part: Measurement


def measure(
    segmenter: Segmenter,
    images: Iterable[HeldOutImage],
    asking: Asking | None = None,
    *,
    earlier: Measurement | None = None,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Measurement:
    """Measure a model on held-out objects.

    Args:
        segmenter: The model.
        images: Images without objects are passed over.
        asking: How to ask; None for the defaults.
        earlier: What was measured of the same model before. Images in it whose objects are still the same are not
            asked for again; images in it that are not given now are left out of the result.
        workers: Threads, each of which measures an image at a time. More than one pays where PyTorch and OpenCV use
            one thread each.
        progress: Called after each image, in the calling thread, in the order in which they are done.
        cancelled: Asked before each image and each round of clicks, by any of the threads.

    Returns:
        The records of all images given, in an order that does not depend on theirs.

    Raises:
        Cancelled: As soon as ``cancelled`` says so; what ``progress`` was given before is whole.
        InvalidInput: If an object has no pixel or not its image's size, a key occurs twice, or ``earlier`` is of
            another model or another way to ask.
    """
    how = asking or Asking()
    wanted = sorted(((image, how.chosen(image)) for image in images), key=lambda item: item[0].key)
    wanted = [(image, objects) for image, objects in wanted if objects]
    for (one, _), (other, _) in pairwise(wanted):
        if one.key == other.key:
            raise InvalidInput(f"image {one.key} was given twice: give all its objects at once")
    found = Measurement(segmenter.version, how)
    if earlier is not None:
        given = {image.key: objects for image, objects in wanted}
        found = found.merged(earlier.without(key for key in earlier.images if not _still(earlier, key, given)))
    there = set(found.images)
    waiting = [(image, objects) for image, objects in wanted if image.key not in there]
    parts: list[Measurement] = []
    work = (partial(_measure_image, segmenter, *item, how, cancelled) for item in waiting)
    with closing(_done(work, workers)) as done:
        for part in done:
            parts.append(part)
            if progress is not None:
                progress(Progress(len(wanted) - len(waiting) + len(parts), len(wanted), part))
    return found.merged(*parts)


def _done(work: Iterable[Callable[[], Measurement]], workers: int) -> Generator[Measurement, None, None]:
    """What pieces of work come to, as they are done; after one that fails no other is begun."""
    if workers <= 1:
        yield from (piece() for piece in work)
        return
    with ThreadPoolExecutor(workers, "measure") as pool:
        try:
            yield from (future.result() for future in as_completed([pool.submit(piece) for piece in work]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _still(earlier: Measurement, image: str, given: dict[str, tuple[HeldOutObject, ...]]) -> bool:
    """Whether an image that was measured has the same objects now."""
    then = {(record.object, record.label, record.truth) for record in earlier.records if record.image == image}
    return then == {(one.key, one.label, one.mask.content_hash()) for one in given.get(image, ())}


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("the evaluation was cancelled")


def _measure_image(
    segmenter: Segmenter,
    image: HeldOutImage,
    objects: Sequence[HeldOutObject],
    asking: Asking,
    cancelled: Callable[[], bool],
) -> Measurement:
    _check(cancelled)
    pixels: RGB = image.pixels()
    height, width = pixels.shape[:2]
    check_objects(image, objects, (height, width))
    began = time.perf_counter()
    (embedding,) = segmenter.encode([pixels])
    encode_seconds = time.perf_counter() - began
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    records: list[ObjectRecord] = []
    answer_seconds = 0.0
    for start in range(0, len(objects), at_once):
        group = objects[start : start + at_once]
        sessions = [_Session(one.mask.to_array(), asking.box(image.key, one)) for one in group]
        answer_seconds += _play(segmenter, embedding, sessions, asking.most_clicks, cancelled)
        records += [session.record(image.key, one) for session, one in zip(sessions, group, strict=True)]
    return Measurement(segmenter.version, asking, tuple(records), encode_seconds, answer_seconds)


class _Session:
    """One object in the making.

    Args:
        truth: (H, W) bool.
        box: That stands for it.
    """

    def __init__(self, truth: Pixels, box: Box) -> None:
        self.truth, self.box = truth, box
        self.mask, self.taken = np.zeros_like(truth), np.zeros_like(truth)
        self.clicks: list[Click] = []
        self.logits: NDArray[np.float32] | None = None
        self.box_answer, self.answers = (math.nan, math.nan), list[tuple[float, float]]()
        self.boundary: float | None = None
        self.empty = self.not_finite = 0

    def next_prompt(self, most_clicks: int) -> Prompt | None:
        """The prompt with the next click, or None if nothing more is to be learnt from this object."""
        good = max((found for found, _ in self.answers), default=0.0) >= max(GOOD)
        if len(self.clicks) >= (max(REPORTED_CLICKS) if good else most_clicks):
            return None
        click = next_click(self.truth, self.mask, self.taken)
        if click is None:
            return None
        self.taken[click.y, click.x] = True
        self.clicks.append(click)
        made = Prompt.from_points([one.at_centre for one in self.clicks])
        return Prompt(made.point_coords, made.point_labels, mask_input=self.logits)

    def take(self, mask: Pixels, logits: NDArray[np.float32] | None, predicted: float, *, to_box: bool) -> None:
        """Take an answer; ``logits`` is None where they hold numbers that are not finite."""
        self.empty += not mask.any()
        self.not_finite += logits is None or not math.isfinite(predicted)
        answer = iou(mask, self.truth), predicted
        if to_box:
            self.box_answer = answer
            return
        self.answers.append(answer)
        self.mask, self.logits = mask, logits
        if len(self.answers) == max(REPORTED_CLICKS):
            self.boundary = self._boundary()

    def _boundary(self) -> float:
        return boundary_iou(Mask.from_array(self.mask), Mask.from_array(self.truth))

    def record(self, image: str, one: HeldOutObject) -> ObjectRecord:
        """What came of it; where nothing was left to click on, the last answer stands for further clicks."""
        after = [self.answers[min(clicks, len(self.answers)) - 1] for clicks in REPORTED_CLICKS]
        found = dict(zip(PROMPT_TYPES, [self.box_answer, *after], strict=True))
        reached = [next((n for n, (v, _) in enumerate(self.answers, 1) if v >= good), None) for good in GOOD]
        return ObjectRecord(
            image,
            one.key,
            one.label,
            one.mask.content_hash(),
            one.mask.area,
            {name: value for name, (value, _) in found.items()},
            {name: predicted for name, (_, predicted) in found.items()},
            self._boundary() if self.boundary is None else self.boundary,
            reached[0],
            reached[1],
            self.empty,
            self.not_finite,
        )


def _play(
    segmenter: Segmenter,
    embedding: ImageEmbedding,
    sessions: Sequence[_Session],
    most_clicks: int,
    cancelled: Callable[[], bool],
) -> float:
    """Ask for each object by its box, then by clicks in step; returns the seconds that the answers took."""
    seconds = _ask(segmenter, embedding, [(one, Prompt(box=one.box)) for one in sessions], to_box=True)
    for _ in range(most_clicks):
        _check(cancelled)
        asked = [(one, prompt) for one in sessions if (prompt := one.next_prompt(most_clicks)) is not None]
        if not asked:
            break
        seconds += _ask(segmenter, embedding, asked, to_box=False)
    return seconds


def _ask(
    segmenter: Segmenter, embedding: ImageEmbedding, asked: Sequence[tuple[_Session, Prompt]], *, to_box: bool
) -> float:
    began = time.perf_counter()
    prompts = [prompt for _, prompt in asked]
    # Objects click in step: at their first click, a positive one, all prompts are ambiguous, and later none is.
    found = segmenter.decode(embedding, prompts, multimask_output=all(prompt.is_ambiguous for prompt in prompts))
    if found.low_res_logits.shape[0] != len(prompts) or found.predicted_iou.shape != found.low_res_logits.shape[:2]:
        raise InvalidInput(
            f"{segmenter.name} answered {len(prompts)} prompts with logits of shape {found.low_res_logits.shape} and "
            f"predicted IoU of shape {found.predicted_iou.shape}"
        )
    seconds = time.perf_counter() - began
    for row, (session, _) in enumerate(asked):
        began = time.perf_counter()
        scores = found.predicted_iou[row]
        best = int(np.where(np.isfinite(scores), scores, -np.inf).argmax())
        logits = found.low_res_logits[row, best]
        finite = bool(np.isfinite(logits).all())
        # What is not finite is no answer: the person sees nothing, and the next prompt cannot build on it.
        mask = segmenter.upsample(embedding, logits).to_array() if finite else np.zeros_like(session.truth)
        seconds += time.perf_counter() - began
        session.take(mask, logits if finite else None, float(scores[best]), to_box=to_box)
    return seconds
