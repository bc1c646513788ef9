"""Clicks, boxes and strokes to one mask, each click seeing what the one before it led to."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.encoding import EmbeddingService, embedding_key
from maskwright.assist.outline_masks import outline_prompt, refine_outline
from maskwright.assist.prompt_frame import checked_prompt, has_positive, touches_cut, window_for
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.masks import Mask
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.prompts import Prompt
from maskwright.store.embeddings import EmbeddingKey
from maskwright.store.lru import ByteBoundedCache

MAX_REPLAYED_CLICKS = 32
"""Most earlier clicks that are replayed when their logits are not remembered; an answer's time stays bounded."""


@dataclass(frozen=True, eq=False)
class Interaction:
    """An answer to a prompt.

    Attributes:
        mask: Of the image's size; empty when nothing was found.
        score: The segmenter's own estimate of the mask's IoU, in [0, 1]; 0 for an empty mask.
        low_res_logits: (h, w) float32 that led to the mask, in the frame of ``window``; None where nothing on the
            object was marked.
        window: xyxy in whole pixels of the part of the image that was looked at; None = all of it.
    """

    mask: Mask
    score: float
    low_res_logits: NDArray[np.float32] | None
    window: IntBox | None


@dataclass(frozen=True, eq=False)
class InteractiveAnswer:
    """What a prompt led to.

    Attributes:
        mask: Of the image's size; empty when nothing was found.
        score: The segmenter's own estimate of the mask's IoU, in [0, 1]; 0 for an empty mask.
        model_version: What made it.
        low_res_logits: (h, w) float32 that led to the mask, or None where nothing on the object was marked.
    """

    mask: Mask
    score: float
    model_version: str
    low_res_logits: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class _Step:
    """What one prompt led to: (h, w) logits, in half precision where they are remembered."""

    logits: NDArray[np.float32] | NDArray[np.float16]
    predicted_iou: float


@dataclass(frozen=True, eq=False)
class _View:
    """Where and for which region the steps of one answer are made."""

    segmenter: Segmenter
    embedding: ImageEmbedding
    key: EmbeddingKey
    offset: tuple[int, int]
    region_key: Hashable

    def memory_key(self, prompt: Prompt) -> Hashable:
        return self.region_key, self.segmenter.version, self.key, prompt.content_hash()


