"""Models of the stages by URI: loaded once, named before they are loaded, refused with what to do."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.stages import STAGES, Stages
from maskwright.models.uri import ROLES


@pytest.fixture
def stages(settings):
    return Stages(settings)


def test_every_role_and_scheme_but_segmenters_and_nothing_has_a_family():
    shared = {(role, scheme) for role in ("tagger", "captioner") for scheme in ("hf", "openai")}
    wanted = {(role, scheme) for role, schemes in ROLES.items() for scheme in schemes if role != "segmenter"}
    assert set(STAGES) == {one for one in wanted - shared if one[1] != "none"}


def test_a_model_is_made_once_for_all_who_ask_at_the_same_time(stages):
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return stages.tagger("embedded")

    with ThreadPoolExecutor(4) as pool:
        assert len({id(model) for model in pool.map(ask, range(4))}) == 1


def test_a_model_is_named_before_it_is_loaded(stages):
    described = stages.describe("detector", "grounding-dino:IDEA-Research/grounding-dino-tiny")
    assert described.name == "grounding-dino-tiny"
    assert described.version.startswith("grounding-dino-tiny-")
    other = stages.describe("detector", "grounding-dino:IDEA-Research/grounding-dino-tiny@v2")
    assert other.version != described.version


def test_one_that_is_not_on_this_machine_says_what_to_do(stages):
    with pytest.raises(ModelUnavailable, match="IDEA-Research/grounding-dino-tiny at revision 'main' is not in"):
        stages.detector("grounding-dino:IDEA-Research/grounding-dino-tiny")


def test_nothing_is_no_model(stages):
    with pytest.raises(InvalidInput, match="switched off"):
        stages.captioner("none")


def test_the_embedded_models_take_no_location(stages):
    with pytest.raises(InvalidInput, match="takes nothing after it here"):
        stages.tagger("embedded:/w.safetensors")
