"""The hidden folder in which an export comes together, and the journal that lets an interrupted one go on.

Chunks are known by what is in them: a chunk whose tasks and options are those of the journal need not be done again.
So it does not matter whether tasks come from a file, a project that moved on meanwhile, or a snapshot.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from maskwright.errors import Busy, InvalidInput
from maskwright.export.dataset_record import is_relative
from maskwright.export.shards import is_intact
from maskwright.export.tally import Tally
from maskwright.export.work import Outcome, WrittenFile

FOLDER = ".maskwright-partial"
_JOURNAL, _SHARDS, _DATASET, _LOCK = "journal.jsonl", "shards", "dataset", "lock"


class Workplace:
    """``OUT/.maskwright-partial``, for one export at a time; use as a context manager.

    Args:
        out: The dataset's folder; it is made if need be.

    Attributes:
        folder: The hidden folder.
        shards: Where rows go.
        dataset: Where the files of the dataset are put together.

    Raises:
        InvalidInput: If the folder cannot be written to.
        Busy: If another export is at work on it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / FOLDER
        self.shards = self.folder / _SHARDS
        self.dataset = self.folder / _DATASET
        self._journal: IO[bytes] | None = None
        self._finished: dict[int, tuple[str, dict[str, Any]]] = {}

    def __enter__(self) -> Workplace:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / _LOCK).open("wb")
        except OSError as error:
            raise InvalidInput(f"cannot write to {self.out}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise Busy(f"another export is writing to {self.out}; wait for it, or choose another folder") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._journal is not None:
            self._journal.close()
        self._lock.close()

    def begin(self, fingerprint: str, *, resume: bool) -> None:
        """Take up the journal if it belongs to the same options, else begin anew.

        Raises:
            OSError: If the disk refuses.
        """
        path = self.folder / _JOURNAL
        head, entries = _read(path)
        if not resume or head != fingerprint:
            for old in (self.shards, self.dataset):
                shutil.rmtree(old, ignore_errors=True)
            path.unlink(missing_ok=True)
            entries = []
        self._finished = {entry["chunk"]: (entry["digest"], entry) for entry in entries}
        self.shards.mkdir(exist_ok=True)
        for stray in self.shards.glob("*.new"):
            stray.unlink()
        self.dataset.mkdir(exist_ok=True)
        # Written anew, without a line that the end of its process cut off.
        lines = [{"fingerprint": fingerprint}, *(entry for _, entry in self._finished.values())]
        temporary = path.with_suffix(".new")
        temporary.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        temporary.replace(path)
        self._journal = path.open("ab")

    def finished(self, chunk: int, digest: str, shard: Path) -> Outcome | None:
        """What a chunk came to in an interrupted run, if its tasks are the same and its files are whole."""
        known, entry = self._finished.get(chunk, ("", {}))
        if known != digest or not is_intact(shard, entry["shard"]):
            return None
        files = tuple(WrittenFile(*row) for row in entry["files"])
        for file in files:
            if not is_relative(file.path) or not _is_as_written(self.dataset / file.path, file):
                return None
        return Outcome(entry["shard"], files, Tally.from_json(entry["tally"]))

    def note(self, chunk: int, digest: str, outcome: Outcome) -> None:
        """Write down that a chunk is finished."""
        assert self._journal is not None
        entry = {
            "chunk": chunk, "digest": digest, "shard": outcome.shard, "files": [list(file) for file in outcome.files],
            "tally": outcome.tally.to_json(),
        }  # fmt: skip
        self._finished[chunk] = (digest, entry)
        self._journal.write(orjson.dumps(entry) + b"\n")
        self._journal.flush()

    def clear(self) -> None:
        """Remove the folder: the export is done."""
        if self._journal is not None:
            self._journal.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """The fingerprint and the entries of a journal; none of those that are not whole."""
    lines: list[dict[str, Any]] = []
    try:
        with path.open("rb") as stream:
            for text in stream:
                lines.append(orjson.loads(text))
    except (OSError, orjson.JSONDecodeError):
        pass
    if not lines or "fingerprint" not in lines[0]:
        return "", []
    return str(lines[0]["fingerprint"]), lines[1:]


def _is_as_written(path: Path, file: WrittenFile) -> bool:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except OSError:
        return False
