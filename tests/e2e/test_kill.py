"""The server killed at seeded moments of a storm of events: what it acknowledged is never lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from maskwright.store.corrections import open_store
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.local import LocalLabelStudio
from maskwright_label_studio.sync import synchronise

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def survive(
    storms: ModuleType,
    launch: Callable[..., object],
    home: Path,
    api: httpx.Client,
    label_studio: LocalLabelStudio,
    moments: int,
    seed: int,
) -> None:
    """Post a storm; kill -9 and restart the server at so many moments of it; check, then compare with the platform."""
    settings = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": label_studio.token}
    project = storms.worked_on_project(api)
    before = storms.listed(api, project)
    storms.work_on(api, project)
    deliveries = storms.storm(api, project, before, seed)
    random_ = random.Random(seed)
    first = launch(home, **settings)
    poster = storms.Poster(deliveries, (first.user, first.password))
    for moment, at in enumerate(sorted(random_.sample(range(20, len(deliveries) - 400), moments))):
        backend = first if moment == 0 else launch(home, **settings)
        poster.post(backend.url, 4, until=killer(backend.process, poster, at, random_.random() * 0.03))
        backend.process.kill()
        backend.process.wait()
        # Opening checks the database; everything that was acknowledged must be in it.
        assert storms.kept_states(home) >= poster.acknowledged, f"lost at moment {moment} of seed {seed}"
    last = launch(home, **settings)
    poster.post(last.url, 4)
    assert poster.finished
    last.process.kill()
    last.process.wait()
    assert storms.kept_states(home) >= poster.acknowledged
    store = open_store(home)
    try:
        client = LabelStudioClient.of_operator(label_studio.url, label_studio.token)
        assert synchronise(client, store, project, server=label_studio.url).failures == ()
        assert storms.assert_equal(store, api, project, label_studio.url) >= 200
    finally:
        store.close()


def killer(process, poster, at: int, delay_s: float) -> Callable[[], bool]:
    """Kills, with SIGKILL and while other threads post, a moment after the ``at``-th answer; then true for ever."""

    def killed() -> bool:
        if process.poll() is not None:
            return True
        if poster.answered + poster.refused >= at:
            time.sleep(delay_s)
            process.kill()
            process.wait()
        return False

    return killed


def test_killed_at_five_moments_of_a_storm_no_acknowledged_correction_is_lost(
    load_module, launch, api, label_studio, tmp_path
):
    survive(load_module("storm"), launch, tmp_path / "home", api, label_studio, moments=5, seed=20)
