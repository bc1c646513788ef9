"""A JSON list written element by element, visible under its name only when it is whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from maskwright.errors import InvalidInput
from maskwright.export.coco_document import whole_file


class JsonListFile:
    """Writes one file; a context manager. If the block ends by an exception, an old file stays and nothing is left.

    Args:
        path: The file to be; its folder must exist. An old file of that name is replaced at the end.

    Raises:
        InvalidInput: If it cannot be written; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = ExitStack()
        self.count = 0

    def __enter__(self) -> Self:
        self._sink: IO[bytes] = self._open.enter_context(whole_file(self._path))
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
            with self._open:
                if error is not None:
                    # Passed on to the file, which is then not put in place.
                    raise error
                self._sink.write(b"\n]\n")
        except OSError as failure:
            if failure is error:
                raise
            raise InvalidInput(f"cannot write {self._path}: {failure.strerror}") from None
