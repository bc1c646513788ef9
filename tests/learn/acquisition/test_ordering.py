"""Priorities become scores of predictions, and batches that do not repeat themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.ordering import by_priority, normalise, ranks, select_batch

PRIORITIES = st.dictionaries(st.text(max_size=4), st.floats(allow_nan=True, allow_infinity=True), max_size=30)


def test_the_highest_priority_gets_the_lowest_score():
    assert normalise({"a": 0.1, "b": 7.0, "c": 3.0}) == {"b": 0.0, "c": 0.5, "a": 1.0}


def test_equal_priorities_go_by_key_and_unknown_ones_into_the_middle():
    assert by_priority({"d": 1, "c": 1, "a": math.nan, "b": 2, "e": 0}) == ["b", "a", "c", "d", "e"]
    assert by_priority({"z": math.nan, "y": math.nan}) == ["y", "z"]


def test_one_image_and_none():
    assert normalise({"only": math.nan}) == {"only": 0.0}
    assert normalise({}) == {}


@given(PRIORITIES)
def test_scores_are_different_and_between_0_and_1_and_turn_the_order_round(priorities):
    scores = normalise(priorities)
    assert scores.keys() == priorities.keys()
    assert len(set(scores.values())) == len(scores)
    assert all(0 <= score <= 1 for score in scores.values())
    known = [key for key in priorities if not math.isnan(priorities[key])]
    for one in known:
        for other in known:
            if priorities[one] > priorities[other]:
                assert scores[one] < scores[other]


@given(PRIORITIES, st.randoms())
def test_the_order_of_the_images_changes_no_score(priorities, chance):
    mixed = list(priorities.items())
    chance.shuffle(mixed)
    assert normalise(dict(mixed)) == normalise(priorities)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_equal_numbers_have_equal_ranks_and_ranks_average_to_a_half(values):
    found = ranks(values)
    assert found.mean() == pytest.approx(0.5)
    for i, one in enumerate(values):
        for j, other in enumerate(values):
            assert (found[i] < found[j]) == (one < other)


def test_of_two_identical_images_one_is_taken():
    vectors = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    assert set(select_batch([0.9, 0.9, 0.2, 0.2], vectors, 3)) == {0, 2, 3}
    assert set(select_batch([0.9, 0.9, 0.2, 0.2], vectors, 4)) == {0, 1, 2, 3}


def test_what_is_labelled_already_is_not_chosen_again():
    vectors = np.array([[0.0], [1.0]])
    assert select_batch([1.0, 0.1], vectors, 1, labelled=np.array([[0.0]])).tolist() == [1]


def test_without_diversity_the_worthiest_are_chosen():
    vectors = np.zeros((4, 2))
    assert select_batch([0.1, 0.4, math.nan, 0.3], vectors, 3, weight=0.0).tolist() == [1, 2, 3]
    assert select_batch([0.1, 0.4, 0.2, 0.3], vectors, 3).tolist() == [1, 3, 2]


def test_a_pool_of_near_repetitions_is_covered_in_all_its_kinds():
    rng = np.random.default_rng(0)
    kinds = np.eye(5)[np.concatenate([np.zeros(90, dtype=int), np.arange(10) % 5])]
    vectors = kinds + rng.normal(0, 1e-3, kinds.shape)
    scores = np.where(kinds[:, 0] == 1, 0.9, 0.5)  # the common kind is the most uncertain one
    chosen = select_batch(scores, vectors, 5)
    assert len(set(kinds[chosen].argmax(axis=1))) == 5
    assert set(kinds[np.argsort(-scores, kind="stable")[:5]].argmax(axis=1)) == {0}


@given(st.integers(0, 12), st.integers(1, 10), st.integers(0, 5))
def test_a_batch_holds_no_image_twice(k, n, seed):
    rng = np.random.default_rng(seed)
    chosen = select_batch(rng.random(n).round(1), rng.integers(0, 2, (n, 2)).astype(float), k)
    assert len(chosen) == min(k, n) == len(set(chosen.tolist()))


@pytest.mark.parametrize(
    ("scores", "vectors", "labelled"),
    [([1.0], np.zeros((2, 2)), None), ([-1.0], np.zeros((1, 2)), None), ([1.0], np.zeros((1, 2)), np.zeros((1, 3)))],
)
def test_shapes_that_do_not_fit_and_negative_scores_are_refused(scores, vectors, labelled):
    with pytest.raises(InvalidInput):
        select_batch(scores, vectors, 1, labelled=labelled)
