"""One loop that trains an adapter of any family on corrections."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import Cancelled, InvalidInput
from maskwright.learn.training.checkpoint import Progress, read, write
from maskwright.learn.training.defaults import default_adapter, default_pace
from maskwright.learn.training.guidance import Guidance, Words
from maskwright.learn.training.learner import Learner
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.promptable import save_memory
from maskwright.learn.training.records import Trained, TrainingImage, TrainingProgress
from maskwright.learn.training.steps import correct, leaves, refuse, remember
from maskwright.learn.training.trainable import Encoded, Trainable, trainable_of
from maskwright.learn.training.validation import Validation, spared
from maskwright.learn.training.views import View, Views
from maskwright.masks import Mask
from maskwright.models.adapters.attaching import attach, trained_parameters
from maskwright.models.adapters.config import AdapterConfig, touches_encoder
from maskwright.models.adapters.merging import check_tensors
from maskwright.models.protocols import Segmenter

log = logging.getLogger(__name__)
NEW_SHARE, EARLIER_SHARE = 0.5, 0.4
"""Of the steps, once there are earlier images; the others keep the base's behaviour."""
LOOKS, LEAST_BETWEEN, PATIENCE = 6, 5, 3
"""Looks at the validation images in a run, steps between two at least, and worse looks in a row until it ends."""
UNTOLD = 0.02
"""Differences of the validation IoU that its few objects cannot tell. On 60 nuclei images it was .781 after 40 steps
and .768 after 160; but an early average took 4.2 clicks an object to IoU .85, the last of 240 steps 3.8."""
SMALLEST = 0.125
"""Objects smaller than this share of a cell of the logits cannot be learnt from."""
_STEADY = 0.9


