"""The server killed at fifty seeded moments of a storm of events."""

from __future__ import annotations

import pytest


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_ten_moments_of_each_of_five_storms_no_acknowledged_correction_is_lost(
    seed, load_module, launch, api, label_studio, tmp_path
):
    survive = load_module("test_kill").survive
    survive(load_module("storm"), launch, tmp_path / "home", api, label_studio, moments=10, seed=100 + seed)
