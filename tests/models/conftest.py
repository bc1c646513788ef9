"""Small random networks of the real classes, saved as a user's checkpoints would be."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

from . import tiny_segmenters

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def picture():
    """A function of (height, width, seed): smooth random RGB with texture."""

    def make(height, width, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 4, 3)).astype(np.float64)
        rows, columns = np.linspace(0, 3, height).astype(int), np.linspace(0, 3, width).astype(int)
        noise = rng.integers(-30, 31, (height, width, 3))
        return np.clip(coarse[rows][:, columns] + noise, 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", device="cpu", cpu_threads=1, offline=True, _env_file=None)


@pytest.fixture
def registry(settings):
    return ModelRegistry(settings)


@pytest.fixture(scope="session")
def randomise():
    """See ``tiny_segmenters.randomise``."""
    return tiny_segmenters.randomise


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Folder of a tiny checkpoint per scheme of the transformers families."""
    place = tmp_path_factory.mktemp("models")
    return {
        scheme: tiny_segmenters.save_tiny_segmenter(scheme, place / f"tiny-{scheme}")
        for scheme in tiny_segmenters.MAKERS
    }


@pytest.fixture(scope="session")
def segment_anything():
    """The original package, its torchvision imports met by the stand-in where torchvision is absent."""
    spec = importlib.util.spec_from_file_location("torchvision_stand_in", TESTS / "torchvision_stand_in.py")
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    try:
        stand_in.install()
    except ImportError:
        pytest.skip("the segment-anything package is not installed")
    return sys.modules["segment_anything"]


@pytest.fixture(scope="session")
def original_sam(segment_anything, tmp_path_factory):
    """(Sam of the package with small sizes, path of its checkpoint)."""
    import torch

    model = tiny_segmenters.tiny_original_sam()
    path = tmp_path_factory.mktemp("checkpoints") / "sam_small.pth"
    torch.save(model.state_dict(), path)
    return model, path
