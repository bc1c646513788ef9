"""A phrase is asked about once, for as long as list, question, model and person agree."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelSet
from maskwright.models.language.answers_cache import AnswersCache, CachedModel
from maskwright.models.language.budget import Budget, BudgetedModel
from maskwright.models.language.prompt_sets import PromptSet

LABELS = LabelSet.of(["background", "dog", "traffic light"])
PROMPTS = PromptSet()


def test_a_phrase_in_the_list_is_kept_and_costs_nothing(scripted):
    language = scripted({"label": "dog"})
    assert PhraseMemo().label("Traffic-Lights", LABELS, language, PROMPTS) == "traffic light"
    assert language.asked == []


def test_another_phrase_is_asked_once(scripted):
    memo, language = PhraseMemo(), scripted({"label": "dog"})
    assert [memo.label(word, LABELS, language, PROMPTS) for word in ("puppy", "Puppy", "a puppy")] == ["dog"] * 3
    assert language.asked == [{"phrase": "puppy"}]


@pytest.mark.parametrize("said", [None, "cat", "background", 7, ["dog"]])
def test_an_answer_outside_the_list_is_none_of_it(scripted, said):
    memo, language = PhraseMemo(), scripted({"label": said})
    assert memo.label("puppy", LABELS, language, PROMPTS) is None
    assert memo.label("puppy", LABELS, language, PROMPTS) is None
    assert len(language.asked) == 1


def test_nobody_to_ask_and_nothing_to_choose_from_is_none(scripted):
    language = scripted({"label": "dog"})
    assert PhraseMemo().label("puppy", LABELS, None, PROMPTS) is None
    assert PhraseMemo().label("puppy", LabelSet.of(["background"]), language, PROMPTS) is None
    assert PhraseMemo().label("...", LABELS, language, PROMPTS) is None
    assert PhraseMemo().label("x" * 1000, LABELS, language, PROMPTS) is None
    assert language.asked == []


def test_another_list_question_or_model_is_asked_again(scripted):
    memo, language, newer = PhraseMemo(), scripted({"label": "dog"}), scripted({"label": None})
    newer.version = "scripted-2"
    memo.label("puppy", LABELS, language, PROMPTS)
    assert memo.label("puppy", LABELS, newer, PROMPTS) is None
    memo.label("puppy", LabelSet.of(["dog"]), language, PROMPTS)
    memo.label("puppy", LABELS, language, PromptSet("driving"))
    assert len(language.asked) == 3


def test_an_answer_that_a_person_deletes_is_asked_for_anew_by_whatever_process(scripted, tmp_path):
    answers = iter([{"label": "traffic light"}, {"label": "dog"}])
    memo, language = PhraseMemo(), scripted(lambda data: next(answers))
    kept = CachedModel(language, AnswersCache(tmp_path, 10_000))

    def label():
        return memo.label("puppy", LABELS, BudgetedModel(kept, Budget("image 1")), PROMPTS)

    assert [label(), label()] == ["traffic light"] * 2
    elsewhere = AnswersCache(tmp_path, 10_000)
    (one,) = elsewhere.answers()
    assert (one.model, one.answer) == ("scripted-1", {"label": "traffic light"})
    assert '"puppy"' in one.question
    assert elsewhere.forget(one.key)
    assert [label(), label()] == ["dog"] * 2
    assert len(language.asked) == 2


def test_it_is_bounded_and_keeps_what_is_used(scripted):
    memo, language = PhraseMemo(2), scripted({"label": "dog"})
    for word in ("puppy", "hound", "puppy", "poodle", "puppy", "hound"):
        memo.label(word, LABELS, language, PROMPTS)
    assert [one["phrase"] for one in language.asked] == ["puppy", "hound", "poodle", "hound"]
    with pytest.raises(InvalidInput, match="at least 1"):
        PhraseMemo(0)


def test_threads_that_want_one_phrase_share_one_question(scripted):
    asked, go = threading.Event(), threading.Event()

    def slow(data):
        asked.set()
        assert go.wait(20)
        return {"label": "dog"}

    memo, language = PhraseMemo(), scripted(slow)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(memo.label, "puppy", LABELS, language, PROMPTS) for _ in range(8)]
        assert asked.wait(20)
        go.set()
        assert [one.result(20) for one in answers] == ["dog"] * 8
    assert len(language.asked) == 1


def test_a_failure_is_not_remembered_and_does_not_become_anothers(scripted):
    waiting, asked = threading.Event(), threading.Event()

    def failing(data):
        asked.set()
        waiting.wait(1)
        return ModelUnavailable("the budget of image 1 is spent")

    memo, poor, rich = PhraseMemo(), scripted(failing), scripted({"label": "dog"})
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(memo.label, "puppy", LABELS, poor, PROMPTS)
        assert asked.wait(20)
        second = pool.submit(memo.label, "puppy", LABELS, rich, PROMPTS)
        waiting.set()
        assert second.result(20) == "dog"
        with pytest.raises(ModelUnavailable, match="image 1"):
            first.result(20)
    assert memo.label("puppy", LABELS, poor, PROMPTS) == "dog"
