"""Platform documents as they lie in the store: checked JSON, compressed, spliced back without encoding them anew."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from maskwright.errors import InvalidInput, TooLarge

MAX_DOCUMENT_BYTES = 256 * 1024**2
_LEVEL = 1  # run lengths shrink to a quarter already; higher levels cost ten times the time for a tenth more
_NUMBER_BOUND = 2**63


@dataclass(frozen=True)
class Packed:
    """A document ready for a row: SHA-256 (hex) and length of the JSON, and its zlib stream."""

    digest: str
    nbytes: int
    stream: bytes


def digest_of(document: bytes) -> str:
    """SHA-256 (hex) of a document."""
    return hashlib.sha256(document).hexdigest()


def pack(document: bytes, what: str) -> Packed:
    """Check that a document is a JSON object and compress it.

    Raises:
        InvalidInput: If it is not; the message begins with ``what``.
        TooLarge: If it is longer than ``MAX_DOCUMENT_BYTES``.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"{what}: {len(document)} bytes of JSON; at most {MAX_DOCUMENT_BYTES} are kept")
    try:
        parsed = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{what}: not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidInput(f"{what}: a JSON object is needed, not {type(parsed).__name__}")
    document = document.strip()
    return Packed(digest_of(document), len(document), zlib.compress(document, _LEVEL))


def unpack(stream: bytes, nbytes: int, digest: str) -> bytes:
    """Give the document back.

    Raises:
        InvalidInput: If the stream is damaged or is not the document that the row names.
    """
    inflater = zlib.decompressobj()
    try:
        # One byte more than expected tells a stream that holds more, without inflating all of it.
        document = inflater.decompress(stream, nbytes + 1)
    except zlib.error as error:
        raise InvalidInput(f"a stored document is damaged ({error}); restore a backup") from None
    if len(document) != nbytes or digest_of(document) != digest:
        raise InvalidInput("a stored document is not what its checksum says; restore a backup")
    return document


def splice_task(
    number: int,
    project: int,
    data: bytes | None,
    annotations: Sequence[bytes],
    predictions: Sequence[bytes],
    drafts: Sequence[bytes],
) -> bytes:
    """One task as Label Studio's JSON export shapes it, out of the documents as they were stored."""
    lists = (b"annotations", annotations), (b"predictions", predictions), (b"drafts", drafts)
    parts = [b'{"id":%d,"project":%d,"data":' % (number, project), data or b"{}"]
    for name, documents in lists:
        parts += [b',"', name, b'":[', b",".join(documents), b"]"]
    return b"".join([*parts, b"}"])


def checked_number(value: int, what: str) -> int:
    """A platform's number that fits the column.

    Raises:
        InvalidInput: If it is not a whole number from 0 to 2**63 - 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _NUMBER_BOUND:
        raise InvalidInput(f"{what}: {value!r} is not a whole number from 0 to 2**63 - 1")
    return value


def checked_text(value: str, what: str, limit: int = 1_000_000) -> str:
    """Text that both databases can hold.

    Raises:
        InvalidInput: If it is too long, or holds NUL or half a surrogate pair.
    """
    if len(value) > limit:
        raise TooLarge(f"{what}: {len(value)} characters; at most {limit} are kept")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInput(f"{what}: holds a character that no database keeps (NUL or half a surrogate pair)")
    return value
