"""Images of different tasks that would be called the same, and the names that tell them apart.

Two tasks may show different files of one name (of two buckets), or the same file. In the second case they may share
its name as long as nothing that is different is written under it. Names are compared by their hashes, so that a
million images take 16 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import orjson

from maskwright.export.records import ImageRecord
from maskwright.export.shards import read_rows

SECTION = "image names"


@dataclass(frozen=True)
class Clashes:
    """What has to be rendered again.

    Attributes:
        keys: Keys of images that need another name: all but the first of each name.
        chunks: Chunks that hold an image of such a name.
    """

    keys: frozenset[str]
    chunks: frozenset[int]


def name_row(record: ImageRecord) -> tuple[str, bytes]:
    """The row by which an image's name is known."""
    return SECTION, orjson.dumps([record.file_name, record.key, record.source])


def told_apart(record: ImageRecord) -> str:
    """Another name for an image, derived from its key: ``a/b.png`` becomes ``a/b-0123abcd.png``."""
    path = PurePosixPath(record.file_name)
    mark = hashlib.blake2b(record.key.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return str(path.with_name(f"{path.stem}-{mark}{path.suffix}"))


def find_clashes(shards: Sequence[tuple[int, Path]], *, strictly: bool) -> Clashes:
    """Images that have the name of another one.

    Args:
        shards: (chunk, shard), in order.
        strictly: Whether the same file may not be shown by two tasks either, and names must differ in more than their
            suffix, because files are written under names derived from them.
    """
    pairs = np.fromiter(
        (
            value
            for _, name, _, source in read_names(shards)
            for value in (hash_of(_called(name, strictly)), hash_of(source))
        ),
        dtype=np.uint64,
    ).reshape(-1, 2)
    different = pairs if strictly else np.unique(pairs, axis=0)
    names, counts = np.unique(different[:, 0], return_counts=True)
    several = set(names[counts > 1].tolist())
    if not several:
        return Clashes(frozenset(), frozenset())
    first: dict[int, str] = {}
    keys, chunks = set(), set()
    for chunk, name, key, source in read_names(shards):
        number = hash_of(_called(name, strictly))
        if number in several:
            chunks.add(chunk)
            if number in first and (strictly or first[number] != source):
                keys.add(key)
            first.setdefault(number, source)
    return Clashes(frozenset(keys), frozenset(chunks))


def find_same_key(shards: Sequence[tuple[int, Path]]) -> str | None:
    """The key of two images, if there is one.

    Args:
        shards: (chunk, shard), in order.
    """
    hashes = np.fromiter((hash_of(key) for _, _, key, _ in read_names(shards)), dtype=np.uint64)
    found, counts = np.unique(hashes, return_counts=True)
    several = set(found[counts > 1].tolist())
    seen: set[str] = set()
    if several:
        for _, _, key, _ in read_names(shards):
            if hash_of(key) in several:
                if key in seen:
                    return key
                seen.add(key)
    return None


def read_names(shards: Iterable[tuple[int, Path]]) -> Iterator[tuple[int, str, str, str]]:
    """(chunk, file name, key, address) of every image, in order."""
    for chunk, path in shards:
        for row in read_rows([path], SECTION):
            name, key, source = orjson.loads(row)
            yield chunk, name, key, source


def _called(name: str, strictly: bool) -> str:
    return str(PurePosixPath(name).with_suffix("")) if strictly else name


def hash_of(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
