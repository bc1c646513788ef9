"""What the files of one image are called in a dataset, and where the parts of a dataset lie.

Names come from ``ImageRecord.file_name`` alone, so that nothing has to be remembered between images: the name without
its suffix, followed by eight hex digits of the record's key where a task has several images. Two tasks that show the
same file, or files that differ by their suffix only, would still meet; the formats write them to the same relative
path, which the engine refuses or tells apart by giving one of the records another ``file_name``.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from maskwright.export.records import ImageRecord, Rows, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def stem(record: ImageRecord) -> str:
    """Relative POSIX path without suffix, keeping the folders of the image's own name."""
    path = PurePosixPath(record.file_name)
    name = str(path.with_name(path.stem))
    if record.is_only_image:
        return name
    return f"{name}-{hashlib.blake2b(record.key.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"


def flat_stem(record: ImageRecord) -> str:
    """As :func:`stem`, with ``__`` in place of slashes, for formats without folders."""
    return stem(record).replace("/", "__")


def place(record: ImageRecord) -> str:
    """As :func:`stem`, in a folder of its part of the dataset where that is split."""
    return f"{record.split}/{stem(record)}" if record.split else stem(record)


def section(kind: str, record: ImageRecord) -> str:
    """The section of rows for one kind of row and the part of the dataset that the image belongs to."""
    return f"{kind}/{record.split or ''}"


def present(kind: str, rows: Rows) -> list[Split | None]:
    """The parts of the dataset that have rows of a kind: the undivided one first, then test, val, train.

    ``train`` comes last because the last file that ``Format.finish`` names is the one that a loader opens.
    """
    parts: tuple[Split | None, ...] = (None, *reversed(SPLITS))
    return [part for part in parts if any(True for _ in rows(f"{kind}/{part or ''}"))]
