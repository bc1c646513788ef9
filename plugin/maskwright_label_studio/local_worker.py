"""A ``maskwright worker`` process of our own, beside the backend that it trains for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from maskwright_label_studio.processes import ManagedServer

BOOT_LIMIT_S = 30.0


class LocalWorker:
    """A running worker, as a context manager; found again by later runs like ``LocalBackend``.

    Args:
        data_dir: Its log; made if missing.
        settings: ``MASKWRIGHT_*`` variables for it, over those of this process.

    Raises:
        Unreachable: If it ends at once; the message ends with its last words.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str]) -> None:
        self._data_dir, self._settings = data_dir, settings
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # It has no door to knock at: that it lives is all there is to ask.
        self._process = ManagedServer(
            "the worker", state_file=data_dir / "worker.json", log=data_dir / "worker.log", answers=lambda _port: True
        )

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.is_running

    def __enter__(self) -> Self:
        if not self._process.find():
            self._process.spawn(
                [sys.executable, "-m", "maskwright.cli", "worker"], port=0, environment=os.environ | self._settings,
                folder=self._data_dir, limit_s=BOOT_LIMIT_S,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()
