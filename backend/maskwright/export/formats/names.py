"""What the files of one image are called in a dataset, and where the parts of a dataset lie.

Names come from ``ImageRecord.file_name`` alone, so that nothing has to be remembered between images: the name without
its suffix, followed by eight hex digits of the record's key where a task has several images. Two tasks that show the
same file, or files that differ by their suffix only, would still meet; the formats write them to the same relative
path, which the engine refuses or tells apart by giving one of the records another ``file_name``.

An image may lie in a folder that is called like another image, ``x.png`` and ``x.png/y.png``, as addresses of storage
allow. Such folders get ``_`` at their end (:func:`apart_from_files`), so that no file's name is another file's folder.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from maskwright.export.records import ImageRecord, Rows, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
_FILE_LIKE = re.compile(r"\.(?:png|jpe?g|webp|bmp|tiff?|gif|txt|xml|json|jsonl)_*", re.IGNORECASE)
_LONGEST_FLAT = 200


def stem(record: ImageRecord) -> str:
    """Relative POSIX path without suffix, keeping the folders of the image's own name."""
    path = PurePosixPath(record.file_name)
    name = str(path.with_name(path.stem))
    if record.is_only_image:
        return name
    return f"{name}-{hashlib.blake2b(record.key.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"


def flat_stem(record: ImageRecord) -> str:
    """As :func:`stem`, with ``__`` in place of slashes, for formats without folders.

    At most 200 bytes. A name from which the folders could not be told again, such as ``a__b`` beside ``a/b``, and one
    that is too long, ends with ``-`` and 16 hex digits of the whole name, so that different names stay different.
    """
    name = stem(record)
    flat = name.replace("/", "__")
    encoded = flat.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_FLAT and flat.split("__") == name.split("/"):
        return flat
    mark = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{encoded[: _LONGEST_FLAT - len(mark) - 1].decode('utf-8', 'ignore')}-{mark}"


def place(record: ImageRecord) -> str:
    """As :func:`stem`, its folders kept apart from files, in a folder of its part of a split dataset."""
    name = apart_from_files(stem(record))
    return f"{record.split}/{name}" if record.split else name


def apart_from_files(path: str) -> str:
    """A relative path whose folders cannot be called like a file of a dataset; different paths stay different.

    A folder that ends with a suffix of images or of a format's files, and any number of ``_``, gets one more ``_``.
    """
    *folders, name = path.split("/")
    return "/".join([*map(as_folder, folders), name])


def as_folder(name: str) -> str:
    """One folder of :func:`apart_from_files`."""
    dot = name.rfind(".")
    return f"{name}_" if dot >= 0 and _FILE_LIKE.fullmatch(name[dot:]) else name


def section(kind: str, record: ImageRecord) -> str:
    """The section of rows for one kind of row and the part of the dataset that the image belongs to."""
    return f"{kind}/{record.split or ''}"


def present(kind: str, rows: Rows) -> list[Split | None]:
    """The parts of the dataset that have rows of a kind: the undivided one first, then test, val, train.

    ``train`` comes last because the last file that ``Format.finish`` names is the one that a loader opens.
    """
    parts: tuple[Split | None, ...] = (None, *reversed(SPLITS))
    return [part for part in parts if any(True for _ in rows(f"{kind}/{part or ''}"))]
