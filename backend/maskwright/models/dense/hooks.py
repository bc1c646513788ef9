"""What modules inside a network answered during one call, read by forward hooks; the network's own code stays as it is.

The hooks are registered once. A call that records nothing costs nothing, and calls of several threads on the same
network see only what their own thread computed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn


class Recorder:
    """Listens to named modules. Thread-safe.

    Args:
        modules: Whose outputs are wanted, by the names under which they are kept.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._threads = threading.local()
        for name, module in modules.items():
            module.register_forward_hook(partial(self._keep, name))

    @contextmanager
    def recording(self) -> Iterator[dict[str, Any]]:
        """Outputs of the modules that this thread runs inside the block, by name; the last run of a module counts."""
        seen: dict[str, Any] = {}
        self._threads.seen = seen
        try:
            yield seen
        finally:
            self._threads.seen = None

    def _keep(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        seen = getattr(self._threads, "seen", None)
        if seen is not None:
            seen[name] = output
