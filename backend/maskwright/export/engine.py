"""An export from its first task to the last file: in chunks, on all cores, resumable, visible only when it is whole.

The bytes written depend on the tasks and the options alone: not on the number of processes, nor on interruptions.
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import orjson

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export.bare_names import find_bare_names
from maskwright.export.chunks import CHUNK_TASKS, Chunk, Source, split_into_chunks
from maskwright.export.clashes import find_clashes, find_same_key
from maskwright.export.dataset_record import RECORD
from maskwright.export.documents import TaskDocument
from maskwright.export.file_names import shown_address
from maskwright.export.image_sources import FolderImages
from maskwright.export.journal import Workplace
from maskwright.export.plan import Plan
from maskwright.export.publish import check_free, checksum, complete, publish
from maskwright.export.records import ImageRecord
from maskwright.export.report import ExportReport
from maskwright.export.shards import read_rows
from maskwright.export.tally import Tally
from maskwright.export.work import Job, Outcome, WrittenFile
from maskwright.export.workers import Workers, result_of

SAMPLES = 12
"""Images that the contact sheet shows."""

Progress = Callable[[int, int], None]
"""Told after every chunk: tasks finished, bytes of their JSON texts."""


Sample = tuple[ImageRecord, bytes | None]
"""An image for the contact sheet, with its encoded file where that is at hand."""


def run_export(
    source: Source | Callable[[], Source],
    plan: Plan,
    out: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    resume: bool = True,
    overwrite: bool = False,
    patience_s: float = 1.0,
) -> ExportReport:
    """Write a dataset.

    Args:
        source: The tasks in order: their JSON texts, and where each was found. Something that gives them from the
            beginning whenever it is called lets images be told apart that would be called the same.
        plan: What to write.
        out: Folder of the dataset; made if need be.
        workers: Processes that render. More than one need a main module that may be imported again, as all of
            ``multiprocessing`` does (``if __name__ == "__main__"``).
        progress: Told how far it is.
        resume: Whether to go on with an interrupted export of the same plan.
        overwrite: Whether files that no export wrote may be replaced.
        patience_s: Seconds of work before other processes are started.

    Raises:
        InvalidInput: If a task or the folder is at fault; the message names the place.
        MaskwrightError: If the source fails otherwise, or the disk does; running it again goes on.
    """
    began = time.monotonic()
    with Workplace(out) as place:
        try:
            complete(place)
            check_free(out, plan.certain_files(), overwrite=overwrite)
            place.begin(plan.fingerprint(), resume=resume)
            run = _Run(plan, place, progress)
            again = source if callable(source) else None
            run.render(source() if callable(source) else source, workers, patience_s)
            run.check_keys()
            run.refuse_shared_files(again, workers, patience_s)
            run.tell_apart(again, workers, patience_s)
            report = run.finish(overwrite)
            place.clear()
        except OSError as error:
            raise MaskwrightError(
                f"cannot write to {out}: {error.strerror or type(error).__name__}; nothing was published. "
                "Once that is mended, run the command again: it goes on where it stopped"
            ) from error
    return ExportReport(**{**vars(report), "seconds": time.monotonic() - began})


class _Run:
    def __init__(self, plan: Plan, place: Workplace, progress: Progress | None) -> None:
        self._plan, self._place, self._progress = plan, place, progress
        self._job = Job(
            plan.reader, plan.selection, plan.format, plan.dataset, plan.splits, plan.images, place.dataset,
            place.shards,
        )  # fmt: skip
        self._outcomes: dict[int, Outcome] = {}
        self._pending: dict[Future[Outcome], Chunk] = {}
        self._samples: list[tuple[bytes, int, TaskDocument]] = []
        self._marks: dict[int, str] = {}
        self._refused: frozenset[str] = frozenset()
        self._notices: list[str] = []
        self._done_tasks = self._done_bytes = self._resumed = 0

    def render(self, source: Source, workers: int, patience_s: float) -> None:
        self._samples.clear()
        self._done_tasks = self._done_bytes = 0
        chunks = split_into_chunks(source)
        with Workers(self._job, workers, patience_s) as pool:
            for chunk in self._whole(chunks):
                self._sample(chunk)
                finished = self._place.finished(chunk.number, self._known_by(chunk), self._job.shard(chunk.number))
                if finished is not None:
                    self._resumed += len(chunk.documents)
                    self._count(chunk, finished)
                    continue
                self._pending[pool.submit(chunk.number, chunk.documents)] = chunk
                while len(self._pending) >= pool.most_pending:
                    self._take()

    def _whole(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks, until all are finished or the source fails.

        A fault in a task further up may be why the source could not be split further down, so it is told first.
        """
        failure: MaskwrightError | None = None
        try:
            yield from chunks
        except MaskwrightError as error:
            failure = error
        while self._pending:
            self._take()
        if failure is not None:
            raise failure

    def refuse_shared_files(self, again: Callable[[], Source] | None, workers: int, patience_s: float) -> None:
        """Do without files of a folder that images of several addresses got by their bare names."""
        images = self._job.images
        if not isinstance(images, FolderImages):
            return
        found = find_bare_names(self._shards(), images)
        if found.images:
            self._notices.append(found.sentence())
        if not found.refused:
            return
        if again is None:
            raise InvalidInput(
                f"images of several addresses are called {min(found.refused)} in the folder of images; put each under "
                "its path"
            )
        self._refused = found.refused
        self._job = replace(self._job, images=replace(images, refused=found.refused))
        self._render_again(found.chunks, again(), workers, patience_s)

    def tell_apart(self, again: Callable[[], Source] | None, workers: int, patience_s: float) -> None:
        """Give other names to images that would be called like others, and render what that concerns again."""
        for strictly in (False, True):
            if strictly and self._twice_written() is None:
                return
            found = find_clashes(self._shards(), strictly=strictly)
            if found.keys and again is not None:
                self._job = replace(self._job, distinct=self._job.distinct | found.keys)
                self._render_again(found.chunks, again(), workers, patience_s)

    def _render_again(self, chunks: Iterable[int], source: Source, workers: int, patience_s: float) -> None:
        """Render some chunks under a job that changed.

        They get a mark, which goes into the journal: an export that is interrupted now should find out once more
        what has to be told apart, instead of taking up names that were changed already.
        """
        changed = [sorted(self._job.distinct), sorted(self._refused)]
        mark = hashlib.blake2b(orjson.dumps(changed), digest_size=8).hexdigest()
        self._marks.update(dict.fromkeys(chunks, mark))
        resumed = self._resumed
        self.render(source, workers, patience_s)
        self._resumed = resumed

    def _known_by(self, chunk: Chunk) -> str:
        """What a chunk is known by in the journal."""
        return f"{chunk.digest}{self._marks.get(chunk.number, '')}"

    def _shards(self) -> list[tuple[int, Path]]:
        return [(number, self._job.shard(number)) for number in sorted(self._outcomes)]

    def check_keys(self) -> None:
        """See that no image comes twice: its ids and its files would be those of the other one."""
        twice = find_same_key(self._shards())
        if twice is not None:
            raise InvalidInput(
                f"two images have the key {twice} (project/task/image); does the input hold a task twice, or tasks of "
                "several servers? Export them one by one"
            )

    def _twice_written(self) -> str | None:
        """A file that two images write, with different content."""
        seen: dict[str, str] = {}
        for outcome in self._outcomes.values():
            for file in outcome.files:
                if seen.setdefault(file.path, file.sha256) != file.sha256:
                    return file.path
        return None

    def finish(self, overwrite: bool) -> ExportReport:
        plan, place = self._plan, self._place
        tally = Tally()
        files: dict[str, WrittenFile] = {}
        if (path := self._twice_written()) is not None:
            raise InvalidInput(f"two images would be written to {path}; export their tasks into different folders")
        for number in sorted(self._outcomes):
            tally.add(self._outcomes[number].tally)
            files.update((file.path, file) for file in self._outcomes[number].files)
        for notice in self._notices:
            tally.add_problem(notice)
        shards = [self._job.shard(number) for number in sorted(self._outcomes)]
        written = plan.format.finish(place.dataset, partial(read_rows, shards), plan.dataset)
        for path in written:
            files[path] = WrittenFile(path, *checksum(place.dataset / path))
        if plan.companions is not None:
            sums = {file.path: file.sha256 for file in files.values()}
            for path, content in plan.companions.make(tally, self._sample_records(tally), sums, written[-1]):
                (place.dataset / path).write_bytes(content)
                files[path] = WrittenFile(path, *checksum(place.dataset / path))
        check_free(place.out, [RECORD, *files], overwrite=overwrite)
        record = {
            "format": plan.format.name,
            "maskwright": version("maskwright"),
            "settings": dict(plan.settings),
            "selection": orjson.loads(plan.selection.to_json()),
            "categories": dict(plan.dataset.categories),
            "category_ids": dict(plan.dataset.categories if plan.category_ids is None else plan.category_ids),
            "images": tally.images,
            "regions": tally.regions,
        }
        publish(place, files.values(), written[-1], record)
        return ExportReport(plan.format.name, tally, written[-1], len(files), self._resumed)

    def _take(self) -> None:
        """Wait for a chunk to be finished. Of several that failed, the first one's failure is raised."""
        done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        if any(future.exception() is not None for future in done):
            done, _ = wait(self._pending)
        for future in sorted(done, key=lambda future: self._pending[future].number):
            chunk = self._pending.pop(future)
            outcome = result_of(future)
            self._place.note(chunk.number, self._known_by(chunk), outcome)
            self._count(chunk, outcome)

    def _count(self, chunk: Chunk, outcome: Outcome) -> None:
        self._outcomes[chunk.number] = outcome
        self._done_tasks += len(chunk.documents)
        self._done_bytes += sum(len(document.data) for document in chunk.documents)
        if self._progress is not None:
            self._progress(self._done_tasks, self._done_bytes)

    def _sample(self, chunk: Chunk) -> None:
        """Keep the tasks with the smallest digests: a choice at random that is the same every time."""
        if self._plan.companions is None:
            return
        for index, (document, digest) in enumerate(zip(chunk.documents, chunk.digests, strict=True)):
            # heapq keeps the smallest on top, so the digest is turned round.
            entry = (bytes(255 - byte for byte in digest), -(chunk.number * CHUNK_TASKS + index), document)
            if len(self._samples) < SAMPLES:
                heapq.heappush(self._samples, entry)
            else:
                heapq.heappushpop(self._samples, entry)

    def _sample_records(self, tally: Tally) -> list[Sample]:
        """Images for the contact sheet. That files for it are missing is told where that was not told before."""
        records = [
            record
            for _, _, document in sorted(self._samples, key=lambda entry: -entry[1])
            for record in self._job.records(document, Tally())
        ][:SAMPLES]
        samples: list[Sample] = []
        unseen: list[str] = []
        for record in records:
            image = None
            if self._job.images is not None:
                try:
                    image = self._job.fetch(record.source, record.task)
                except MaskwrightError as error:
                    unseen.append(f"task {record.task}, {shown_address(record.source)}: {error}")
            samples.append((record, image))
        if unseen and not tally.missing_images:
            missing = f"{len(unseen)} of {len(samples)}"
            tally.add_problem(f"the contact sheet shows {missing} images without their files; the first: {unseen[0]}")
        return samples
