"""Who runs rounds, who answers clicks, or both, killed at a hundred seeded moments."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROUNDS = Path(__file__).parents[1] / "learn" / "rounds"


def load(name):
    spec = importlib.util.spec_from_file_location(f"soak_rounds_{name}", ROUNDS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_ten_moments_of_each_of_ten_runs_rounds_all_end_and_clicks_get_whole_versions(seed, tmp_path):
    project = load("conftest").Project(tmp_path / "home", pictures=4, held_out=2, objects=2)
    try:
        load("test_killed").survive(project, points=10, seed=100 + seed)
    finally:
        project.store.close()
