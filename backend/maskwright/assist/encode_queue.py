"""The queue before the image encoder: small batches, interactive work first, bounded, one image's fault its own."""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import Busy, Cancelled
from maskwright.models.protocols import ImageEmbedding, Segmenter

_log = logging.getLogger(__name__)

BATCH_SECONDS = 1.0
"""A batch takes as many images as are expected to be encoded within this time, so that a click which comes during a
batch waits about this long at most; one image where even that takes longer."""
_REMEMBERED_TIMES = 5


class Priority(IntEnum):
    """Who waits: a person who has clicked, or nobody in particular."""

    INTERACTIVE = 0
    BACKGROUND = 1


@dataclass(eq=False)
class EncodeRequest:
    """One image to encode.

    Attributes:
        segmenter: Whose encoder.
        pixels: (H, W, 3) uint8 RGB.
        priority: Of the most urgent who wait; raised by ``EncodeQueue.promote``.
        future: Receives the embedding, or what went wrong.
    """

    segmenter: Segmenter
    pixels: NDArray[np.uint8]
    priority: Priority
    future: Future[ImageEmbedding] = field(default_factory=Future)


class EncodeQueue:
    """Feeds ``Segmenter.encode`` from one thread: the encoders share one device, and two at once only slow each other.

    A batch holds requests of one priority for one segmenter, whatever has arrived when the thread becomes free (it
    never waits for a batch to fill) up to ``batch_size`` and ``BATCH_SECONDS``. A batch that fails is tried again image
    by image, so that a bad image fails alone.

    Args:
        queue_size: Most requests of each priority that may wait.
        batch_size: Most images per batch.
        observe: Told the seconds of each batch as stage ``encode``.
    """

    def __init__(self, queue_size: int, batch_size: int, observe: Callable[[str, float], None]) -> None:
        self._queue_size = queue_size
        self._batch_size = batch_size
        self._observe = observe
        self._changed = threading.Condition()
        self._waiting: dict[Priority, deque[EncodeRequest]] = {priority: deque() for priority in Priority}
        self._seconds_per_image: dict[str, deque[float]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._running = 0
        self._images = 0
        self._batches = 0

    def submit(self, request: EncodeRequest) -> None:
        """Let a request wait for its turn.

        Raises:
            Busy: If ``queue_size`` requests of its priority wait already.
            Cancelled: If the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise Cancelled("the server is shutting down; try again when it is back")
            line = self._waiting[request.priority]
            if len(line) >= self._queue_size:
                raise Busy(
                    f"{len(line)} images wait to be encoded, which is the most allowed (MASKWRIGHT_QUEUE_SIZE)",
                    retry_after=self._retry_after(request),
                )
            line.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="image-encoder", daemon=True)
                self._thread.start()
            self._changed.notify()

    def promote(self, request: EncodeRequest) -> None:
        """Make a request interactive; if it waits, it joins the end of the interactive line, even if that is full."""
        with self._changed:
            if request.priority is Priority.INTERACTIVE:
                return
            waits = self._remove(request)
            request.priority = Priority.INTERACTIVE
            if waits:
                self._waiting[Priority.INTERACTIVE].append(request)

    def withdraw(self, request: EncodeRequest) -> bool:
        """Take a request back; False if it is being encoded, done, or was never submitted."""
        with self._changed:
            return self._remove(request)

    def state(self) -> dict[str, Any]:
        """Numbers for health and metrics: waiting by priority, running, and images and batches encoded so far."""
        with self._changed:
            return {
                "waiting_interactive": len(self._waiting[Priority.INTERACTIVE]),
                "waiting_background": len(self._waiting[Priority.BACKGROUND]),
                "encoding": self._running,
                "encoded_images": self._images,
                "encoded_batches": self._batches,
            }

    def close(self, timeout: float = 30.0) -> None:
        """Accept nothing more, cancel what waits, and let the running batch finish for at most ``timeout`` seconds."""
        with self._changed:
            self._closed = True
            left = [request for line in self._waiting.values() for request in line]
            for line in self._waiting.values():
                line.clear()
            self._changed.notify_all()
            thread = self._thread
        for request in left:
            request.future.set_exception(Cancelled("the server is shutting down; try again when it is back"))
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _remove(self, request: EncodeRequest) -> bool:
        try:
            self._waiting[request.priority].remove(request)
        except ValueError:
            return False
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not any(self._waiting.values()):
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._next_batch()
                self._running = len(batch)
            try:
                self._encode(batch)
            finally:
                with self._changed:
                    self._running = 0
            # Not held while waiting for the next: the pixels may be hundreds of megabytes.
            del batch

    def _next_batch(self) -> list[EncodeRequest]:
        line = next(line for _, line in sorted(self._waiting.items()) if line)
        segmenter = line[0].segmenter
        limit = self._batch_limit(segmenter)
        batch = [request for request in line if request.segmenter is segmenter][:limit]
        for request in batch:
            line.remove(request)
        return batch

    def _batch_limit(self, segmenter: Segmenter) -> int:
        seconds = self._expected_seconds(segmenter)
        if seconds is None:
            return self._batch_size
        return min(self._batch_size, max(1, int(BATCH_SECONDS / max(seconds, 1e-6))))

    def _expected_seconds(self, segmenter: Segmenter) -> float | None:
        times = self._seconds_per_image.get(segmenter.embedding_version)
        return statistics.median(times) if times else None

    def _retry_after(self, request: EncodeRequest) -> float:
        seconds = self._expected_seconds(request.segmenter) or 1.0
        ahead = sum(len(line) for priority, line in self._waiting.items() if priority <= request.priority)
        return float(min(60, max(1, math.ceil(seconds * (ahead + self._running) / 2))))

    def _encode(self, batch: list[EncodeRequest]) -> None:
        started = time.perf_counter()
        segmenter = batch[0].segmenter
        try:
            embeddings = segmenter.encode([request.pixels for request in batch])
            if len(embeddings) != len(batch):
                raise RuntimeError(f"{segmenter.name} gave {len(embeddings)} embeddings for {len(batch)} images")
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to those who wait, not to this thread
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            _log.warning("a batch of %d images failed (%s); encoding them one by one", len(batch), type(error).__name__)
            for request in batch:
                self._encode([request])
            return
        seconds = time.perf_counter() - started
        with self._changed:
            times = self._seconds_per_image.setdefault(segmenter.embedding_version, deque(maxlen=_REMEMBERED_TIMES))
            times.append(seconds / len(batch))
            self._images += len(batch)
            self._batches += 1
        self._observe("encode", seconds)
        for request, embedding in zip(batch, embeddings, strict=True):
            request.future.set_result(embedding)
