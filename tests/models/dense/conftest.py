"""Tiny CLIP, SigLIP and DINO checkpoints, and the stages that load them."""

import importlib.util
from pathlib import Path

import pytest

from maskwright.models.stages import Stages
from maskwright.settings import Settings


@pytest.fixture(scope="session")
def tiny_clip():
    """The module that saves tiny checkpoints."""
    path = Path(__file__).resolve().parents[1] / "tiny_clip.py"
    spec = importlib.util.spec_from_file_location("tiny_clip", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_folder(tiny_clip, tmp_path_factory):
    return tiny_clip.save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def stages(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return Stages(Settings(home=home, device="cpu", cpu_threads=1, offline=True, _env_file=None))
