"""How far a model's own estimate can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.gate.calibration import expected_calibration_error

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


def test_what_is_no_pair_of_lists_is_refused():
    with pytest.raises(InvalidInput, match="finite"):
        expected_calibration_error([np.nan], [0.5])
    with pytest.raises(InvalidInput, match="one length"):
        expected_calibration_error([0.1, 0.2], [0.3])
    with pytest.raises(InvalidInput, match="at least 1"):
        expected_calibration_error([0.5], [0.5], 0)
