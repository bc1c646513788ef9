"""What takes minutes and is run by ``make soak`` only; the servers are those of tests/e2e."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_SERVERS = Path(__file__).parents[1] / "e2e" / "conftest.py"
_spec = importlib.util.spec_from_file_location("soak_servers", _SERVERS)
assert _spec is not None
assert _spec.loader is not None
_servers = importlib.util.module_from_spec(_spec)
sys.modules["soak_servers"] = _servers
_spec.loader.exec_module(_servers)

label_studio, api, launch, load_module = _servers.label_studio, _servers.api, _servers.launch, _servers.load_module


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only where this folder was asked for by name: ``pytest`` alone leaves it out."""
    return None if any("soak" in Path(arg.partition("::")[0]).parts for arg in config.args) else True
