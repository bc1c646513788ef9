"""When images are pre-annotated in stages, by which models, and what that makes of the version."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskwright.assist.assistant import Assistant, Priority
from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.suggestion.stager import NO_STAGES, ProjectStages, Stager
from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import Cancelled, InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.protocols import Detections, Tag
from maskwright.models.stages import STAGES, StageFamily, Stages
from maskwright.settings import Settings

SIZE = (40, 60)
DOG = Mask.from_box((10, 5, 30, 35), SIZE)
LABELS = LabelSet.of(["dog", "cat"])
UNCHECKED = StageOptions(check_pixels=False)


class Tags:
    name, version = "tags", "tags-1"

    def tags(self, images, *, top=10):
        return [[Tag("dog", 0.9)] for _ in images]


class Describer:
    name, version, asked = "describer", "describer-1", 0

    def __init__(self, *about):
        pass

    def answer(self, messages, schema):
        if "descriptors" not in schema["properties"]:
            return {"labels": []}
        Describer.asked += 1
        if Describer.asked > 2:
            raise ModelUnavailable("busy")
        return {"class": "dog", "descriptors": [{"text": f"long ears {Describer.asked}", "kind": "part"}]}


class Boxes:
    name, version, asked = "boxes", "boxes-1", ()

    def for_recall(self):
        return self

    def detect(self, image, phrases):
        Boxes.asked = tuple(phrases)
        rows = [number for number, phrase in enumerate(phrases) if phrase == "dog"]
        return Detections(
            np.array([(10, 5, 30, 35)] * len(rows), dtype=np.float32).reshape(-1, 4),
            np.full(len(rows), 0.8, dtype=np.float32),
            np.array(rows, dtype=np.int64),
        )


@pytest.fixture
def make(tmp_path):
    """A stager with scripted models where a fresh machine has its own."""

    def of(**settings):
        given = Settings(home=tmp_path / "home", offline=True, _env_file=None, **settings)
        own = {
            ("tagger", "embedded"): StageFamily(__name__, "Tags"),
            ("detector", "embedded"): StageFamily(__name__, "Boxes"),
            ("language", "openai"): StageFamily(__name__, "Describer"),
        }
        return Stager(given, Stages(given, families={**STAGES, **own}))

    return of


def dog(stager, project, box_oracle, painted, **about):
    segmenter, pixels = box_oracle(), painted(SIZE, DOG)
    return stager.preannotate(
        Image(pixels, "0" * 64, "0" * 64), LABELS, PreannotationOptions(min_area=1), project, segmenter=segmenter,
        encode=lambda window: segmenter.encode([pixels])[0], classifier=None, model_version="v1", **about,
    )  # fmt: skip


def test_what_a_fresh_machine_has_is_the_usual_way_with_its_version_unchanged(make):
    assert not make().is_staged()
    assert make().version("sam-0a1b2c3d") == "sam-0a1b2c3d"


@pytest.mark.parametrize(
    ("settings", "project"),
    [
        ({"language": "sentence-matcher"}, NO_STAGES),
        ({"captioner": "blip:o/n"}, NO_STAGES),
        ({"dense": "maskclip:o/n"}, NO_STAGES),
        ({"tagger": "clip:o/n"}, NO_STAGES),
        ({"detector": "owlv2:o/n"}, NO_STAGES),
        ({}, ProjectStages({"language": "sentence-matcher"})),
        ({}, ProjectStages({"detector": "owlv2:o/n"})),
        ({}, ProjectStages(options=StageOptions())),
    ],
)
def test_any_model_of_its_own_and_any_word_on_how_it_is_done_asks_for_stages(make, settings, project):
    stager = make(**settings)
    assert stager.is_staged(project)
    name, _, digest = stager.version("sam-0a1b2c3d", project).rpartition("-")
    assert name == "sam+stages"
    assert len(digest) == 8


def test_a_project_may_take_back_what_is_set(make):
    stager = make(language="sentence-matcher")
    assert not stager.is_staged(ProjectStages({"language": "none"}))


def test_the_version_follows_models_questions_and_options_but_not_costs(make):
    stager = make()
    versions = [
        stager.version(base, ProjectStages(uris, options))
        for base, uris, options in (
            ("sam-1", {}, StageOptions()),
            ("sam-2", {}, StageOptions()),
            ("sam-1", {"language": "sentence-matcher"}, StageOptions()),
            ("sam-1", {"captioner": "blip:o/n"}, StageOptions()),
            ("sam-1", {}, StageOptions(domain="driving")),
            ("sam-1", {}, StageOptions(every_class=True)),
        )
    ]
    assert len(set(versions)) == len(versions)
    assert stager.version("sam-1", ProjectStages(options=StageOptions(language_seconds=2))) == versions[0]
    unread = ProjectStages({"captioner": "blip:o/n"}, StageOptions(caption=False))
    assert stager.version("sam-1", unread) == stager.version(
        "sam-1", ProjectStages(options=StageOptions(caption=False))
    )


OWN = {"language": "openai:tiny@http://10.0.0.1:8000/v1"}


@pytest.mark.parametrize(
    "settings",
    [
        {"language_server": "http://10.0.0.1:8000/v1/"},
        {"captioner": "openai:other@http://10.0.0.1:8000/v1"},
    ],
)
def test_a_project_may_name_a_server_that_the_operator_has_set(make, settings):
    assert make(**settings).is_staged(ProjectStages(OWN))


@pytest.mark.parametrize("uri", [OWN["language"], "openai:gpt@https://api.openai.com/v1"])
def test_a_project_may_not_send_pictures_to_a_server_of_its_choice(make, uri):
    with pytest.raises(
        InvalidInput, match=r"language: .*_LANGUAGE_SERVER nor MASKWRIGHT_LANGUAGE names.*only ask servers"
    ):
        make().version("sam-1", ProjectStages({"language": uri}))


def test_a_malformed_model_is_refused_with_the_forms_there_are(make):
    with pytest.raises(InvalidInput, match="unknown detector 'sam:o/n'; known forms"):
        make().version("sam-1", ProjectStages({"detector": "sam:o/n"}))


def test_a_model_that_is_missing_costs_its_stage_and_is_not_waited_for_with_every_image(make, box_oracle, painted):
    stager = make(captioner="blip:o/n")
    for _ in range(2):
        found = dog(stager, ProjectStages(options=UNCHECKED), box_oracle, painted)
        assert [(region.label, region.mask) for region in found.regions] == [("dog", DOG)]
        (problem,) = found.problems
        assert "maskwright models pull blip:o/n" in problem
    assert stager.state()["missing"] == [problem]
    assert stager.state()["captioner"] == "blip:o/n"


def test_a_picture_gets_its_masks_where_the_language_model_is_not_on_this_machine(make, box_oracle, painted):
    stager, said = make(language="hf:o/n"), []
    Silent = type("Silent", (Tags,), {"tags": lambda self, images, *, top=10: [[Tag("pet", 0.9)] for _ in images]})
    stager._stages.tagger = lambda uri: Silent()
    found = dog(stager, ProjectStages(options=UNCHECKED), box_oracle, painted, observe=lambda *one: said.append(one))
    assert [region.label for region in found.regions] == ["dog"]
    assert len(found.problems) == 2


def test_many_images_at_once_are_as_good_as_one_after_the_other(make, box_oracle, painted):
    stager = make()
    one = dog(stager, ProjectStages(options=UNCHECKED), box_oracle, painted)
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(
                dog, stager, ProjectStages(options=UNCHECKED), box_oracle, painted,
                priority=Priority.INTERACTIVE if number % 2 else Priority.BACKGROUND,
            )
            for number in range(16)
        ]  # fmt: skip
        assert all(job.result() == one for job in jobs)


def test_a_stager_that_is_closed_gives_nobody_the_device(make, box_oracle, painted):
    stager = make()
    stager.close()
    with pytest.raises(Cancelled):
        dog(stager, ProjectStages(options=UNCHECKED), box_oracle, painted)


def test_the_assistant_keeps_its_version_without_stages_and_tells_of_them(tmp_path):
    settings = Settings(home=tmp_path / "home", model="classical", offline=True, _env_file=None)
    assistant = Assistant(settings)
    try:
        plain = assistant.model_version(LABELS)
        staged = assistant.model_version(LABELS, stages=ProjectStages(options=StageOptions()))
        assert plain.startswith("classical-")
        assert staged.startswith("classical+stages-")
        assert assistant.health()["stages"] == {
            "tagger": "embedded", "captioner": "none", "language": "none", "detector": "embedded", "dense": "none",
            "missing": [],
        }  # fmt: skip
    finally:
        assistant.close()


def test_an_image_whose_language_model_stayed_silent_is_marked_and_another_is_not(make, box_oracle, painted):
    class Silent:
        name = version = "silent"

        def answer(self, messages, schema):
            raise ModelUnavailable("the server cannot be reached")

    stager = make(language="sentence-matcher")
    assert not dog(stager, ProjectStages(options=UNCHECKED), box_oracle, painted).is_degraded
    stager._stages.language = lambda uri: Silent()
    assert dog(stager, ProjectStages(options=UNCHECKED), box_oracle, painted).is_degraded
    assert not dog(stager, ProjectStages({"language": "none"}, UNCHECKED), box_oracle, painted).is_degraded
    missing = ProjectStages({"language": "hf:o/n"}, UNCHECKED)
    del stager._stages.language
    assert dog(stager, missing, box_oracle, painted).is_degraded


def test_money_is_bounded_only_where_something_has_a_price(make):
    project = ProjectStages(options=StageOptions(language_money=0.01))
    with pytest.raises(InvalidInput, match="LANGUAGE_PRICE_PROMPT"):
        make().version("sam-1", project)
    assert make(language_price_prompt=1).version("sam-1", project) == make().version(
        "sam-1", ProjectStages(options=StageOptions())
    )


def test_classes_are_described_once_for_all_images_and_not_at_the_cost_of_an_image(make, box_oracle, painted):
    Describer.asked = 0
    project = ProjectStages(options=StageOptions(check_pixels=False, descriptors="classes", language_seconds=1))
    stager = make(language="openai:tiny@http://127.0.0.1:9/v1")
    for _ in range(3):
        found = dog(stager, project, box_oracle, painted)
        assert [region.label for region in found.regions] == ["dog"]
        assert (found.problems, found.is_degraded) == ((), False)
    assert Describer.asked == len(LABELS)


def test_a_class_that_nobody_describes_today_makes_the_answer_one_to_be_made_again(make, box_oracle, painted):
    Describer.asked = 1  # one class is answered
    project = ProjectStages(options=StageOptions(check_pixels=False, descriptors="classes"))
    found = dog(make(language="openai:tiny@http://127.0.0.1:9/v1"), project, box_oracle, painted)
    assert [region.label for region in found.regions] == ["dog"]
    assert found.is_degraded
    assert found.problems == ("no descriptors of 'cat': busy",)


@pytest.mark.parametrize("language", ["none", "sentence-matcher"])
def test_a_class_that_no_tag_could_name_is_looked_for_also_where_tags_are_matched(
    make, box_oracle, painted, monkeypatch, language
):
    monkeypatch.setattr(Tags, "vocabulary", ("dog", "table"), raising=False)
    dog(make(language=language), ProjectStages(options=UNCHECKED), box_oracle, painted)
    assert Boxes.asked[:2] == ("dog", "cat")
