"""The models of a staged pre-annotation, from what is set."""

import pytest

from maskwright.assist.suggestion.loading import load_models
from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import InvalidInput
from maskwright.models.stages import Stages
from maskwright.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", device="cpu", cpu_threads=1, offline=True, _env_file=None)


def test_a_fresh_machine_has_the_embedded_tagger_and_detector_alone(settings):
    models, problems = load_models(Stages(settings), settings, StageOptions())
    assert models.tagger is not None
    assert models.detector is not None
    assert (models.captioner, models.language, models.dense) == (None, None, None)
    assert problems == ()


def test_a_model_that_cannot_be_had_leaves_the_others_and_the_reason(settings):
    models, problems = load_models(
        Stages(settings), settings, StageOptions(), {"captioner": "blip:o/n", "language": "sentence-matcher"}
    )
    assert models.captioner is None
    assert models.language is not None
    assert models.tagger is not None
    (problem,) = problems
    assert "maskwright models pull blip:o/n" in problem


def test_a_project_without_captions_loads_no_captioner(settings):
    models, problems = load_models(Stages(settings), settings, StageOptions(caption=False), {"captioner": "blip:o/n"})
    assert (models.captioner, problems) == (None, ())


def test_a_language_model_that_looks_is_asked_in_the_project_s_words(settings):
    uri = "openai:tiny@http://127.0.0.1:1/v1"
    versions = {
        load_models(Stages(settings), settings, StageOptions(domain=domain), {"tagger": uri})[0].tagger.version
        for domain in ("general", "driving")
    }
    assert len(versions) == 2


def test_where_a_language_model_sorts_phrases_the_detector_misses_less(settings):
    stages = Stages(settings)
    alone = load_models(stages, settings, StageOptions())[0].detector
    sorted_after = load_models(stages, settings, StageOptions(), {"language": "sentence-matcher"})[0].detector
    assert sorted_after.thresholds.box < alone.thresholds.box


def test_a_malformed_uri_is_refused(settings):
    with pytest.raises(InvalidInput, match="unknown detector 'sam:o/n'"):
        load_models(Stages(settings), settings, StageOptions(), {"detector": "sam:o/n"})
