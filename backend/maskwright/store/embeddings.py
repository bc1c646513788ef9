"""The disk cache of image embeddings: named arrays in safetensors files, with an index for size and age.

The files are the truth and the index is derived from them: it is rebuilt from the folder whenever it is missing or
damaged. A file is written beside its place, fsynced and renamed, so a reader never sees half of one; what it holds is
checked against the key that was asked for and against a digest of the arrays. Several threads and processes may share
a folder. No failure of the disk reaches the caller: the cache logs it and answers as if it were empty.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as to_safetensors

from maskwright.store.cache_index import CacheIndex

_log = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_PARTIAL = ".partial"
_ABANDONED_AFTER_S = 3600.0


@dataclass(frozen=True)
class EmbeddingKey:
    """What an embedding is of.

    Attributes:
        image: Identity of the image's pixels (``Image.key``: content, and the intensity window it was decoded with).
        crop: Left, top, right, bottom in whole pixels of the part that was encoded, or None for all of it.
        version: ``embedding_version`` of the segmenter that encoded it.
    """

    image: str
    crop: tuple[int, int, int, int] | None
    version: str

    def text(self) -> str:
        """The key as JSON, as it is written into the file."""
        return json.dumps(astuple(self))

    def digest(self) -> str:
        """40 hex digits: the name of the file."""
        return hashlib.blake2b(self.text().encode(), digest_size=20).hexdigest()


@dataclass(frozen=True, eq=False)
class StoredArrays:
    """Named arrays with JSON metadata."""

    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class _Damaged(Exception):
    """A file is not what it should be."""


def _signature(key: EmbeddingKey, stored: StoredArrays) -> str:
    """Digest of the key, the metadata and every array's name, dtype, shape and bytes."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(key.text().encode())
    digest.update(json.dumps(dict(stored.metadata), sort_keys=True).encode())
    for name, array in sorted(stored.arrays.items()):
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(np.asarray(array, order="C").reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _serialise(key: EmbeddingKey, stored: StoredArrays) -> bytes:
    arrays = {name: np.asarray(array, order="C") for name, array in stored.arrays.items()}
    metadata = {
        "key": key.text(),
        "signature": _signature(key, stored),
        "metadata": json.dumps(dict(stored.metadata), sort_keys=True),
    }
    return to_safetensors(arrays, metadata=metadata)


def _parse(data: bytes, key: EmbeddingKey) -> StoredArrays:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        stored = StoredArrays(parse_safetensors(data), json.loads(header["metadata"]))
        written_for, signature = header["key"], header["signature"]
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise _Damaged(f"cannot be read ({type(error).__name__})") from error
    if written_for != key.text():
        raise _Damaged("belongs to another key")
    if signature != _signature(key, stored):
        raise _Damaged("does not match its signature")
    for array in stored.arrays.values():
        array.setflags(write=False)
    return stored


class EmbeddingStore:
    """Image embeddings on disk, least recently used out.

    Args:
        folder: Where files and index live; made if missing.
        max_bytes: Most bytes of files kept. A single embedding larger than this is not written.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._failures_lock = threading.Lock()
        self._last_warning = float("-inf")
        self._index = CacheIndex(folder / "index.sqlite3")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._index.open(self._scan())
        except OSError as error:
            self._warn("open its folder", error)

    def get(self, key: EmbeddingKey) -> StoredArrays | None:
        """The arrays (read-only) and metadata kept under ``key``, or None; a damaged file is deleted."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self._index.remove([path.stem])
            return None
        except OSError as error:
            self._warn("read a file", error)
            return None
        try:
            stored = _parse(data, key)
        except _Damaged as fault:
            _log.warning("deleted a cached image embedding: it %s", fault)
            self._delete([path.stem])
            return None
        self._index.touch(path.stem, len(data))
        return stored

    def put(self, key: EmbeddingKey, stored: StoredArrays) -> bool:
        """Write arrays under ``key``, making room first; False where the disk refused or they exceed the bound."""
        data = _serialise(key, stored)
        if len(data) > self._max_bytes:
            return False
        path = self._path(key)
        self._delete(self._index.oldest_beyond(self._max_bytes - len(data)))
        try:
            self._write(path, data)
        except OSError as error:
            self._warn("write a file", error)
            return False
        if not self._index.touch(path.stem, len(data)):
            # A file that no index counts would escape the bound.
            path.unlink(missing_ok=True)
            return False
        self._delete(self._index.oldest_beyond(self._max_bytes))
        return True

    def discard(self, key: EmbeddingKey) -> None:
        """Delete what is kept under ``key``, if anything."""
        self._delete([self._path(key).stem])

    def __contains__(self, key: EmbeddingKey) -> bool:
        """Whether a file is there; it is checked only when it is read."""
        return self._path(key).exists()

    def __len__(self) -> int:
        return self._index.totals()[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return self._index.totals()[1]

    @property
    def max_bytes(self) -> int:
        """Most bytes of files kept."""
        return self._max_bytes

    @property
    def free_bytes(self) -> int:
        """Free space on the folder's disk; 0 where it cannot be told."""
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return 0

    def close(self) -> None:
        """Close the index; the files stay."""
        self._index.close()

    def _path(self, key: EmbeddingKey) -> Path:
        return self._folder / (key.digest() + _SUFFIX)

    def _scan(self) -> dict[str, tuple[int, float]]:
        """Size and last change of every complete file; partial files whose writer must be gone are deleted."""
        found: dict[str, tuple[int, float]] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    info = entry.stat()
                except FileNotFoundError:
                    continue
                if entry.name.endswith(_SUFFIX):
                    found[entry.name.removesuffix(_SUFFIX)] = (info.st_size, info.st_mtime)
                elif entry.name.endswith(_PARTIAL) and time.time() - info.st_mtime > _ABANDONED_AFTER_S:
                    Path(entry.path).unlink(missing_ok=True)
        return found

    def _write(self, path: Path, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(prefix=path.stem + ".", suffix=_PARTIAL, dir=self._folder)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # The folder is not synced: if a power cut undoes the renaming, the cache has forgotten an embedding.
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _delete(self, digests: list[str]) -> None:
        if not digests:
            return
        for digest in digests:
            try:
                (self._folder / (digest + _SUFFIX)).unlink(missing_ok=True)
            except OSError as error:
                self._warn("delete a file", error)
        self._index.remove(digests)

    def _warn(self, what: str, error: OSError) -> None:
        """Log a fault of the disk, at most once a minute: a full disk fails on every write."""
        with self._failures_lock:
            now = time.monotonic()
            if now - self._last_warning < 60.0:
                return
            self._last_warning = now
        _log.warning("the disk cache of image embeddings cannot %s: %s; going on without it", what, error.strerror)
