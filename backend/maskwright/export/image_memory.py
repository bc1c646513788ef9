"""Fingerprints of a project's images: looked at once, then remembered in the store."""

from __future__ import annotations

from threading import Lock
from types import TracebackType

from maskwright.export.image_sources import ImageFetcher
from maskwright.export.looking import ImageLook
from maskwright.images import ImageLimits
from maskwright.images.similar import Fingerprint
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.records import ImageFacts

_AT_ONCE = 64


class ImageMemory:
    """Finds fingerprints by address; a ``Look`` for :func:`maskwright.export.grouping.share_out`. Threads may share it.

    Use it as a context manager: what it found is written to the store now and then, and at the end.

    Args:
        store: Where facts about images are kept.
        project_id: The store's number of the project.
        fetch: Finds images.
        limits: Bounds on image files.
    """

    def __init__(
        self,
        store: CorrectionsStore,
        project_id: int,
        fetch: ImageFetcher,
        limits: ImageLimits,
    ) -> None:
        self._store, self._project, self._look = store, project_id, ImageLook(fetch, limits)
        self._lock = Lock()
        self._known = {
            source: Fingerprint.from_text(facts.sha256, facts.perceptual_hash)
            for source, facts in store.images(project_id)
            if facts.perceptual_hash is not None
        }
        self._new: dict[str, ImageFacts] = {}

    def __enter__(self) -> ImageMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remember()

    def __call__(self, source: str, task: str) -> Fingerprint:
        """The fingerprint of the image at an address; see ``Look``."""
        known = self._known.get(source)
        if known is not None:
            return known
        found, (height, width) = self._look.see(source, task)
        with self._lock:
            self._known[source] = found
            self._new[source] = ImageFacts(found.sha256, width, height, found.to_text())
            if len(self._new) >= _AT_ONCE:
                self._remember()
        return found

    def _remember(self) -> None:
        new, self._new = self._new, {}
        self._store.put_images(self._project, new)
