"""Rows on their way from the processes that render images to the file that holds them all.

One shard holds the rows of one chunk of tasks: a line of JSON that lists the sections with their lengths, and the
sections one behind the other, every row behind its length (32 bits, little-endian).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from maskwright.errors import InvalidInput

_LENGTH = struct.Struct("<I")
_BUFFER = 1 << 16


def write_shard(path: Path, rows: Iterable[tuple[str, bytes]]) -> str:
    """Write the rows of a chunk, each (section, row); an old file of that name is replaced in one step.

    Returns:
        The checksum of the file, for :func:`is_intact`.

    Raises:
        OSError: If the disk refuses.
    """
    sections: dict[str, list[bytes]] = {}
    for section, row in rows:
        sections.setdefault(section, []).append(_LENGTH.pack(len(row)) + row)
    blocks = {name: b"".join(framed) for name, framed in sections.items()}
    head = orjson.dumps([[name, len(block)] for name, block in blocks.items()])
    content = b"".join([head, b"\n", *blocks.values()])
    temporary = path.with_suffix(".new")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # a full disk should not be filled with halves
    return _checksum(content)


def is_intact(path: Path, checksum: str) -> bool:
    """Whether a shard is there as it was written: after a power cut it may not be."""
    try:
        return _checksum(path.read_bytes()) == checksum
    except OSError:
        return False


def read_rows(paths: Iterable[Path], section: str) -> Iterator[bytes]:
    """The rows of one section over all shards, in order.

    Raises:
        InvalidInput: If a shard is damaged.
    """
    for path in paths:
        try:
            with path.open("rb", buffering=_BUFFER) as stream:
                head = orjson.loads(stream.readline())
                offset = stream.tell()
                for name, length in head:
                    if name == section:
                        stream.seek(offset)
                        end = offset + length
                        while offset < end:
                            (size,) = _LENGTH.unpack(stream.read(_LENGTH.size))
                            yield stream.read(size)
                            offset += _LENGTH.size + size
                        break
                    offset += length
        except (OSError, ValueError, struct.error) as error:
            raise InvalidInput(f"{path} was damaged while the export ran; run it again with --restart") from error


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
