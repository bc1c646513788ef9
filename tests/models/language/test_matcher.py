"""The sentence matcher refines by meaning, invents nothing, and does not claim to be more."""

import pytest

from maskwright.errors import ModelUnavailable
from maskwright.models.language.matcher import SentenceMatcher
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.language.schema import find_fault
from maskwright.models.stages import Stages

LABELS = ["person", "dog", "car", "bicycle", "traffic light", "road"]


@pytest.fixture(scope="module")
def matcher():
    return SentenceMatcher()


def refine(matcher, **data):
    question = PromptSet().question("pre-refinement", labels=LABELS, **data)
    answer = matcher.answer(question.messages, question.schema)
    assert find_fault(answer, question.schema) is None
    return {item["name"]: item["evidence"] for item in answer["labels"]}


def test_tags_that_mean_a_label_choose_it_and_are_its_evidence(matcher):
    assert refine(matcher, tags=["sedan", "bike", "horse", "street"]) == {
        "car": ["sedan"], "bicycle": ["bike"], "road": ["street"],
    }  # fmt: skip


def test_words_of_the_caption_choose_labels_too(matcher):
    found = refine(matcher, caption="A puppy waits at the Traffic-Light.")
    assert set(found) == {"dog", "traffic light"}
    assert found["dog"][0] == "puppy"


def test_case_and_hyphens_do_not_matter(matcher):
    assert refine(matcher, tags=["TRAFFIC_LIGHT"]) == {"traffic light": ["TRAFFIC_LIGHT"]}


def test_nothing_seen_is_nothing_chosen(matcher):
    assert refine(matcher) == {}
    assert refine(matcher, tags=["", " "], caption="...") == {}


@pytest.mark.parametrize(("phrase", "label"), [("puppy", "dog"), ("sedan", "car"), ("teapot", None), ("", None)])
def test_a_phrase_becomes_the_nearest_label_or_none(matcher, phrase, label):
    question = PromptSet().question("post-refinement", labels=LABELS, phrase=phrase)
    assert matcher.answer(question.messages, question.schema) == {"label": label}


@pytest.mark.parametrize("name", ["descriptors", "suggest-labels", "open-classes", "presence", "caption", "tags"])
def test_any_other_question_is_refused_by_name(matcher, name):
    question = PromptSet().question(name, label="dog")
    with pytest.raises(ModelUnavailable, match="the sentence matcher is no language model"):
        matcher.answer(question.messages, question.schema)


def test_it_is_reached_by_its_name_and_versioned_with_its_encoder(settings):
    model = Stages(settings).language("sentence-matcher")
    assert model.name == "sentence-matcher"
    assert "minilm" in model.version
