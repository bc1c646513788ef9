"""Tiny checkpoints of the detectors' real classes, saved as a user's would be."""

import pytest

from maskwright.models.stages import Stages

from ..tiny_detectors import make_clip_tokenizer, save_tiny_grounding_dino, save_tiny_owlv2, save_tiny_sam3_concepts


@pytest.fixture(scope="session")
def clip_tokenizer():
    return make_clip_tokenizer


@pytest.fixture(scope="session")
def grounding_dino_folders(tmp_path_factory):
    """Folder of a tiny checkpoint with its processor, by whether it is the MM variant."""
    place = tmp_path_factory.mktemp("models")
    return {modern: save_tiny_grounding_dino(place / f"tiny-dino-{modern}", modern) for modern in (False, True)}


@pytest.fixture(scope="session")
def owlv2_folder(tmp_path_factory):
    return save_tiny_owlv2(tmp_path_factory.mktemp("models") / "tiny-owlv2")


@pytest.fixture(scope="session")
def sam3_concepts_folder(tmp_path_factory):
    return save_tiny_sam3_concepts(tmp_path_factory.mktemp("models") / "tiny-sam3-concepts")


@pytest.fixture
def stages(settings):
    return Stages(settings)
