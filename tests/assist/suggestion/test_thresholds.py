"""Corrections move what a class needs, slowly, and never the wrong way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.assist.suggestion.rates import ImageOutcome
from maskwright.assist.suggestion.thresholds import (
    CONFIRMED,
    REJECTED,
    ClassThresholds,
    Judged,
    Threshold,
    judge,
    learn_thresholds,
    read_thresholds,
)
from maskwright.assist.suggestion.values import Source, Suggestion
from maskwright.errors import InvalidInput

SUPPORT = st.floats(0, 1)
EXAMPLES = st.lists(st.builds(Judged, st.sampled_from(["dog", "cat"]), SUPPORT, st.booleans()), max_size=12)


def test_nothing_learnt_is_the_default():
    learnt = learn_thresholds([])
    assert learnt.of("dog").confirmed == pytest.approx(CONFIRMED)
    assert learnt.of("dog").rejected == pytest.approx(REJECTED)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("support", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_three_corrections_change_little(support, kept):
    learnt = learn_thresholds([Judged("dog", support, kept)] * 3)
    assert learnt.of("dog").confirmed == pytest.approx(CONFIRMED, abs=0.08)
    assert learnt.of("dog").rejected == pytest.approx(REJECTED, abs=0.06)


def test_many_corrections_decide():
    sure = [Judged("dog", 0.1 + 0.001 * i, True) for i in range(200)]
    false = [Judged("cat", 0.6 + 0.001 * i, False) for i in range(200)] + [Judged("cat", 0.95, True)] * 100
    learnt = learn_thresholds(sure + false)
    assert learnt.of("dog").confirmed < 0.2
    assert learnt.of("cat").rejected > 0.5
    assert learnt.of("cat").confirmed < 0.95
    assert learnt.examples == {"dog": 200, "cat": 300}


def test_a_class_that_nobody_corrected_follows_the_others_a_little():
    learnt = learn_thresholds([Judged("dog", 0.8, False)] * 100)
    assert CONFIRMED < learnt.of("bird").confirmed < learnt.of("dog").confirmed


@settings(max_examples=40)
@given(EXAMPLES, st.sampled_from(["dog", "cat"]), SUPPORT)
def test_what_is_kept_never_raises_a_threshold_and_what_is_deleted_never_lowers_one(examples, label, support):
    before = learn_thresholds(examples)
    kept = learn_thresholds([*examples, Judged(label, support, True)])
    gone = learn_thresholds([*examples, Judged(label, support, False)])
    for name in ("dog", "cat", "bird"):
        assert kept.of(name).confirmed <= before.of(name).confirmed + 1e-9 <= gone.of(name).confirmed + 2e-9
        assert kept.of(name).rejected <= before.of(name).rejected + 1e-9 <= gone.of(name).rejected + 2e-9
        assert 0 <= before.of(name).rejected < before.of(name).confirmed <= 1


def test_order_does_not_matter():
    examples = [Judged("dog", 0.2, True), Judged("dog", 0.9, False), Judged("cat", 0.5, True)]
    one, other = learn_thresholds(examples), learn_thresholds(examples[::-1])
    for name in ("dog", "cat", "bird"):
        assert one.of(name).confirmed == pytest.approx(other.of(name).confirmed, abs=1e-9)


def test_they_are_kept_as_json_and_are_those_of_one_model():
    learnt = learn_thresholds([Judged("dog", 0.2, True)] * 9, "dino-1+gem-1")
    assert read_thresholds(learnt.to_json(), "dino-1+gem-1") == learnt
    assert read_thresholds(learnt.to_json(), "dino-2+gem-1") == ClassThresholds(version="dino-2+gem-1")
    assert read_thresholds(None, "x") == ClassThresholds(version="x")
    with pytest.raises(InvalidInput, match="learn them anew"):
        read_thresholds({"version": "x", "usual": [0.1, 0.9], "classes": {}, "examples": {}}, "x")
    assert ClassThresholds(by_class={"dog": Threshold(0.5, 0.2)}).of("dog") == Threshold(0.5, 0.2)


@pytest.mark.parametrize("support", [-0.1, 1.1, float("nan")])
def test_support_outside_its_bounds_is_refused(support):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        learn_thresholds([Judged("dog", support, True)])


def test_examples_are_classes_whose_pixels_were_looked_at_by_model_and_person():
    seen = Suggestion("dog", "confirmed", 0.7, (Source("tag", "dog", 0.9), Source("region", "gem", 0.7)))
    refused = Suggestion("cat", "rejected", 0.1, (Source("tag", "cat", 0.9),))
    unseen = Suggestion("bird", "plausible", 0.9, (Source("tag", "bird", 0.9),))
    other = Suggestion("bench", "plausible", 0.9, (Source("region", "gem", 0.9),), is_known=False)
    everything = (seen, refused, unseen, other)
    images = [ImageOutcome(everything, frozenset({"cat"})), ImageOutcome(everything, None)]
    assert judge(images) == [Judged("dog", 0.7, False), Judged("cat", 0.1, True)]


def test_what_a_detector_misses_does_not_teach_that_anything_will_do():
    missed = Suggestion("dog", "rejected", 0.0, (Source("tag", "dog", 0.9),))
    images = [ImageOutcome((missed,), frozenset({"dog"}))] * 40
    assert learn_thresholds(judge(images)).of("dog").rejected == pytest.approx(REJECTED)
