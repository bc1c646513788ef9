"""Files that ``/data/local-files/?d=...`` names, read from a folder that the operator opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from maskwright.errors import InvalidInput, NotFound, Refused, TooLarge

_MOST_DECODINGS = 3


def read_local_file(root: Path, relative: str, max_bytes: int) -> bytes:
    """Read a regular file below ``root``; symbolic links are followed only while they stay below it.

    Args:
        root: The folder that the operator opened.
        relative: The path as the task names it, percent-decoding done.
        max_bytes: Largest file.

    Raises:
        Refused: If the path leads, or could be meant to lead, out of ``root``.
        InvalidInput: If it is blank, holds a NUL, or names no regular file.
        NotFound: If nothing is there.
        TooLarge: If the file is larger than ``max_bytes``.
    """
    check_relative(relative)
    try:
        base = root.resolve(strict=True)
        path = (base / relative).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, in Python 3.11 and 3.12
        raise NotFound(f"the local file {relative!r} does not exist below the folder that is open to tasks") from error
    if not path.is_relative_to(base):
        raise Refused(f"the local file {relative!r} lies outside the folder that is open to tasks")
    try:
        # Not following a link put there in between, and not waiting for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"the local file {relative!r} cannot be read") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"the local file {relative!r} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = b"" if status.st_size > max_bytes else file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if status.st_size > max_bytes or len(data) > max_bytes:
        raise TooLarge(
            f"the local file {relative!r} is larger than the {max_bytes} bytes accepted (MASKWRIGHT_MAX_IMAGE_BYTES)"
        )
    return data


def check_relative(relative: str) -> None:
    """Refuse a path that is not plainly relative, also under further percent-decoding and on other systems' rules.

    Raises:
        Refused: If it is absolute or holds ``..``.
        InvalidInput: If it is blank or holds a NUL.
    """
    seen = relative
    for _ in range(_MOST_DECODINGS):
        if not seen.strip() or "\0" in seen:
            raise InvalidInput("the local file's path is blank or holds a NUL character")
        absolute = PurePosixPath(seen).is_absolute() or PureWindowsPath(seen).anchor
        if absolute or ".." in seen.replace("\\", "/").split("/"):
            raise Refused(
                f"the local file {relative!r} must be named relative to the folder that is open, without '..'"
            )
        decoded = unquote(seen)
        if decoded == seen:
            return
        seen = decoded
    raise Refused(f"the local file {relative!r} is percent-encoded several times over")