def train(
    segmenter: Segmenter,
    images: Sequence[TrainingImage],
    config: TrainingConfig | None = None,
    *,
    start: Mapping[str, Tensor] | None = None,
    words: Words | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train an adapter; the segmenter does not change.

    With a frozen encoder every image is encoded once, and once mirrored. What comes back is the moving average of the
    weights; from 40 images on a few of them are spared to tell when it gets worse, and the last one before that is it.

    Args:
        segmenter: The base, without an adapter.
        images: Corrected images; those without an object and a deleted proposal are passed over.
        config: How to train.
        start: Tensors of an earlier adapter to go on from. Where the config leaves the adapter to the family and they
            are not of the one that it chooses, training begins at the base.
        words: For every class of the objects' labels the vectors of its words, where the config asks for guidance.
        checkpoint: A file for the state of the run. One that a killed run of the same config, base and corrections
            left there is gone on from; it is removed when training is done.
        progress: Told of every step.
        cancelled: Asked before every step.

    Raises:
        InvalidInput: If there is nothing to learn from, a mask does not fit its image, the segmenter takes no adapter
            of this kind, or the config asks for language guidance and the adapter or the words do not allow it.
        Cancelled: If it was; the checkpoint is there to be gone on from.
    """
    config = config or TrainingConfig()
    base = trainable_of(segmenter)
    images = [usable for image in images if (usable := _usable(base, image)) is not None]
    count = sum(len(image.objects) for image in images)
    if not count:
        raise InvalidInput("none of the images has a corrected mask that the model can see: nothing to learn from")
    adapter = config.adapter or default_adapter(base, count)
    if start is not None and config.adapter is None:
        start = _fitting(base, adapter, start)
    version = f"{segmenter.version};{segmenter.embedding_version}"
    return _Run(base, images, config, adapter, start, words or {}, version).finish(checkpoint, progress, cancelled)


class _Run:
    """A run of ``train``; see there."""

    def __init__(
        self,
        base: Trainable,
        images: Sequence[TrainingImage],
        config: TrainingConfig,
        adapter: AdapterConfig,
        start: Mapping[str, Tensor] | None,
        words: Words,
        base_version: str,
    ) -> None:
        self._base, self._config, self._adapter = base, config, adapter
        self._began = self._clock()
        pace = default_pace(base, adapter)
        self._steps = config.steps or pace.steps
        network = attach(base.network, adapter, config.seed, start=start).train()
        self._trainable = base.around(network)
        self._frozen = not touches_encoder(trained_parameters(network))
        self._guidance = self._guided(images, words) if config.language else None
        head = None if self._guidance is None else self._guidance.head
        self._learner = Learner(network, base.network, config.rate or pace.rate, head)
        self._identity = _identity(images, config, adapter, start, words if config.language else {}, base_version)
        if not self._frozen and config.gradient_checkpointing:
            save_memory(self._trainable.encoder())
        if not self._frozen and config.compile and base.device.torch.type == "cuda":
            self._trainable.encoder().compile()
        masked, for_validation = spared([image for image in images if image.objects])
        learnt = masked + [image for image in images if not image.objects]
        self._images = len(learnt)
        budget = config.cache_mib * 2**20
        self._views = Views(learnt, self._trainable, frozen=self._frozen, budget=budget, seed=config.seed)
        self._validate: Validation | None = None
        if for_validation:
            views = Views(for_validation, self._trainable, frozen=self._frozen, budget=budget, seed=0, mirrored=False)
            self._validate = Validation(self._trainable, views, config.seed)
        self._new = [view for view in self._views.listed if view.image.is_new]
        self._earlier = [view for view in self._views.listed if not view.image.is_new]

    def finish(
        self,
        checkpoint: Path | None,
        told: Callable[[TrainingProgress], None] | None,
        cancelled: Callable[[], bool],
    ) -> Trained:
        """Train to the end."""
        state = Progress()
        left = None if checkpoint is None else read(checkpoint, self._identity)
        if left is not None:
            state, tensors = left
            self._learner.restore(tensors)
        elif self._validate is not None:
            self._look(state)
        before, written = state.seconds, time.monotonic()
        between = max(LEAST_BETWEEN, self._steps // LOOKS)
        while (done := self._done(state)) < 1 and state.stale < PATIENCE:
            due = time.monotonic() - written >= self._config.checkpoint_every_s
            stopped = cancelled()
            if checkpoint is not None and (due or stopped):
                write(checkpoint, self._identity, state, self._learner.tensors())
                written = time.monotonic()
            if stopped:
                raise Cancelled(f"training was cancelled after {state.step} of {self._steps} steps")
            loss = self._step(state.step)
            self._learner.update(state.step, done)
            state.step += 1
            state.loss = loss if state.step == 1 else _STEADY * state.loss + (1 - _STEADY) * loss
            if state.step % between == 0 or state.step == self._steps:
                self._look(state)
            state.seconds = before + self._clock() - self._began
            if told is not None:
                told(self._report(state))
        if not state.curve or state.curve[-1]["step"] != state.step:
            self._look(state)
        state.seconds = before + self._clock() - self._began
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        tensors = {name: tensor.to("cpu").contiguous() for name, tensor in self._learner.best.items()}
        return Trained(tensors, self._adapter, state.curve, state.seconds, state.step)

    def _step(self, step: int) -> float:
        """Collect the gradients of a step; returns its loss."""
        rng = np.random.default_rng([self._config.seed, step])
        view, as_base = self._drawn(rng)
        device = self._base.device.torch
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**62)))  # what layers with dropout draw
            with leaves(self._views.encoded(view)) as encoded:
                if as_base:
                    return remember(self._trainable, self._base, encoded, self._base_of(view, encoded), rng)
                loss = 0.0
                if view.image.objects:
                    loss = correct(self._trainable, encoded, view, rng)
                    loss += self._guidance.teach(encoded, view) if self._guidance is not None else 0.0
                return loss + refuse(self._trainable, encoded, view, rng)

    def _guided(self, images: Sequence[TrainingImage], words: Words) -> Guidance | None:
        if self._frozen:
            raise InvalidInput(
                "training: language guidance shapes the image encoder, which this adapter leaves as it is; take an "
                "adapter that changes it ('lora', 'conv-lora' or 'both'), or language 0"
            )
        shown = {thing.label for image in images for thing in image.objects}
        if len(words) > 1 and len(shown & words.keys()) < 2:
            log.info("no language guidance: the images show fewer than two classes, so there is nothing to tell apart")
            return None
        # Nothing is pushed away from classes that no image shows: that would unlearn what only words tell of.
        words = {name: rows for name, rows in words.items() if name in shown}
        with torch.no_grad():
            example = self._trainable.encode(images[0].pixels())
        return Guidance(self._trainable, example, words, self._config.language, self._config.seed)

    def _drawn(self, rng: np.random.Generator) -> tuple[View, bool]:
        """A view, and whether to ask there what the base says instead of what people left."""
        if not self._earlier:
            return self._new[int(rng.integers(len(self._new)))], False
        choice = float(rng.random())
        if choice >= NEW_SHARE + EARLIER_SHARE:
            return self._views.listed[int(rng.integers(len(self._views.listed)))], True
        pool = self._new if self._new and choice < NEW_SHARE else self._earlier
        return pool[int(rng.integers(len(pool)))], False

    def _base_of(self, view: View, encoded: Encoded) -> Encoded:
        if self._frozen:
            return encoded
        with torch.no_grad():
            return self._base.encode(view.pixels())

    def _look(self, state: Progress) -> None:
        """Measure the averages, and keep them unless they are clearly worse than the best so far."""
        found: float | None = None
        if self._validate is not None:
            with self._learner.averaged():
                found = self._validate()
        if found is None or state.best is None or found > state.best - UNTOLD:
            self._learner.keep()
            state.best, state.stale = found if state.best is None else max(found or 0.0, state.best), 0
        else:
            state.stale += 1
        state.curve.append({"step": state.step, "loss": state.loss if state.step else None, "validation_iou": found})

    def _report(self, state: Progress) -> TrainingProgress:
        left = state.seconds / state.step * (self._steps - state.step)
        if self._config.seconds is not None:
            left = min(left, max(0.0, self._config.seconds - state.seconds))
        latest = state.curve[-1]["validation_iou"] if state.curve else None
        return TrainingProgress(state.step, self._steps, state.step // self._images, state.loss, latest, left)

    def _done(self, state: Progress) -> float:
        """Share of the run that is over."""
        spent = 0.0 if self._config.seconds is None else state.seconds / self._config.seconds
        return max(state.step / self._steps, spent)

    def _clock(self) -> float:
        return time.perf_counter() if self._base.device.torch.type == "cuda" else time.process_time()


def _usable(base: Trainable, image: TrainingImage) -> TrainingImage | None:
    def seen(mask: Mask) -> bool:
        width, height = base.grid(mask.size).cell
        return mask.area >= max(1.0, SMALLEST * width * height)

    objects = tuple(thing for thing in image.objects if seen(thing.mask))
    negatives = tuple(mask for mask in image.negatives if seen(mask))
    return dataclasses.replace(image, objects=objects, negatives=negatives) if objects or negatives else None


def _fitting(base: Trainable, adapter: AdapterConfig, start: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    try:
        check_tensors(base.network, adapter, start)
    except InvalidInput as error:
        log.info("training begins at the base, for the adapter in service is of another kind (%s)", error)
        return None
    return start


def _identity(
    images: Sequence[TrainingImage],
    config: TrainingConfig,
    adapter: AdapterConfig,
    start: Mapping[str, Tensor] | None,
    words: Words,
    base_version: str,
) -> str:
    """Digest of all that the trained tensors are a function of."""
    said = config.to_json() | {"adapter": adapter.to_json(), "base": base_version, "checkpoint_every_s": None}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for image in images:
        digest.update(f"{image.key};{image.is_new}".encode())
        for thing in image.objects:
            digest.update(f"{thing.mask.content_hash()};{thing.changed and thing.changed.content_hash()}".encode())
        digest.update(";".join(["negatives", *(mask.content_hash() for mask in image.negatives)]).encode())
    if words:
        labels = [[thing.label for thing in image.objects] for image in images]
        digest.update(json.dumps([labels, list(words)]).encode())
        for rows in words.values():
            digest.update(np.ascontiguousarray(rows, dtype=np.float32).tobytes())
    for name, tensor in sorted((start or {}).items()):
        digest.update(name.encode() + tensor.detach().to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()
