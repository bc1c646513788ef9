"""Tasks in portions that are rendered and remembered together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from maskwright.errors import MaskwrightError
from maskwright.export.documents import Place, TaskDocument

CHUNK_TASKS = 64
CHUNK_BYTES = 8 << 20

Source = Iterable[TaskDocument | tuple[bytes, str]]
"""Tasks in order: their JSON texts, and where each was found."""


class Chunk(NamedTuple):
    """Some tasks that follow each other, with a digest of the text of each."""

    number: int
    documents: list[TaskDocument]
    digests: list[bytes]

    @property
    def digest(self) -> str:
        """The same for the same tasks, wherever they stand."""
        return hashlib.blake2b(b"".join(self.digests), digest_size=16).hexdigest()


def split_into_chunks(source: Source) -> Iterator[Chunk]:
    """The tasks in portions of at most 64 tasks or about 8 MB.

    If the source fails, the tasks before come out first, then its exception.
    """
    documents: list[TaskDocument] = []
    held = number = 0
    failure: MaskwrightError | None = None
    try:
        for data, where in source:
            documents.append(TaskDocument(data, where if isinstance(where, Place) else Place(where)))
            held += len(data)
            if len(documents) == CHUNK_TASKS or held >= CHUNK_BYTES:
                yield _of(number, documents)
                documents, held, number = [], 0, number + 1
    except MaskwrightError as error:
        failure = error
    if documents:
        yield _of(number, documents)
    if failure is not None:
        raise failure


def _of(number: int, documents: list[TaskDocument]) -> Chunk:
    # The place is not part of it: a task that moved to another line is still the same.
    return Chunk(number, documents, [hashlib.blake2b(d.data, digest_size=16).digest() for d in documents])
