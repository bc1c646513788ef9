"""A JSON list written element by element, visible under its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from maskwright.errors import InvalidInput


class JsonListFile:
    """Writes one file; a context manager. If the block ends by an exception, an old file stays and nothing is left.

    Args:
        path: The file to be; its folder must exist. An old file of that name is replaced at the end.

    Raises:
        InvalidInput: If it cannot be written; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise InvalidInput(f"cannot write {self._path}: it is a folder")
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        except OSError as error:
            raise InvalidInput(f"cannot write {self._path}: {error.strerror}") from None
        self._temporary = Path(name)
        self._sink: IO[bytes] = os.fdopen(handle, "wb")
        self._write(b"[")
        return self

    def add(self, element: bytes) -> None:
        """Write the JSON text of the next element."""
        self._write((b",\n" if self.count else b"\n") + element)
        self.count += 1

    def _write(self, data: bytes) -> None:
        try:
            self._sink.write(data)
        except OSError as error:
            raise InvalidInput(f"cannot write {self._path}: {error.strerror}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failure:
            raise InvalidInput(f"cannot write {self._path}: {failure.strerror}") from None
        finally:
            self._temporary.unlink(missing_ok=True)
            # What is still in its buffer fits no full disk, and is not wanted any more.
            with contextlib.suppress(OSError):
                self._sink.close()

    def _finish(self) -> None:
        self._sink.write(b"\n]\n")
        self._sink.flush()
        os.fchmod(self._sink.fileno(), 0o644)
        os.fsync(self._sink.fileno())
        self._temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            # The new name must outlive a power cut as well as the content.
            os.fsync(folder)
        finally:
            os.close(folder)
