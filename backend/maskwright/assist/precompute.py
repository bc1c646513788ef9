"""Encoding a whole project ahead of time: resumable, cancellable, its disk budget known before it starts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from maskwright.assist.encode_queue import Priority
from maskwright.assist.encoding import EmbeddingService, embedding_key
from maskwright.assist.everything import never_cancelled
from maskwright.errors import Busy, Cancelled, InvalidInput, MaskwrightError
from maskwright.images import Image
from maskwright.images.tiles import IntBox, crop_window
from maskwright.models.protocols import Segmenter

_log = logging.getLogger(__name__)

_LISTED_FAILURES = 1000
_REFUSED_WRITES = 3
_OVERHEAD_BYTES = 4096


@dataclass(frozen=True)
class ImageSource:
    """One image of a project: a name for reports, and what gives its pixels (it may fetch them)."""

    name: str
    load: Callable[[], Image]


@dataclass(frozen=True)
class DiskBudget:
    """What a precompute will write, at most; images larger than the tile size count once per window on top.

    Attributes:
        images: How many images.
        bytes_per_image: Upper bound of one embedding's file.
        needed_bytes: Product of the two.
        cached_bytes: What the disk cache holds now, of this project or others.
        limit_bytes: The disk cache's bound (``MASKWRIGHT_DISK_CACHE_BYTES``).
        free_bytes: Free space on the cache's disk.
    """

    images: int
    bytes_per_image: int
    needed_bytes: int
    cached_bytes: int
    limit_bytes: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether all of it stays: it fits the bound, and the disk has room for what is not there yet."""
        return self.needed_bytes <= self.limit_bytes and self.needed_bytes <= self.free_bytes + self.cached_bytes


@dataclass(frozen=True)
class PrecomputeProgress:
    """A precompute at one moment.

    Attributes:
        done: Images finished one way or the other.
        total: Images in all.
        encoded: Of those done, how many were encoded now.
        skipped: How many the disk cache had already.
        failed: How many could not be loaded or encoded.
        images_per_second: Encoded images per second, 0 until the first.
        eta_s: Expected seconds to the end if all that are left need encoding, or None until the first.
    """

    done: int
    total: int
    encoded: int
    skipped: int
    failed: int
    images_per_second: float
    eta_s: float | None


@dataclass(frozen=True)
class PrecomputeReport:
    """How a precompute ended.

    Attributes:
        progress: The final counts.
        failures: (image name, reason) of the first thousand that failed; safe to show.
        stopped: Why it ended early (cancelled, cache full, disk refused), empty if it did not.
    """

    progress: PrecomputeProgress
    failures: tuple[tuple[str, str], ...]
    stopped: str


def disk_budget(embeddings: EmbeddingService, embedding_nbytes: int, images: int) -> DiskBudget:
    """What encoding ``images`` images with a segmenter of that ``embedding_nbytes`` takes; needs no model loaded.

    Raises:
        InvalidInput: If the disk cache is off.
    """
    store = embeddings.store
    if store is None:
        raise InvalidInput("precomputing needs the disk cache; set MASKWRIGHT_DISK_CACHE_BYTES above 0")
    each = embedding_nbytes + _OVERHEAD_BYTES
    return DiskBudget(images, each, images * each, store.nbytes, store.max_bytes, store.free_bytes)


