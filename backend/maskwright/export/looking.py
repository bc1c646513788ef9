"""Looking at many images: fetched and hashed by a few threads, told in the order of the tasks."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import NamedTuple, Protocol

from maskwright.errors import MaskwrightError
from maskwright.export.file_names import file_name
from maskwright.export.image_sources import ImageFetcher
from maskwright.images import ImageLimits, decode_image
from maskwright.images.similar import Fingerprint, fingerprint_of_pixels
from maskwright.masks import Size

THREADS = 8
_AHEAD = 8 * THREADS
"""Images asked for beyond the one that is waited for."""

Progress = Callable[[int, int], None]
"""Told after every image: how many were looked at, and how many of them could not be had."""


class Look(Protocol):
    """Tells the fingerprint of an image; called from several threads at once."""

    def __call__(self, source: str, task: str) -> Fingerprint:
        """The fingerprint of the image at an address.

        Args:
            source: Its address at the platform.
            task: Key of a task that it belongs to.

        Raises:
            MaskwrightError: If it cannot be had or is no image; the message says why.
        """
        ...


class Seen(NamedTuple):
    """What an image looks like: fingerprint, and (H, W) as displayed."""

    fingerprint: Fingerprint
    size: Size


class ImageLook:
    """A ``Look`` that fetches. Several threads may fetch at once, but only one per core decodes: pixels take memory.

    Args:
        fetch: Finds images.
        limits: Bounds on image files.
    """

    def __init__(self, fetch: ImageFetcher, limits: ImageLimits) -> None:
        self._fetch, self._limits = fetch, limits
        self._decoding = BoundedSemaphore(min(THREADS, os.cpu_count() or 1))

    def __call__(self, source: str, task: str) -> Fingerprint:
        """See ``Look``."""
        return self.see(source, task).fingerprint

    def see(self, source: str, task: str) -> Seen:
        """Fingerprint and size; errors are those of ``Look``."""
        data = self._fetch(source, file_name(source), task)
        with self._decoding:
            pixels = decode_image(data, limits=self._limits).pixels
            found = fingerprint_of_pixels(pixels, hashlib.sha256(data).hexdigest())
            return Seen(found, (pixels.shape[0], pixels.shape[1]))


class Looked(NamedTuple):
    """An image that was to be looked at: its place, and either its fingerprint or why there is none."""

    source: str
    task: str
    fingerprint: Fingerprint | None
    reason: str = ""


def look_at_all(images: Iterable[tuple[str, str]], look: Look) -> Iterator[Looked]:
    """Look at images, several at once; the results come in the order of the images.

    An address that comes again soon is asked for once. What ``look`` raises besides ``MaskwrightError`` comes out.

    Args:
        images: (address, key of the task) of each, read as they are needed.
        look: Looks at one.
    """
    pool = ThreadPoolExecutor(THREADS, "look")
    waiting: deque[tuple[str, str, Future[Fingerprint]]] = deque()
    asked: dict[str, Future[Fingerprint]] = {}
    try:
        for source, task in images:
            if source not in asked:
                asked[source] = pool.submit(look, source, task)
            waiting.append((source, task, asked[source]))
            if len(waiting) > _AHEAD:
                yield _result(waiting, asked)
        while waiting:
            yield _result(waiting, asked)
    finally:
        # Reached with images waiting only when the caller gave up: the answers are of no use any more.
        pool.shutdown(wait=True, cancel_futures=True)


def _result(
    waiting: deque[tuple[str, str, Future[Fingerprint]]], asked: dict[str, Future[Fingerprint]]
) -> Looked:  # fmt: skip
    source, task, future = waiting.popleft()
    asked.pop(source, None)
    try:
        return Looked(source, task, future.result())
    except MaskwrightError as error:
        return Looked(source, task, None, str(error))
