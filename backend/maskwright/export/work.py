"""The work on one chunk of tasks: read, select, render, write to disk. It runs in many processes at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from maskwright.annotated import TaskImage, TaskReader
from maskwright.errors import InvalidInput, MaskwrightError, NotFound
from maskwright.export.clashes import name_row, told_apart
from maskwright.export.documents import TaskDocument, located
from maskwright.export.file_names import file_name, shown_address
from maskwright.export.image_sources import ImageFetcher
from maskwright.export.records import Dataset, Format, ImageRecord, Rendered, Split
from maskwright.export.selection import Selection, choose
from maskwright.export.shards import write_shard
from maskwright.export.tally import Tally
from maskwright.images import read_header
from maskwright.masks import Size


class WrittenFile(NamedTuple):
    """A file of the dataset: relative POSIX path, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class Outcome(NamedTuple):
    """What a chunk came to: the checksum of its shard, its files, its counts."""

    shard: str
    files: tuple[WrittenFile, ...]
    tally: Tally


@dataclass(frozen=True)
class Job:
    """What is the same for all chunks. Can be pickled.

    Attributes:
        reader: Reads the platform's JSON of a task.
        selection: Chooses regions.
        format: Renders images.
        dataset: What is true of all images.
        splits: The part of each task by its key, where that was found beforehand.
        images: Where image files come from, or None.
        folder: Where files of the dataset are put together.
        shards: Where rows go.
        distinct: Keys of images that need a name other than their own.
    """

    reader: TaskReader
    selection: Selection
    format: Format
    dataset: Dataset
    splits: Mapping[str, Split] | None
    images: ImageFetcher | None
    folder: Path
    shards: Path
    distinct: frozenset[str] = frozenset()

    def shard(self, chunk: int) -> Path:
        """The file of a chunk's rows."""
        return self.shards / f"{chunk:08d}"

    def run(self, chunk: int, documents: Sequence[TaskDocument]) -> Outcome:
        """Render some tasks and write them to disk.

        Raises:
            InvalidInput: If a task cannot be read or has a class that the dataset has not; the message names the place.
            OSError: If the disk refuses.
        """
        tally = Tally()
        rows: list[tuple[str, bytes]] = []
        files: list[WrittenFile] = []
        for document in documents:
            tally.tasks += 1
            for record in self.records(document, tally):
                rendered = self._rendered(record, document, tally)
                rows += (name_row(record), *rendered.rows)
                files += [self._write(path, content) for path, content in rendered.files]
                tally.add_record(record, rendered.lost)
        return Outcome(write_shard(self.shard(chunk), rows), tuple(files), tally)

    def records(self, document: TaskDocument, tally: Tally) -> list[ImageRecord]:
        """The images of a task as they go into the dataset.

        Raises:
            InvalidInput: See :meth:`run`.
        """
        try:
            task = self.reader(document.data)
            size_of = partial(self._size_of, task.key, tally)
            chosen = choose(task, self.selection, splits=self.splits, size_of=size_of)
            tally.add_chosen(chosen)
            for problem in chosen.problems:
                tally.add_problem(problem)
            return [self._named(self._checked(record)) for record in chosen.records]
        except InvalidInput as error:
            raise located(error, document) from error

    def _checked(self, record: ImageRecord) -> ImageRecord:
        path = PurePosixPath(record.file_name)
        if not record.file_name or path.is_absolute() or ".." in path.parts:
            raise InvalidInput(f"{record.file_name!r} is no name for a file in a dataset")
        for region in record.regions:
            if region.label not in self.dataset.categories:
                raise InvalidInput(
                    f"task {record.task} has a region of class {region.label!r}, which is not among the dataset's "
                    "categories; add it to them, or leave it out with --exclude"
                )
        return record

    def _named(self, record: ImageRecord) -> ImageRecord:
        return replace(record, file_name=told_apart(record)) if record.key in self.distinct else record

    def _rendered(self, record: ImageRecord, document: TaskDocument, tally: Tally) -> Rendered:
        image = self._image(record, tally)
        try:
            try:
                return self.format.render(record, self.dataset, image)
            except InvalidInput as error:
                if image is None:
                    raise
                # One damaged picture should not cost the dataset.
                tally.add_missing(record.task, record.source, f"it is of no use: {error}")
                return self.format.render(record, self.dataset, None)
        except InvalidInput as error:
            raise located(error, document) from error

    def _size_of(self, task: str, tally: Tally, image: TaskImage) -> Size | None:
        """(H, W) of an image that nobody drew on, from its file if that is at hand."""
        if self.images is None:
            return None
        try:
            return read_header(self.fetch(image.source, task)).size
        except MaskwrightError as error:
            tally.add_missing(task, image.source, str(error))
            return None

    def _image(self, record: ImageRecord, tally: Tally) -> bytes | None:
        if not (self.format.wants_image and self.dataset.image_files):
            return None
        try:
            found = self.fetch(record.source, record.task)
        except MaskwrightError as error:
            tally.add_missing(record.task, record.source, str(error))
            return None
        size = _size(found)
        if size is not None and size != record.size:
            tally.add_problem(
                f"task {record.task}: the file of image {shown_address(record.source)} shows {_by(size)} pixels, "
                f"but its regions were drawn on {_by(record.size)}"
            )
        return found

    def fetch(self, source: str, task: str) -> bytes:
        """The encoded file of an image of a task.

        Raises:
            MaskwrightError: If it cannot be had; the message says why.
        """
        if self.images is None:
            raise NotFound("nothing says where image files are")
        return self.images(source, file_name(source), task)

    def _write(self, relative: str, content: bytes) -> WrittenFile:
        path = self.folder / relative
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise InvalidInput(f"{relative!r} leads out of the dataset's folder")
        sha256 = hashlib.sha256(content).hexdigest()
        temporary = path.with_name(f".{path.name[-200:]}.{sha256[:16]}.new")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return WrittenFile(relative, len(content), sha256)


def _size(image: bytes) -> Size | None:
    """(H, W) as displayed, from the header; None where it cannot be read."""
    try:
        return read_header(image).size
    except MaskwrightError:
        return None


def _by(size: Size) -> str:
    return f"{size[1]} x {size[0]}"
