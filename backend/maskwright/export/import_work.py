"""Tasks of the images of a COCO file, made by many processes and given back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.coco_in import CocoReader, EntryError, ImageEntries, read_entries
from maskwright.export.workers import Workers
from maskwright.regions import Region

_CHUNK_ANNOTATIONS, _CHUNK_IMAGES = 500, 100


class TaskMaker(Protocol):
    """Makes the platform's task of an image. Can be pickled.

    Attributes:
        holds_boxes: Whether a box without a shape can be drawn as what it is.
    """

    @property
    def holds_boxes(self) -> bool:
        """See the class."""
        ...

    def task(self, relative: str, regions: Sequence[Region]) -> bytes:
        """The JSON text of a task, without line breaks.

        Args:
            relative: POSIX path of the image in the folder of images.
            regions: In the order of drawing.

        Raises:
            MaskwrightError: If the platform cannot hold them.
        """
        ...


class NamedEntries(NamedTuple):
    """An image's path in the folder of images, and its entries."""

    relative: str
    entries: ImageEntries


class MadeTask(NamedTuple):
    """A task, how many regions it has, and titles of annotations without a pixel."""

    text: bytes
    regions: int
    without_pixels: tuple[str, ...]


@dataclass(frozen=True)
class ImportJob:
    """What every process does.

    Attributes:
        maker: Makes the tasks.
        categories: Category id by name.
    """

    maker: TaskMaker
    categories: Mapping[str, int]

    def run(self, _number: int, chunk: Sequence[NamedEntries]) -> list[MadeTask] | None:
        """The tasks of a chunk; None where something is wrong, which ``make_tasks`` then finds in order."""
        try:
            return [self.make(named) for named in chunk]
        except (EntryError, MaskwrightError):
            return None

    def make(self, named: NamedEntries) -> MadeTask:
        """The task of an image.

        Raises:
            EntryError: See ``read_entries``.
            MaskwrightError: If the platform cannot hold a region; the message names image or annotation.
        """
        image = read_entries(named.entries, self.categories)
        if image.boxes and not self.maker.holds_boxes:
            raise InvalidInput(
                f"{image.boxes[0]} has a box and no segmentation; give --control rectangle to import boxes"
            )
        try:
            text = self.maker.task(named.relative, image.regions)
        except MaskwrightError as error:
            raise type(error)(f"{image.title}: {error}") from error
        return MadeTask(text, len(image.regions), image.without_pixels)


def make_tasks(
    reader: CocoReader, images: Iterable[NamedEntries], maker: TaskMaker, workers: int
) -> Iterator[MadeTask]:
    """The tasks of all images in order.

    Args:
        reader: The open file, which tells where an error is.
        images: Its images.
        maker: Makes the tasks.
        workers: How many processes; they are started only where there is work for more than a second.

    Raises:
        MaskwrightError: For the first image that something is wrong with, naming the annotation and its line.
    """
    job = ImportJob(maker, reader.categories)
    waiting: deque[tuple[list[NamedEntries], Future[Any]]] = deque()
    # The processes ask of a job nothing but its ``run``.
    with Workers(cast(Any, job), workers) as pool:
        for number, chunk in enumerate(_chunks(images)):
            waiting.append((chunk, pool.submit(number, cast(Any, chunk))))
            while len(waiting) >= pool.most_pending:
                yield from _done(reader, job, *waiting.popleft())
        while waiting:
            yield from _done(reader, job, *waiting.popleft())


def _done(reader: CocoReader, job: ImportJob, chunk: list[NamedEntries], future: Future[Any]) -> Iterator[MadeTask]:
    try:
        made = future.result()
    except BrokenProcessPool:
        raise MaskwrightError(
            "a worker process was killed, perhaps for want of memory; import again with a smaller number of --workers"
        ) from None
    if made is not None:
        yield from made
        return
    for named in chunk:
        try:
            yield job.make(named)
        except EntryError:
            reader.read(named.entries)  # raises the same, with the line
            raise


def _chunks(images: Iterable[NamedEntries]) -> Iterator[list[NamedEntries]]:
    chunk: list[NamedEntries] = []
    annotations = 0
    for named in images:
        chunk.append(named)
        annotations += len(named.entries.places)
        if annotations >= _CHUNK_ANNOTATIONS or len(chunk) == _CHUNK_IMAGES:
            yield chunk
            chunk, annotations = [], 0
    if chunk:
        yield chunk
