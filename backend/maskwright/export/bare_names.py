"""Images that a folder has under their bare names only, and those names that several images would share.

A folder with ``x.png`` may well hold the image of ``s3://bucket/a/x.png``. It cannot hold that of
``s3://bucket/b/x.png`` as well, so neither gets it. Addresses are compared by their hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.errors import NotFound
from maskwright.export.clashes import hash_of, read_names
from maskwright.export.file_names import file_name, shown_address
from maskwright.export.image_sources import FolderImages


@dataclass(frozen=True)
class BareNames:
    """What a folder has under bare names.

    Attributes:
        refused: Files that images of several addresses would get: relative POSIX paths.
        chunks: Chunks that hold such an image.
        images: Images besides these whose folders were left aside.
        first: Address of the first of them, in quotes, and the file.
    """

    refused: frozenset[str]
    chunks: frozenset[int]
    images: int
    first: str

    def sentence(self) -> str:
        """For the card."""
        return (
            f"{self.images} images were not in the folder of images under their paths, but found there by their bare "
            f"names; the first: {self.first}"
        )


def find_bare_names(shards: Sequence[tuple[int, Path]], images: FolderImages) -> BareNames:
    """Look which images have a file of their bare name only.

    Args:
        shards: (chunk, shard), in order.
        images: The folder.
    """
    rows = np.fromiter(
        (
            value
            for _, source, path, is_bare in _found(shards, images)
            for value in (hash_of(path), hash_of(source), int(is_bare))
        ),
        dtype=np.uint64,
    ).reshape(-1, 3)
    bare = rows[rows[:, 2] == 1][:, 0]
    if not len(bare):
        return BareNames(frozenset(), frozenset(), 0, "")
    paths, counts = np.unique(np.unique(rows[:, :2], axis=0)[:, 0], return_counts=True)
    several = set(np.intersect1d(paths[counts > 1], bare).tolist())
    refused, chunks, aside, first = set(), set(), 0, ""
    for chunk, source, path, is_bare in _found(shards, images):
        if is_bare and hash_of(path) in several:
            refused.add(path)
            chunks.add(chunk)
        elif is_bare and "/" in file_name(source):
            aside += 1
            first = first or f"{shown_address(source)} as {path!r}"
    return BareNames(frozenset(refused), frozenset(chunks), aside, first)


def _found(shards: Sequence[tuple[int, Path]], images: FolderImages) -> Iterator[tuple[int, str, str, bool]]:
    """(chunk, address, file in the folder, whether its name differs from the image's path)."""
    for chunk, _, _, source in read_names(shards):
        wanted = file_name(source)
        try:
            path = images.find(wanted)
        except NotFound:
            continue
        if path is not None:
            yield chunk, source, path, path != wanted
