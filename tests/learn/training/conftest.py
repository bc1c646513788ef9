"""Drawn pictures, and small random networks of the real classes."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.masks import Mask
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

# By its path: this file is also read alone, by processes that a test kills.
_SPEC = importlib.util.spec_from_file_location(
    "tiny_segmenters", Path(__file__).parents[2] / "models" / "tiny_segmenters.py"
)
tiny_segmenters = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny_segmenters)


def drawn(number, size=(64, 64), count=2, negatives=(), is_new=True):
    """Bright discs on a dark noisy ground."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(20, 60, (*size, 3)).astype(np.uint8)
    ys, xs = np.mgrid[: size[0], : size[1]]
    objects = []
    for index in range(count):
        x = (index + 0.5) * size[1] / count + rng.uniform(-2, 2)
        y = size[0] * rng.uniform(0.35, 0.65)
        inside = (ys + 0.5 - y) ** 2 + (xs + 0.5 - x) ** 2 < (size[1] / count / 2 * rng.uniform(0.6, 0.8)) ** 2
        pixels[inside] = rng.integers(180, 250, 3)
        objects.append(TrainingObject(Mask.from_array(inside), "disc"))
    key = hashlib.sha256(f"{number}".encode()).hexdigest()
    return TrainingImage(key, lambda: pixels, tuple(objects), tuple(negatives), is_new)


@pytest.fixture(scope="session", name="drawn")
def _drawn():
    return drawn


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Folder of a tiny checkpoint per scheme of the transformers families."""
    place = tmp_path_factory.mktemp("models")
    return {
        scheme: tiny_segmenters.save_tiny_segmenter(scheme, place / f"tiny-{scheme}")
        for scheme in tiny_segmenters.MAKERS
    }


@pytest.fixture(scope="session")
def tiny(tiny_folders, tmp_path_factory):
    """A function of the scheme: a segmenter around a tiny random network."""
    registry = ModelRegistry(
        Settings(home=tmp_path_factory.mktemp("home"), device="cpu", cpu_threads=1, offline=True, _env_file=None)
    )
    return lambda scheme: registry.segmenter(f"{scheme}:{tiny_folders[scheme]}")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    registry = ModelRegistry(
        Settings(home=tmp_path_factory.mktemp("home"), device="cpu", cpu_threads=1, offline=True, _env_file=None)
    )
    return registry.segmenter("embedded-no-nuclei")
