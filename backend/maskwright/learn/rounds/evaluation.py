"""Models on the held-out images: bounded in time, kept image by image, never asked twice for the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from maskwright.errors import InvalidInput
from maskwright.images import Window
from maskwright.learn.gate.asking import Asking, HeldOutImage
from maskwright.learn.gate.measure import Progress, measure
from maskwright.learn.gate.records import Measurement
from maskwright.models.protocols import Segmenter
from maskwright.store.artifacts import write_atomically

MOST_OBJECTS = 200
"""Held-out objects that a round asks for; the bounds of a gain are then some .01 apart."""
MOST_OBJECTS_OF_IMAGE = 8
"""Objects of one image are alike, so more of them would tell little; five images still have the 30 of a verdict."""
MOST_CLICKS = 10
"""Until an object is given up. Most of the time goes into objects that never get good, and the 11th click on them
changes no verdict."""
_MODELS_KEPT = 8


def chosen(images: Sequence[HeldOutImage], seed: int) -> tuple[list[HeldOutImage], Asking]:
    """Which held-out images to ask for, and how; equal for both models, whatever the order of the images.

    Args:
        images: All of them, with objects.
        seed: Of the draws.
    """

    def lot(image: HeldOutImage) -> str:
        return _digest(f"{seed}\x1f{image.key}")

    drawn = sorted(images, key=lot)[:MOST_OBJECTS]
    each = min(MOST_OBJECTS_OF_IMAGE, max(1, MOST_OBJECTS // max(1, len(drawn))))
    return drawn, Asking(most_objects=each, most_clicks=MOST_CLICKS, seed=seed)


class Measurements:
    """What was measured of the models of a project, kept over rounds: the candidate of one is served in the next.

    Args:
        folder: Has a file for each model, with a line of JSON for each image that was measured; is made if need be.
        window: Value range in which images are shown to the models: under another one they see other pictures.
    """

    def __init__(self, folder: Path, window: Window | None = None) -> None:
        self._folder, self._shown = folder, "" if window is None else f"\x1f{window}"
        folder.mkdir(parents=True, exist_ok=True)

    def measured(
        self,
        segmenter: Segmenter,
        images: Sequence[HeldOutImage],
        asking: Asking,
        *,
        progress: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> Measurement:
        """Measure a model on images, of which those that were measured before in the same way are not asked again.

        Args:
            segmenter: The model.
            images: See ``chosen``.
            asking: Likewise.
            progress: Told how many images are done.
            cancelled: See ``gate.measure``.

        Raises:
            Cancelled: As soon as ``cancelled`` says so.
            InvalidInput: As ``gate.measure``.
        """
        file = self._folder / f"{_digest(segmenter.version + self._shown)}.jsonl"
        earlier = _read(file, segmenter.version, asking)

        def keep(one: Progress) -> None:
            with file.open("ab") as stream:
                stream.write(orjson.dumps(one.part.to_json(), option=orjson.OPT_APPEND_NEWLINE))
                stream.flush()
                os.fsync(stream.fileno())
            progress(one.done)

        return measure(segmenter, images, asking, earlier=earlier, progress=keep, cancelled=cancelled)

    def tidy(self) -> None:
        """Forget the models that were measured longest ago."""
        files = sorted(self._folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime)
        for file in files[:-_MODELS_KEPT]:
            file.unlink(missing_ok=True)


def _read(file: Path, version: str, asking: Asking) -> Measurement:
    """What was measured of a model in this way; lines that say something else, or were cut off, do not count."""
    found = Measurement(version, asking)
    content = file.read_bytes() if file.is_file() else b""
    whole, newline, rest = content.rpartition(b"\n")
    if rest:  # who wrote it was killed
        write_atomically(file, whole + newline)
    for line in whole.splitlines():
        try:
            part = Measurement.from_json(orjson.loads(line))
            found = found.without(part.images).merged(part)
        except (orjson.JSONDecodeError, InvalidInput):
            continue
    return found


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
