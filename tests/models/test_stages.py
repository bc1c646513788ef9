"""Models of the stages by URI: loaded once, named before they are loaded, refused with what to do."""

import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.kept import RETRY_S
from maskwright.models.stages import STAGES, StageFamily, Stages
from maskwright.models.trial import try_model
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
    with pytest.raises(ModelUnavailable, match="IDEA-Research/grounding-dino-tiny at revision 'main' are not on"):
        stages.detector("grounding-dino:IDEA-Research/grounding-dino-tiny")


def test_nothing_is_no_model(stages):
    with pytest.raises(InvalidInput, match="switched off"):
        stages.captioner("none")


def test_the_embedded_models_take_no_location(stages):
    with pytest.raises(InvalidInput, match="takes nothing after it here"):
        stages.tagger("embedded:/w.safetensors")


class Model:
    pass


def test_what_tags_and_captions_is_loaded_once(settings):
    made = []
    family = StageFamily("builtins", "object")
    stages = Stages(settings, families={("tagger", "embedded"): family, ("captioner", "blip"): family})
    stages._load = lambda role, uri: made.append(role) or Model()  # type: ignore[method-assign]
    assert stages.model("tagger", "embedded") is stages.model("tagger", "embedded")
    stages.model("captioner", "blip:o/n")
    assert made == ["tagger", "captioner"]
    shared = Stages(settings)
    shared._load = lambda role, uri: made.append(role) or Model()  # type: ignore[method-assign]
    assert shared.tagger("florence2:o/n") is shared.captioner("florence2:o/n")
    assert shared.tagger("hf:o/n") is shared.captioner("hf:o/n")
    assert shared.language("hf:o/n") is not shared.tagger("hf:o/n")


def test_the_least_recently_used_leave_and_what_is_in_use_is_never_loaded_twice(settings):
    made = []
    stages = Stages(settings.model_copy(update={"stage_models": 2}))
    stages._load = lambda role, uri: made.append(str(uri)) or Model()  # type: ignore[method-assign]
    in_use = stages.model("dense", "gem:o/a")
    for name in "bcbdb":
        stages.model("dense", f"gem:o/{name}")
    assert stages.model("dense", "gem:o/a") is in_use
    assert made == [f"gem:o/{name}" for name in "abcd"]
    del in_use
    for name in "bca":
        stages.model("dense", f"gem:o/{name}")
    assert made[4:] == ["gem:o/c", "gem:o/a"]


def test_one_that_cannot_be_had_is_tried_again_after_a_while_and_told_of_until_then(stages, monkeypatch):
    tried, now = [], [1000.0]
    monkeypatch.setattr("maskwright.models.kept.time.monotonic", lambda: now[0])

    def load(role, uri):
        tried.append(uri)
        raise ModelUnavailable(f"{uri} is not here")

    stages._load = load
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="gem:o/n is not here"):
            stages.dense("gem:o/n")
    assert (len(tried), stages.missing()) == (1, ["gem:o/n is not here"])
    now[0] += RETRY_S
    assert stages.missing() == []
    stages._load = lambda role, uri: Model()
    assert isinstance(stages.dense("gem:o/n"), Model)


def test_a_detector_misses_less_where_a_later_step_refuses_what_is_wrong(stages):
    usual, recalling = stages.detector("embedded"), stages.detector("embedded", recall=True)
    assert (usual.thresholds.box, recalling.thresholds.box) == (0.25, 0.18)
    assert usual.version != recalling.version


@pytest.fixture(scope="module")
def tiny_clip_folder(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("tiny_clip", Path(__file__).with_name("tiny_clip.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.save_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_the_words_vectors_are_kept_under_the_home_folder(tiny_clip_folder, settings, picture, monkeypatch):
    monkeypatch.setattr("maskwright.models.describers.vocabulary.common_words", lambda: ("dog", "road"))
    first = Stages(settings).tagger(f"clip:{tiny_clip_folder}")
    answer = first.tags([picture(20, 30)])
    assert len(list((settings.home / "tag-vectors").glob("*.npy"))) == 1
    again = Stages(settings).tagger(f"clip:{tiny_clip_folder}")
    monkeypatch.setattr(again._model, "phrases", None)
    assert again.tags([picture(20, 30)]) == answer


def test_loading_a_model_draws_nothing_into_the_log(stages, tiny_clip_folder, capfd):
    stages.dense(f"gem:{tiny_clip_folder}")
    assert "Loading weights" not in capfd.readouterr().err


def test_every_way_of_reading_clip_s_patches_loads_by_uri(stages, tiny_clip_folder, picture):
    image = picture(40, 40)
    maps = [
        stages.dense(f"{scheme}:{tiny_clip_folder}").features(image)
        for scheme in ("maskclip", "gem", "sclip", "naclip", "clearclip")
    ]
    assert len({plane.tobytes() for plane in maps}) == 5


@pytest.mark.parametrize(
    ("role", "scheme", "said"), [("tagger", "clip", ""), ("dense", "gem", "and texts"), ("dense", "sclip", "and texts")]
)
def test_a_trial_loads_real_weights_and_tells_the_version_that_was_named_before(
    settings, stages, tiny_clip_folder, monkeypatch, role, scheme, said
):
    monkeypatch.setattr("maskwright.models.describers.vocabulary.common_words", lambda: ("dog", "road"))
    uri = f"{scheme}:{tiny_clip_folder}"
    trial = try_model(settings, role, uri)
    assert trial.version == stages.describe(role, uri).version
    assert said in trial.answer
    assert min(trial.load_seconds, trial.answer_seconds) >= 0
