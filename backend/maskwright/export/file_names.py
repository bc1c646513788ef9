"""What an image is called in a dataset: derived from its address alone, safe to write below any folder."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

_UPLOAD = re.compile(r"^.*/data/upload/(?:[0-9]+/)?")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_LONGEST = 200
_LONGEST_SHOWN = 300


def file_name(source: str) -> str:
    """A relative POSIX path for an image.

    Uploads lose the folder of their project, local files (``?d=``) keep their folders, URLs of storage and web keep
    their path. Percent signs are decoded, ``..`` and characters that some file systems refuse are replaced.

    Args:
        source: Address of the image at the platform.
    """
    try:
        parts = urlsplit(source)
        if parts.scheme == "data":  # the image itself, not its address
            return "image"
        inner = parse_qs(parts.query).get("d")
        has_scheme = bool(parts.scheme) and len(parts.scheme) > 1
        path = inner[0] if inner else unquote(parts.path if has_scheme or parts.query else source)
    except ValueError:  # an address like http://[ is no URL
        path = source
    path = _UPLOAD.sub("", path, count=1)
    pieces = [_safe(piece) for piece in path.replace("\\", "/").split("/")]
    return "/".join(piece for piece in pieces if piece) or "image"


def _safe(piece: str) -> str:
    piece = _UNSAFE.sub("_", piece).strip()
    if piece == ".":
        return ""
    if set(piece) == {"."}:
        return "_"
    piece = piece.encode("utf-8", "replace").decode("utf-8")
    if len(piece.encode()) <= _LONGEST:
        return piece
    stem, dot, suffix = piece.rpartition(".")
    keep = suffix if dot and len(suffix) <= 8 else ""
    cut = (stem or piece).encode()[: _LONGEST - len(keep) - 1].decode("utf-8", "ignore")
    return f"{cut}.{keep}" if keep else cut


def shown_address(source: str) -> str:
    """An address for messages, in quotes: a data URI may be as long as its image."""
    return repr(source if len(source) <= _LONGEST_SHOWN else f"{source[:_LONGEST_SHOWN]}...")
