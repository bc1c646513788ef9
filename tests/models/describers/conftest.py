"""Tiny random checkpoints of the real describing classes, saved with real tokenizers and loaded back by URI."""

import pytest

from maskwright.models.stages import Stages
from maskwright.settings import Settings

from ..tiny_clip import save_tiny_clip, save_tiny_siglip, save_tiny_siglip2
from ..tiny_describers import save_tiny_blip, save_tiny_blip2, save_tiny_florence2


@pytest.fixture(scope="session")
def stages(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return Stages(Settings(home=home, device="cpu", cpu_threads=1, offline=True, _env_file=None))


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A function of a scheme: the folder of a tiny checkpoint of it, made once."""
    made = {}
    makers = {
        "clip": save_tiny_clip,
        "siglip": save_tiny_siglip,
        "siglip2": save_tiny_siglip2,
        "florence2": save_tiny_florence2,
        "blip": save_tiny_blip,
        "blip2": save_tiny_blip2,
    }

    def folder(scheme):
        if scheme not in made:
            made[scheme] = makers[scheme](tmp_path_factory.mktemp("models") / f"tiny-{scheme}")
        return made[scheme]

    return folder
