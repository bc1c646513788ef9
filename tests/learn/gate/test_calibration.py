"""How far a model's own estimate can be trusted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.gate.calibration import Calibration, expected_calibration_error

shares = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])
pairs = st.lists(st.tuples(shares, shares), max_size=60)


def test_the_error_is_what_it_says():
    assert expected_calibration_error([0.9] * 4, [0.5] * 4) == pytest.approx(0.4)
    assert expected_calibration_error([0.2, 0.8], [0.3, 0.5], bins=2) == pytest.approx((0.1 + 0.3) / 2)
    assert expected_calibration_error([0.2, 0.8], [0.3, 0.5], bins=1) == pytest.approx(0.1)
    assert expected_calibration_error([0.5] * 100, [0.0, 1.0] * 50) == pytest.approx(0)
    assert expected_calibration_error([], []) == 0
    assert expected_calibration_error([1.7], [1.0]) == 0


def test_the_error_finds_a_model_that_thinks_too_well_of_itself():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 0.8, 2000)
    assert expected_calibration_error(true + 0.15, true) == pytest.approx(0.15, abs=1e-6)
    assert expected_calibration_error(true, true) < 1e-12


@settings(max_examples=200, deadline=None)
@given(pairs, st.integers(1, 20), st.randoms())
def test_the_error_is_a_share_and_does_not_depend_on_the_order(found, bins, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    one, other = (
        expected_calibration_error([p for p, _ in rows], [t for _, t in rows], bins) for rows in (found, shuffled)
    )
    assert 0 <= one <= 1
    assert one == pytest.approx(other, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(pairs)
def test_the_map_never_falls_and_stays_in_bounds(found):
    made = Calibration.fitted([p for p, _ in found], [t for _, t in found])
    answers = made(np.linspace(-0.5, 1.5, 201))
    assert (np.diff(answers) >= 0).all()
    assert answers.min() >= 0
    assert answers.max() <= 1
    assert Calibration.from_json(json.loads(json.dumps(made.to_json()))) == made


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), shares), min_size=2, max_size=40))
def test_pooled_means_are_those_of_isotonic_regression(found):
    """At the places of the blocks the map says the isotonic fit, by its min-max formula."""
    x, y = np.array([p for p, _ in found]) / 20, np.array([t for _, t in found])
    made = Calibration.fitted(x, y)
    places = np.unique(x)
    best = [max(min(y[(x >= a) & (x <= b)].mean() for b in places if b >= p) for a in places if a <= p) for p in places]
    assert np.allclose(sorted({round(v, 9) for v in best}), sorted({round(v, 9) for v in made.expected}), atol=1e-8)


def test_the_map_mends_what_it_was_fitted_to():
    rng = np.random.default_rng(1)
    predicted = rng.uniform(0, 1, 3000)
    true = np.clip(predicted**2 * 0.8 + rng.normal(0, 0.05, 3000), 0, 1)
    half = slice(0, 1500), slice(1500, None)
    made = Calibration.fitted(predicted[half[0]], true[half[0]])
    before = expected_calibration_error(predicted[half[1]], true[half[1]])
    after = expected_calibration_error(made(predicted[half[1]]), true[half[1]])
    assert before > 0.2
    assert after < 0.02


def test_too_little_to_learn_from_changes_nothing():
    for rows in ([], [0.3]):
        assert Calibration.fitted(rows, rows) == Calibration()
    assert Calibration()([0.2, 0.7]) == pytest.approx([0.2, 0.7])
    assert np.isnan(Calibration()(np.nan))


def test_what_is_no_calibration_is_refused():
    for x, y in (((), ()), ((0.5, 0.4), (0, 1)), ((0, 1), (0.5, 0.4)), ((0, 1), (0,)), ((0, 2), (0, 1))):
        with pytest.raises(InvalidInput, match="a calibration has"):
            Calibration(x, y)
    with pytest.raises(InvalidInput, match="no calibration"):
        Calibration.from_json({"predicted": [0]})
    with pytest.raises(InvalidInput, match="finite"):
        expected_calibration_error([np.nan], [0.5])
    with pytest.raises(InvalidInput, match="one length"):
        Calibration.fitted([0.1, 0.2], [0.3])
    with pytest.raises(InvalidInput, match="at least 1"):
        expected_calibration_error([0.5], [0.5], 0)
