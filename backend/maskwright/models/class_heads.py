"""The class heads that lie in a folder, ``<id>.safetensors``, the id a hash of the content. Imports no PyTorch."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.region_head import RegionHead
from maskwright.models.region_head_files import ADVICE, digest

MOST_BYTES = 256 * 2**20
"""Larger than any head: 10,000 classes take 56 MB."""
_ID = re.compile("[0-9a-f]{32}")


class ClassHeadShelf:
    """Class heads as files. Safe under threads and processes.

    Args:
        folder: Where they lie; made with the first that is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, head: RegionHead) -> str:
        """Write a head, whole or not at all, and on the disk before this returns.

        Returns:
            Its id, 32 hex digits; equal heads have equal ids.

        Raises:
            InvalidInput: If a number is not finite, or the folder cannot be written.
        """
        if not all(np.isfinite(part).all() for part in (head.weights, head.centre, head.trust)):
            raise InvalidInput("class head: it holds a number that is not finite")
        identifier = digest(head)[:32]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            head.save(self._path(identifier))
            handle = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(handle)  # the new name, too, survives a power cut
            finally:
                os.close(handle)
        except OSError as error:
            raise InvalidInput(f"class head: {self.folder} cannot be written ({error.strerror})") from error
        return identifier

    def read(self, identifier: str) -> RegionHead:
        """The head of that id.

        Raises:
            ModelUnavailable: If the file is missing, too large, cut short, altered, or of another kind or version; the
                message names the head, the fault and what to do.
        """
        if not _ID.fullmatch(identifier):
            raise ModelUnavailable(f"class head {identifier[:80]!r}: a class head's id has 32 hex digits")
        path = self._path(identifier)
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise ModelUnavailable(f"class head {identifier} is larger than any ({MOST_BYTES >> 20} MiB); {ADVICE}")
        head = RegionHead.load(path)
        if digest(head)[:32] != identifier:
            raise ModelUnavailable(f"class head {identifier} is damaged or was altered; {ADVICE}")
        return head

    def _path(self, identifier: str) -> Path:
        return self.folder / f"{identifier}.safetensors"
