"""Files inside a compiled Qt resource container (``.rcc``), read with bounds on everything that the file claims.

Format (Qt's ``rcc`` and ``QResource``, versions 1 to 3, all numbers big-endian): ``qres``, version, and where tree,
data and names begin. A node of the tree is a name's offset (4 bytes) and flags (2), then for a folder the number of its
children (4) and the first of them (4), for a file country and language (2 + 2) and the offset of its data (4); from
version 2 on a time stamp (8). A name is its length in UTF-16 units (2), a hash (4) and the units; data is its length
(4) and the bytes, with zlib after a length of its own (4) if flag 1 is set.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from maskwright.errors import InvalidInput, TooLarge

MOST_BYTES = 512 << 20
MOST_FILES = 100_000
MOST_UNPACKED = 64 << 20
_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4


class QtResources:
    """The files of one container, by their paths as in ``/gcompris/src/a.webp``.

    Args:
        content: The whole container.
        name: What to call it in errors.

    Raises:
        InvalidInput: If it is not such a container, is cut off, or its tree has a loop.
        TooLarge: If it is larger than ``MOST_BYTES`` or holds more than ``MOST_FILES`` nodes.
    """

    def __init__(self, content: bytes, name: str = "resource container") -> None:
        self._name = name
        self._content = content
        if len(content) > MOST_BYTES:
            raise TooLarge(f"{name}: more than {MOST_BYTES >> 20} MiB")
        if content[:4] != b"qres":
            raise InvalidInput(f"{name}: not a compiled Qt resource container; it does not begin with 'qres'")
        self._version, self._tree, self._data, self._names = self._numbers(">IIII", 4)
        if not 1 <= self._version <= 3:
            raise InvalidInput(f"{name}: version {self._version} of the format is not known")
        self._nodes = 0
        self._files = dict(self._walk(0, "", 0))

    @classmethod
    def open(cls, path: Path) -> QtResources:
        """Read the container at ``path``; as the constructor, and ``OSError`` if the file cannot be read."""
        if path.stat().st_size > MOST_BYTES:
            raise TooLarge(f"{path.name}: more than {MOST_BYTES >> 20} MiB")
        return cls(path.read_bytes(), path.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Full paths of the files, in the container's order."""
        return tuple(self._files)

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            InvalidInput: If there is no such file, or its data is cut off, damaged or compressed in an unknown way.
            TooLarge: If it unpacks to more than ``MOST_UNPACKED`` bytes.
        """
        if name not in self._files:
            raise InvalidInput(f"{self._name}: no file {name!r}")
        flags, offset = self._files[name]
        (length,) = self._numbers(">I", self._data + offset)
        stored = self._slice(self._data + offset + 4, length)
        if flags & _ZSTD:
            raise InvalidInput(f"{self._name}: {name} is compressed with zstd, which is not read")
        if not flags & _COMPRESSED:
            return stored
        machine = zlib.decompressobj()
        try:
            unpacked = machine.decompress(stored[4:], MOST_UNPACKED)
        except zlib.error as error:
            raise InvalidInput(f"{self._name}: {name} is damaged") from error
        if machine.unconsumed_tail:
            raise TooLarge(f"{self._name}: {name} unpacks to more than {MOST_UNPACKED >> 20} MiB")
        if not machine.eof:
            raise InvalidInput(f"{self._name}: {name} is cut off")
        return unpacked

    def _walk(self, node: int, folder: str, depth: int) -> Iterator[tuple[str, tuple[int, int]]]:
        self._nodes += 1
        if self._nodes > MOST_FILES or depth > 64:
            raise TooLarge(f"{self._name}: more than {MOST_FILES} files or 64 nested folders")
        at = self._tree + node * (22 if self._version >= 2 else 14)
        name_at, flags = self._numbers(">IH", at)
        path = folder + (self._text(self._names + name_at) if node else "")
        if flags & _FOLDER:
            count, first = self._numbers(">II", at + 6)
            if count and first <= node:
                raise InvalidInput(f"{self._name}: a folder holds itself")
            for child in range(first, first + count):
                yield from self._walk(child, path + "/", depth + 1)
        else:
            yield path, (flags, self._numbers(">I", at + 10)[0])

    def _text(self, at: int) -> str:
        (length,) = self._numbers(">H", at)
        return self._slice(at + 6, 2 * length).decode("utf-16-be", errors="replace")

    def _numbers(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack(form, self._slice(at, struct.calcsize(form)))

    def _slice(self, at: int, length: int) -> bytes:
        if at < 0 or at + length > len(self._content):
            raise InvalidInput(f"{self._name}: cut off; byte {at + length} is needed of {len(self._content)}")
        return self._content[at : at + length]