def click_windows(size: tuple[int, int], tile_size: int) -> list[IntBox | None]:
    """The windows of an image of ``size`` (H, W) in which single clicks are answered; [None] if that is all of it."""
    height, width = size
    if max(size) <= tile_size:
        return [None]
    step = max(1, tile_size // 8)
    columns = {crop_window(size, (x, 0.5, x, 0.5), tile_size) for x in _positions(width, step)}
    rows = {crop_window(size, (0.5, y, 0.5, y), tile_size) for y in _positions(height, step)}
    spans_x = sorted({(w[0], w[2]) for w in columns if w is not None})
    spans_y = sorted({(w[1], w[3]) for w in rows if w is not None})
    return [(x0, y0, x1, y1) for y0, y1 in spans_y for x0, x1 in spans_x]


def _positions(length: int, step: int) -> list[float]:
    return [*(float(v) for v in range(0, length, step)), length - 0.5]


@dataclass(eq=False)
class _Tally:
    """Counts of a run, changed under its lock."""

    total: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: int = 0
    encoded: int = 0
    skipped: int = 0
    failed: int = 0
    written_bytes: int = 0
    refused_writes: int = 0
    first_encode: float | None = None
    stopped: str = ""
    failures: list[tuple[str, str]] = field(default_factory=list)

    def progress(self) -> PrecomputeProgress:
        rate, eta = 0.0, None
        if self.encoded and self.first_encode is not None:
            rate = self.encoded / max(time.monotonic() - self.first_encode, 1e-9)
            eta = (self.total - self.done) / rate
        return PrecomputeProgress(self.done, self.total, self.encoded, self.skipped, self.failed, rate, eta)


def precompute(
    embeddings: EmbeddingService,
    segmenter: Segmenter,
    sources: Iterable[ImageSource],
    total: int,
    *,
    tile_size: int,
    workers: int = 2,
    cancelled: Callable[[], bool] = never_cancelled,
    progress: Callable[[PrecomputeProgress], None] = lambda state: None,
) -> PrecomputeReport:
    """Put the embeddings of all images on the disk, behind whatever annotators ask for meanwhile.

    Started again, it encodes only what is missing. It ends early when the disk cache cannot hold more, since going on
    would push out what it has just written.

    Args:
        embeddings: Encodes and stores.
        segmenter: Whose embeddings.
        sources: The images; taken one by one, so they may be listed lazily.
        total: How many there are, for the progress.
        tile_size: Of larger images, every window in which a click is answered is encoded.
        workers: Threads that load images; more of them hide slow downloads and fill larger batches.
        cancelled: Asked between images and while waiting.
        progress: Told after each image, never by two threads at once.

    Raises:
        InvalidInput: If the disk cache is off.
    """
    budget = disk_budget(embeddings, segmenter.embedding_nbytes, total)
    tally = _Tally(total)
    waiting = iter(sources)

    def stop() -> bool:
        return bool(tally.stopped) or cancelled()

    def work() -> None:
        while (source := _take(waiting, tally, budget, stop)) is not None:
            _one(embeddings, segmenter, source, tile_size, tally, stop)
            with tally.lock:
                progress(tally.progress())

    with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="precompute") as pool:
        try:
            for future in [pool.submit(work) for _ in range(max(1, workers))]:
                future.result()
        except BaseException:
            # An interrupt, or a fault of the caller's callback or list: the other threads must not go on to the end.
            tally.stopped = tally.stopped or "cancelled"
            raise
    return PrecomputeReport(tally.progress(), tuple(tally.failures), tally.stopped)


def _take(
    waiting: Iterator[ImageSource], tally: _Tally, budget: DiskBudget, stop: Callable[[], bool]
) -> ImageSource | None:
    with tally.lock:
        if stop():
            tally.stopped = tally.stopped or "cancelled"
            return None
        source = next(waiting, None)
        if source is not None and tally.written_bytes + budget.bytes_per_image > budget.limit_bytes:
            tally.stopped = "the disk cache is full; raise MASKWRIGHT_DISK_CACHE_BYTES"
            return None
        return source


def _one(
    embeddings: EmbeddingService,
    segmenter: Segmenter,
    source: ImageSource,
    tile_size: int,
    tally: _Tally,
    cancelled: Callable[[], bool],
) -> None:
    try:
        image = source.load()
        encoded = [
            _ensure(embeddings, segmenter, image, window, tally, cancelled)
            for window in click_windows(image.size, tile_size)
        ]
    except Cancelled:
        with tally.lock:
            tally.stopped = tally.stopped or "cancelled"
        return
    except Exception as error:  # noqa: BLE001 - one bad image costs one image
        if not isinstance(error, MaskwrightError):
            _log.exception("precomputing one image failed")
        reason = str(error) if isinstance(error, MaskwrightError) else f"internal error ({type(error).__name__})"
        with tally.lock:
            tally.done += 1
            tally.failed += 1
            if len(tally.failures) < _LISTED_FAILURES:
                tally.failures.append((source.name, reason))
        return
    with tally.lock:
        tally.done += 1
        tally.encoded += any(encoded)
        tally.skipped += not any(encoded)


def _ensure(
    embeddings: EmbeddingService,
    segmenter: Segmenter,
    image: Image,
    window: IntBox | None,
    tally: _Tally,
    cancelled: Callable[[], bool],
) -> bool:
    """Whether it had to be encoded; it is on the disk now, unless the disk refused."""
    key = embedding_key(segmenter, image, window)
    stored = embeddings.is_stored(key)
    size = segmenter.embedding_nbytes
    if not stored:
        with tally.lock:
            if tally.first_encode is None:
                tally.first_encode = time.monotonic()
        size = _patiently(embeddings, segmenter, image, window, cancelled)
        embeddings.flush()
    with tally.lock:
        tally.refused_writes = 0 if embeddings.is_stored(key) else tally.refused_writes + 1
        if tally.refused_writes >= _REFUSED_WRITES:
            tally.stopped = tally.stopped or "the disk cache refuses to be written; see the log"
        tally.written_bytes += size + _OVERHEAD_BYTES
    return not stored


def _patiently(
    embeddings: EmbeddingService,
    segmenter: Segmenter,
    image: Image,
    window: IntBox | None,
    cancelled: Callable[[], bool],
) -> int:
    while True:
        try:
            found = embeddings.get(
                segmenter, image, window, priority=Priority.BACKGROUND, cancelled=cancelled, remember=False
            )
        except Busy as busy:
            until = time.monotonic() + busy.retry_after
            while time.monotonic() < until:
                if cancelled():
                    raise Cancelled("the precompute was cancelled") from None
                time.sleep(0.05)
        else:
            return found.nbytes
