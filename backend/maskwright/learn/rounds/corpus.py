"""From a snapshot to images to learn from and images to be judged on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from maskwright.annotated import TaskImage, TaskReader
from maskwright.errors import MaskwrightError
from maskwright.images.similar import Fingerprint
from maskwright.learn.gate.asking import HeldOutImage, HeldOutObject
from maskwright.learn.gate.held_out import HeldOutRule, Parts, duplicate_groups, leaks, refuse_leaks, share_out
from maskwright.learn.rounds.corrections import Correction, corrections_of
from maskwright.learn.rounds.images import ImageFile, RoundImages
from maskwright.learn.training.records import TrainingImage
from maskwright.masks import Size
from maskwright.models.protocols import RGB

NAMED = 20
"""How many problems a report names."""


@dataclass(frozen=True, eq=False)
class CorpusImage:
    """A corrected image.

    Attributes:
        key: SHA-256 of its encoded bytes, in hex.
        fingerprint: For finding near-duplicates.
        correction: What was left on it.
        is_new: Whether the version in service has not learnt from this very correction.
        pixels: Decodes it: (H, W, 3) uint8 RGB.
    """

    key: str
    fingerprint: Fingerprint
    correction: Correction
    is_new: bool
    pixels: Callable[[], RGB]


@dataclass(frozen=True, eq=False)
class Corpus:
    """All corrected images of a snapshot, each once, in the order of their keys.

    Attributes:
        images: Those that can be learnt from.
        broken: Images that could not be had, or not with what was drawn on them.
        problems: Sentences that name them, and regions that could not be read; the first few.
    """

    images: tuple[CorpusImage, ...]
    broken: int
    problems: tuple[str, ...]

    def training(self, parts: Parts) -> list[TrainingImage]:
        """The images to learn from."""
        return [_training_image(image) for image in self._of(parts.training)]

    def held_out(self, parts: Parts) -> list[HeldOutImage]:
        """The images to be judged on, with their objects."""
        return [_held_out_image(image) for image in self._of(parts.held_out) if image.correction.objects]

    def by_key(self) -> dict[str, CorpusImage]:
        """The images by their keys."""
        return {image.key: image for image in self.images}

    def _of(self, keys: Collection[str]) -> list[CorpusImage]:
        wanted = set(keys)
        return [image for image in self.images if image.key in wanted]


def read_corpus(
    documents: Iterable[bytes],
    reader: TaskReader,
    images: RoundImages,
    *,
    group_field: str = "",
    machine: Collection[str] = (),
    is_new: Callable[[str], bool] = lambda task: True,
    step: Callable[[int], None] = lambda done: None,
) -> Corpus:
    """Read every task and fetch its images; what is broken is told and left out.

    Args:
        documents: Tasks of a snapshot.
        reader: Of the platform.
        images: Where images come from and are kept.
        group_field: See ``corrections_of``.
        machine: Likewise.
        is_new: Whether the version in service has not learnt from the corrections of a task.
        step: Told how many tasks are done, after each; what it raises ends the reading.
    """
    found: dict[str, CorpusImage] = {}
    problems: list[str] = []
    broken = 0
    for done, document in enumerate(documents, start=1):
        fetched: dict[str, ImageFile] = {}
        try:
            task = reader(document)
            corrections, told = corrections_of(
                task, group_field=group_field, machine=machine, size_of=partial(_size, images, task.key, fetched)
            )
        except MaskwrightError as error:
            corrections, told, broken = [], [f"task {done} of the snapshot: {error}"], broken + 1
        problems += told
        for correction in corrections:
            try:
                file = fetched.get(correction.source) or images.take(
                    correction.source, correction.file_name, correction.task
                )
            except MaskwrightError as error:
                broken += 1
                problems.append(f"task {correction.task}: image {correction.source[:200]!r}: {error}")
                continue
            if file.size != correction.size:
                broken += 1
                problems.append(
                    f"task {correction.task}: drawn on a picture of {correction.size} (height, width), but the image "
                    f"{correction.source[:200]!r} is of {file.size}"
                )
                continue
            known = found.get(file.sha256)
            if known is None or known.correction.changed_at <= correction.changed_at:
                found[file.sha256] = CorpusImage(
                    file.sha256,
                    file.fingerprint,
                    correction,
                    is_new(correction.task),
                    partial(images.pixels, file.sha256),
                )
        step(done)
    return Corpus(tuple(found[key] for key in sorted(found)), broken, tuple(problems[:NAMED]))


def _size(images: RoundImages, task: str, fetched: dict[str, ImageFile], image: TaskImage) -> Size:
    from maskwright.export.file_names import file_name

    fetched[image.source] = images.take(image.source, file_name(image.source), task)
    return fetched[image.source].size


def shared_parts(rule: HeldOutRule, corpus: Corpus, earlier: Parts | None, trained: Collection[str] = ()) -> Parts:
    """Which images are held out; near-duplicates go together, and what was said before stays.

    But for held-out images that resemble trained ones, which nobody knew while either could not be had: they are set
    aside.

    Args:
        rule: Of the project.
        corpus: Its images.
        earlier: What was said before.
        trained: Keys of all images that earlier rounds have trained on.

    Raises:
        InvalidInput: If an image that is held out was trained on by an earlier round.
    """
    prints = [image.fingerprint for image in corpus.images]
    parts = share_out(rule, [image.key for image in corpus.images], duplicate_groups(prints), earlier)
    learnt, aside = {*parts.training, *trained}, set(parts.set_aside)
    kept = duplicate_groups([one for one in prints if one.sha256 not in aside])
    late = {leak.held_out for leak in leaks(learnt, parts.held_out, kept)} - learnt
    judged = tuple(key for key in parts.held_out if key not in late)
    names = {image.key: f"task {image.correction.task}" for image in corpus.images}
    refuse_leaks(learnt, judged, names=names)
    return Parts(parts.training, judged, tuple(sorted(aside | late)))


def _training_image(image: CorpusImage) -> TrainingImage:
    one = image.correction
    return TrainingImage(image.key, image.pixels, one.objects, one.negatives, image.is_new)


def _held_out_image(image: CorpusImage) -> HeldOutImage:
    one = image.correction
    objects = (HeldOutObject(key, o.label, o.mask) for key, o in zip(one.keys, one.objects, strict=True))
    return HeldOutImage(image.key, image.pixels, tuple(objects))