class Interactor:
    """Answers prompts. Safe under threads.

    The rules are those of Segment Anything (Kirillov et al. 2023, section 3 and appendix A): one positive click and
    nothing else is ambiguous, so the decoder is asked for three masks and the one of the best predicted IoU is taken;
    any other prompt gets a single mask. From the second click of a region on, the decoder also sees the low-resolution
    logits of the click before.

    Those logits are remembered by (region key, segmenter version, embedding, hash of the clicks so far). They depend on
    nothing else, so where they were forgotten the earlier clicks are replayed one by one and the answer is the same
    (beyond 32 clicks: nearly the same, only the last 32 are replayed). Another region starts with other clicks, so it
    never sees this one's logits, even under the same region key.

    Args:
        embeddings: Gives image embeddings.
        tile_size: On images with a longer side, prompts are answered in a window of at most this side; in pixels.
        memory_bytes: Bound of the remembered logits.
        observe: Told the seconds of the stages ``mask_decode`` and ``upsample``.
    """

    def __init__(
        self,
        embeddings: EmbeddingService,
        *,
        tile_size: int,
        memory_bytes: int = 12 * 1024**2,
        observe: Callable[[str, float], None] = lambda stage, seconds: None,
    ) -> None:
        self._embeddings = embeddings
        self._tile_size = tile_size
        self._observe = observe
        self._steps: ByteBoundedCache[Hashable, _Step] = ByteBoundedCache(
            memory_bytes, lambda step: step.logits.nbytes + 1024
        )

    def answer(
        self,
        segmenter: Segmenter,
        image: Image,
        prompt: Prompt,
        *,
        region_key: Hashable | None = None,
        outline: Mask | None = None,
    ) -> Interaction:
        """The mask that a prompt means.

        A prompt that marks nothing as belonging to the object (no positive click, stroke or box) gets an empty mask.

        On an image larger than ``tile_size`` the prompt is answered in a window around it, at the image's own
        resolution; where the window cuts the mask off or the prompt is larger than it, the whole image is used.

        Args:
            segmenter: What answers.
            image: The image.
            prompt: Absolute pixels of the image. A ``mask_input`` of the caller is passed on as it is; the memory is
                then not used.
            region_key: Identity of the region in hand (project, task, control, label ...). None = one question on its
                own: all clicks go to the decoder at once, without logits of earlier ones.
            outline: Area around the object, of the image's size, that was drawn; it stands for the prompt. See
                ``refine_outline``.

        Raises:
            InvalidInput: If the prompt is empty, holds only a phrase, or lies outside the image.
            Busy: If the encoder's line is full.
        """
        if outline is not None and not outline.is_empty:
            return self._outlined(segmenter, image, outline)
        prompt = checked_prompt(prompt, image.size)
        if not has_positive(prompt):
            return Interaction(Mask.empty(image.size), 0.0, None, None)
        window = window_for(prompt, image.size, self._tile_size)
        answer = self._answer_in(segmenter, image, prompt, window, region_key)
        # Logits that the caller gave belong to this window's frame and mean nothing in the whole image's.
        if window is not None and prompt.mask_input is None and touches_cut(answer.mask, window, image.size):
            return self._answer_in(segmenter, image, prompt, None, region_key)
        return answer

    def _outlined(self, segmenter: Segmenter, image: Image, outline: Mask) -> Interaction:
        window = window_for(outline_prompt(outline), image.size, self._tile_size)
        mask, score = self._outlined_in(segmenter, image, outline, window)
        if window is not None and touches_cut(mask, window, image.size):
            window = None
            mask, score = self._outlined_in(segmenter, image, outline, window)
        return Interaction(mask, 0.0 if mask.is_empty else score, None, window)

    def _outlined_in(
        self, segmenter: Segmenter, image: Image, outline: Mask, window: IntBox | None
    ) -> tuple[Mask, float]:
        embedding = self._embeddings.get(segmenter, image, window)
        started = time.perf_counter()
        mask, score = refine_outline(segmenter, embedding, outline if window is None else outline.crop(window))
        self._observe("mask_decode", time.perf_counter() - started)
        return mask if window is None else mask.pasted(image.size, window[:2]), score

    def state(self) -> dict[str, int]:
        """Numbers for metrics: how many answers' logits are remembered, and their bytes."""
        steps = self._steps.statistics()
        return {"remembered_answers": steps.entries, "remembered_bytes": steps.nbytes}

    def _answer_in(
        self, segmenter: Segmenter, image: Image, prompt: Prompt, window: IntBox | None, region_key: Hashable | None
    ) -> Interaction:
        embedding = self._embeddings.get(segmenter, image, window)
        offset = (window[0], window[1]) if window is not None else (0, 0)
        view = _View(segmenter, embedding, embedding_key(segmenter, image, window), offset, region_key)
        started = time.perf_counter()
        if region_key is None or prompt.mask_input is not None:
            step = _decode(view, prompt)
        else:
            step = self._follow(view, prompt)
        decoded = time.perf_counter()
        self._observe("mask_decode", decoded - started)
        logits = step.logits.astype(np.float32)
        logits.setflags(write=False)
        mask = segmenter.upsample(embedding, logits)
        if window is not None:
            mask = mask.pasted(image.size, offset)
        mask = without_refused_parts(mask, prompt)
        self._observe("upsample", time.perf_counter() - decoded)
        return Interaction(mask, 0.0 if mask.is_empty else step.predicted_iou, logits, window)

    def _follow(self, view: _View, prompt: Prompt) -> _Step:
        """The step of the last click, after those before it, as many of them as are not remembered."""
        count = len(prompt.point_labels)
        missing: list[Prompt] = []
        step: _Step | None = None
        for clicks in range(count, max(-1, count - MAX_REPLAYED_CLICKS - 1), -1):
            prefix = prompt.prefix(clicks)
            if not has_positive(prefix):
                break
            step = self._steps.get(view.memory_key(prefix))
            if step is not None:
                break
            missing.append(prefix)
        for prefix in reversed(missing):
            fed_back = step.logits.astype(np.float32) if step is not None else None
            step = _halved(_decode(view, replace(prefix, mask_input=fed_back)))
            self._steps.put(view.memory_key(prefix), step)
        if step is None:
            raise InvalidInput("the prompt marks nothing as belonging to the object; add a positive click or a box")
        return step


def without_refused_parts(mask: Mask, prompt: Prompt) -> Mask:
    """Drop each connected part that holds a negative click and no positive one, unless nothing would be left.

    A person who clicks a part away has said that it is wrong; the decoder sometimes keeps it. Parts that nobody clicked
    stay, whatever their size: an object behind a pole has two.
    """
    refused = [(x, y) for (x, y), on in zip(prompt.point_coords.tolist(), prompt.point_labels, strict=True) if not on]
    wanted = [(x, y) for (x, y), on in zip(prompt.point_coords.tolist(), prompt.point_labels, strict=True) if on]
    if not wanted or not any(mask.contains(x, y) for x, y in refused):
        return mask
    parts = mask.components()
    kept = [
        part
        for part in parts
        if any(part.contains(x, y) for x, y in wanted) or not any(part.contains(x, y) for x, y in refused)
    ]
    if not kept or len(kept) == len(parts):
        return mask
    return kept[0].union(*kept[1:])


def _decode(view: _View, prompt: Prompt) -> _Step:
    local = prompt.shifted(-view.offset[0], -view.offset[1])
    answer = view.segmenter.decode(view.embedding, [local], multimask_output=local.is_ambiguous)
    quality = np.nan_to_num(np.asarray(answer.predicted_iou[0], dtype=np.float64), nan=0.0)
    best = int(quality.argmax())
    # Copied, so that remembering one mask does not keep its two rivals alive.
    logits = np.array(answer.low_res_logits[0, best], dtype=np.float32)
    return _Step(logits, float(np.clip(quality[best], 0.0, 1.0)))


def _halved(step: _Step) -> _Step:
    """The step in half the memory; made before its first use, so that remembering it changes no answer."""
    # Clipping keeps infinities out, on which interpolation would fail.
    return _Step(np.clip(step.logits, -6e4, 6e4).astype(np.float16), step.predicted_iou)
