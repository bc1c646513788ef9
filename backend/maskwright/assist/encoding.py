"""Image embeddings on demand: from memory, from disk, or encoded once for all who wait."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from maskwright.assist.encode_queue import EncodeQueue, EncodeRequest, Priority
from maskwright.errors import Cancelled
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.store.embeddings import EmbeddingKey, EmbeddingStore, StoredArrays
from maskwright.store.lru import ByteBoundedCache

_log = logging.getLogger(__name__)

_POLL_S = 0.05
_UNWRITTEN = 16


def embedding_key(segmenter: Segmenter, image: Image, window: IntBox | None = None) -> EmbeddingKey:
    """The identity of one embedding; a window that covers the whole image is the same as none."""
    height, width = image.size
    whole = window is None or window == (0, 0, width, height)
    return EmbeddingKey(image.key, None if whole else window, segmenter.embedding_version)


@dataclass(eq=False)
class _Flight:
    """One embedding on its way, and how many wait for it."""

    request: EncodeRequest
    outcome: Future[ImageEmbedding] = field(default_factory=Future)
    waiters: int = 1
    remember: bool = False


class EmbeddingService:
    """The one place that encodes images. Safe under threads.

    Whoever asks for an embedding that someone else is already waiting for shares the same encode. An interactive
    request that finds its image queued by background work moves it to the interactive line.

    Args:
        memory_bytes: Bound of the embeddings kept in memory.
        store: Disk cache below the memory, or None. It is closed with the service.
        queue_size: Most encodes of each priority that may wait; beyond it requests are refused with ``Busy``.
        batch_size: Most images per encoder batch.
        observe: Told the seconds of the stage ``encode``.
    """

    def __init__(
        self,
        *,
        memory_bytes: int,
        store: EmbeddingStore | None = None,
        queue_size: int = 64,
        batch_size: int = 8,
        observe: Callable[[str, float], None] = lambda stage, seconds: None,
    ) -> None:
        self._memory: ByteBoundedCache[EmbeddingKey, ImageEmbedding] = ByteBoundedCache(
            memory_bytes, lambda embedding: embedding.nbytes
        )
        self._store = store
        self._queue = EncodeQueue(queue_size, batch_size, observe)
        self._lock = threading.Lock()
        self._flights: dict[EmbeddingKey, _Flight] = {}
        self._unwritten: queue.Queue[tuple[EmbeddingKey, ImageEmbedding] | None] = queue.Queue(_UNWRITTEN)
        self._writer: threading.Thread | None = None
        self._writes = threading.Condition()
        self._writes_due = 0
        self._disk_hits = 0
        self._closed = False

    def windows(
        self,
        segmenter: Segmenter,
        image: Image,
        *,
        priority: Priority,
        cancelled: Callable[[], bool] | None = None,
    ) -> Callable[[IntBox], ImageEmbedding]:
        """What gives the embedding of a window of an image, kept in memory only where a person waits; see ``get``."""
        remember = priority is Priority.INTERACTIVE

        def encode(window: IntBox) -> ImageEmbedding:
            return self.get(segmenter, image, window, priority=priority, cancelled=cancelled, remember=remember)

        return encode

    def get(
        self,
        segmenter: Segmenter,
        image: Image,
        window: IntBox | None = None,
        *,
        priority: Priority = Priority.INTERACTIVE,
        cancelled: Callable[[], bool] | None = None,
        remember: bool = True,
    ) -> ImageEmbedding:
        """The embedding of an image or of a window of it; blocks until it is there.

        Args:
            segmenter: Whose encoder.
            image: The image.
            window: xyxy in whole pixels inside the image; None = all of it.
            priority: Which line to wait in.
            cancelled: Asked every 50 ms while waiting. The encode itself is dropped when nobody waits for it any more
                and it has not begun.
            remember: Whether to keep it in memory; False is for work that passes over many images once, so that it
                does not push out what people work on. Without a disk cache everything is kept in memory.

        Raises:
            Busy: If the line is full.
            Cancelled: If ``cancelled`` said so, or the service is closed.
            Exception: What the encoder raised.
        """
        key = embedding_key(segmenter, image, window)
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                return found
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                x0, y0, x1, y1 = key.crop or (0, 0, image.size[1], image.size[0])
                request = EncodeRequest(segmenter, image.pixels[y0:y1, x0:x1], priority)
                flight = self._flights[key] = _Flight(request)
            else:
                flight.waiters += 1
            flight.remember |= remember or self._store is None
        if leads:
            self._depart(key, flight)
        elif priority is Priority.INTERACTIVE:
            self._queue.promote(flight.request)
        return self._wait(key, flight, cancelled)

    def contains(self, segmenter: Segmenter, image: Image, window: IntBox | None = None) -> bool:
        """Whether the embedding is in memory or on disk, so that ``get`` need not encode."""
        key = embedding_key(segmenter, image, window)
        return key in self._memory or self.is_stored(key)

    def is_stored(self, key: EmbeddingKey) -> bool:
        """Whether the embedding is on disk."""
        return self._store is not None and key in self._store

    @property
    def store(self) -> EmbeddingStore | None:
        """The disk cache, or None."""
        return self._store

    def flush(self) -> None:
        """Wait until everything encoded so far has been offered to the disk."""
        with self._writes:
            self._writes.wait_for(lambda: self._writes_due == 0)

    def state(self) -> dict[str, Any]:
        """Numbers for health and metrics; never waits for the disk or the encoder."""
        memory = self._memory.statistics()
        return {
            **self._queue.state(),
            "memory_entries": memory.entries,
            "memory_bytes": memory.nbytes,
            "memory_hits": memory.hits,
            "disk_hits": self._disk_hits,
        }

    def close(self) -> None:
        """Refuse new work, cancel what waits, let the running batch finish, write what was encoded. Repeatable."""
        self._queue.close()
        with self._lock:
            closed, self._closed = self._closed, True
            writer, self._writer = self._writer, None
        if writer is not None:
            self._unwritten.put(None)
            writer.join()
        if self._store is not None and not closed:
            self._store.close()

    def _depart(self, key: EmbeddingKey, flight: _Flight) -> None:
        """Look on the disk, else queue the encode; a failure ends the flight."""
        try:
            stored = self._store.get(key) if self._store is not None else None
            if stored is not None:
                with self._lock:
                    self._disk_hits += 1
                self._arrive(key, flight, _from_stored(stored))
                return
            flight.request.future.add_done_callback(lambda future: self._encoded(key, flight, future))
            self._queue.submit(flight.request)
        except BaseException as error:  # noqa: BLE001 - those who joined the flight must hear of it; the leader does below
            self._fail(key, flight, error)

    def _encoded(self, key: EmbeddingKey, flight: _Flight, future: Future[ImageEmbedding]) -> None:
        error = future.exception()
        if error is not None:
            self._fail(key, flight, error)
            return
        embedding = future.result()
        # Counted before those who wait go on, so that a flush of theirs waits for this write.
        self._count_writes(+1)
        self._arrive(key, flight, embedding)
        with self._lock:
            if self._store is None or self._closed:
                self._count_writes(-1)
                return
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="embedding-writer", daemon=True)
                self._writer.start()
        # Blocks the encoder when the disk is that much slower: memory stays bounded.
        self._unwritten.put((key, embedding))

    def _count_writes(self, change: int) -> None:
        with self._writes:
            self._writes_due += change
            self._writes.notify_all()

    def _arrive(self, key: EmbeddingKey, flight: _Flight, embedding: ImageEmbedding) -> None:
        with self._lock:
            if flight.remember:
                self._memory.put(key, embedding)
            self._flights.pop(key, None)
        flight.outcome.set_result(embedding)

    def _fail(self, key: EmbeddingKey, flight: _Flight, error: BaseException) -> None:
        with self._lock:
            self._flights.pop(key, None)
        flight.outcome.set_exception(error)

    def _wait(self, key: EmbeddingKey, flight: _Flight, cancelled: Callable[[], bool] | None) -> ImageEmbedding:
        if cancelled is None:
            return flight.outcome.result()
        while True:
            try:
                return flight.outcome.result(_POLL_S)
            except TimeoutError:
                # The encoder may have failed with a TimeoutError of its own.
                if flight.outcome.done():
                    return flight.outcome.result()
            if cancelled():
                self._leave(key, flight)
                raise Cancelled("waiting for the image to be encoded was cancelled")

    def _leave(self, key: EmbeddingKey, flight: _Flight) -> None:
        with self._lock:
            flight.waiters -= 1
            if flight.waiters == 0 and self._queue.withdraw(flight.request):
                self._flights.pop(key, None)

    def _write(self) -> None:
        while True:
            item = self._unwritten.get()
            if item is None:
                return
            key, embedding = item
            try:
                if self._store is not None:
                    self._store.put(key, _to_stored(embedding))
            except Exception:  # noqa: BLE001 - the thread must outlive one embedding that cannot be written
                _log.exception("an image embedding could not be written to the disk cache")
            finally:
                self._count_writes(-1)
            del item, embedding


def _to_stored(embedding: ImageEmbedding) -> StoredArrays:
    return StoredArrays(
        embedding.arrays,
        {
            "original_size": list(embedding.original_size),
            "input_size": list(embedding.input_size),
            "model_version": embedding.model_version,
        },
    )


def _from_stored(stored: StoredArrays) -> ImageEmbedding:
    original, resized = stored.metadata["original_size"], stored.metadata["input_size"]
    return ImageEmbedding(
        stored.arrays, (original[0], original[1]), (resized[0], resized[1]), stored.metadata["model_version"]
    )
