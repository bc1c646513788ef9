"""The adapters that lie in a folder, described without reading a file twice. Imports no PyTorch before it reads one."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.models.adapters.files import ID, AdapterSummary, check_base, file_name, read_adapter, read_summary

if TYPE_CHECKING:
    from torch import Tensor


class AdapterShelf:
    """The adapters of a folder; what a file says is read once, until it changes. Safe under threads.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[tuple[int, int], AdapterSummary]] = {}
        self._lock = threading.Lock()

    def summary(self, identifier: str, *, base: str | None = None) -> AdapterSummary:
        """As ``read_summary``."""
        stamp = self._stamp(identifier)
        with self._lock:
            known = self._known.get(identifier)
        if known is None or stamp is None or known[0] != stamp:
            summary = read_summary(self.folder, identifier)
            if stamp is not None:
                with self._lock:
                    self._known[identifier] = (stamp, summary)
        else:
            summary = known[1]
        check_base(summary, base)
        return summary

    def read(self, identifier: str, *, base: str | None = None) -> tuple[AdapterSummary, dict[str, Tensor]]:
        """As ``read_adapter``."""
        return read_adapter(self.folder, identifier, base=base)

    def sweep(self, older_than_s: float = 3600.0) -> int:
        """Delete what writers that were killed have left behind; returns the number of files.

        Args:
            older_than_s: Younger ones may belong to a writer at work.
        """
        count = 0
        for path in self.folder.glob(".*.safetensors.*"):
            try:
                if time.time() - path.stat().st_mtime >= older_than_s:
                    path.unlink()
                    count += 1
            except OSError:  # another process was faster
                continue
        return count

    def ids(self) -> tuple[str, ...]:
        """Of every file there, unchecked, in alphabetical order."""
        found = (path.stem for path in self.folder.glob("*.safetensors"))
        return tuple(sorted(stem for stem in found if ID.fullmatch(stem)))

    def _stamp(self, identifier: str) -> tuple[int, int] | None:
        if not ID.fullmatch(identifier):
            return None
        try:
            status = (self.folder / file_name(identifier)).stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns
