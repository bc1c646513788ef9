"""Fingerprints of a project's images: looked at once, then remembered in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import TracebackType

from maskwright.errors import MaskwrightError
from maskwright.images import ImageLimits, decode_image
from maskwright.images.similar import Fingerprint, fingerprint_of_pixels
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.records import ImageFacts

_AT_ONCE = 64


class ImageMemory:
    """Finds fingerprints by address; a ``Look`` for :func:`maskwright.export.grouping.share_out`.

    Use it as a context manager: what it found is written to the store now and then, and at the end.

    Args:
        store: Where facts about images are kept.
        project_id: The store's number of the project.
        fetch: By (address, file name): the encoded image, or None where it cannot be had.
        limits: Bounds on image files.
    """

    def __init__(
        self,
        store: CorrectionsStore,
        project_id: int,
        fetch: Callable[[str, str], bytes | None],
        limits: ImageLimits,
    ) -> None:
        self._store, self._project, self._fetch, self._limits = store, project_id, fetch, limits
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

    def __call__(self, source: str) -> Fingerprint | None:
        """The fingerprint of the image at an address; None where it cannot be had or is no image."""
        if source in self._known:
            return self._known[source]
        try:
            data = self._fetch(source, "")
            if data is None:
                return None
            pixels = decode_image(data, limits=self._limits).pixels
        except MaskwrightError:
            return None
        found = fingerprint_of_pixels(pixels, hashlib.sha256(data).hexdigest())
        self._known[source] = found
        height, width = pixels.shape[:2]
        self._new[source] = ImageFacts(found.sha256, width, height, found.to_text())
        if len(self._new) >= _AT_ONCE:
            self._remember()
        return found

    def _remember(self) -> None:
        new, self._new = self._new, {}
        self._store.put_images(self._project, new)
