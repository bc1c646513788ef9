"""How sure a gain is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.gate.bootstrap import Compared, Gain, paired_gains

values = st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def gain(before, after, images, **options):
    return paired_gains([Compared(before, after)], images, **options)[0]


@settings(max_examples=60, deadline=None)
@given(values)
def test_equal_models_gain_nothing_for_certain(rows):
    found = gain([b for _, b, _ in rows], [b for _, b, _ in rows], [f"i{i}" for i, _, _ in rows], resamples=200)
    assert found.mean == 0
    assert found.low in (0, None)
    assert found.high in (0, None)


@settings(max_examples=60, deadline=None)
@given(values, st.randoms())
def test_the_order_does_not_matter_and_bounds_hold_the_mean_of_turned_signs(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = (
        gain([b for _, b, _ in r], [a for _, _, a in r], [f"i{i}" for i, _, _ in r], resamples=200)
        for r in (rows, shuffled)
    )
    turned = gain([a for _, _, a in rows], [b for _, b, _ in rows], [f"i{i}" for i, _, _ in rows], resamples=200)
    assert one.mean == pytest.approx(other.mean, abs=1e-12) == pytest.approx(-turned.mean, abs=1e-12)
    if one.low is None:
        assert other.low is one.high is None
        return
    assert one.low == pytest.approx(other.low, abs=1e-12) == pytest.approx(-turned.high, abs=1e-12)
    assert one.low <= one.high


def test_a_gain_is_found_and_its_bounds_hold_it():
    rng = np.random.default_rng(0)
    images = [f"image{n // 5}" for n in range(200)]
    before = rng.uniform(0.4, 0.8, 200)
    found = gain(before, before + rng.normal(0.03, 0.05, 200), images)
    assert 0.015 < found.low < found.mean < found.high < 0.045
    assert (found.objects, found.images) == (200, 40)


def test_objects_of_one_image_do_not_count_as_many():
    rng = np.random.default_rng(0)
    shift = np.repeat(rng.normal(0.02, 0.05, 10), 20)
    apart = [f"image{n}" for n in range(200)]
    together = [f"image{n // 20}" for n in range(200)]
    one, other = gain(np.zeros(200), shift, together), gain(np.zeros(200), shift, apart)
    assert one.high - one.low > 2 * (other.high - other.low)


def test_bounds_hold_the_truth_as_often_as_they_say_even_with_five_images():
    rng = np.random.default_rng(0)
    images = [f"image{n}" for n in range(5)]
    below = [gain(np.zeros(5), rng.normal(0, 0.1, 5), images, resamples=400, seed=n).low <= 0 for n in range(600)]
    assert np.mean(below) == pytest.approx(0.9, abs=0.04)


def test_each_measure_counts_its_own_objects_on_the_same_draws():
    before, after = np.zeros(6), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    images = list("aabbcc")
    chosen = np.array([True, False, True, False, False, False])
    all_of_them, some, same = paired_gains(
        [Compared(before, after), Compared(before, after, chosen), Compared(before, after)], images
    )
    assert all_of_them == same
    assert some.mean == pytest.approx(0.2)
    assert (some.objects, some.images) == (2, 2)
    (alone,) = paired_gains([Compared(before, after, np.arange(6) == 3)], images)
    assert (alone.low, alone.high, alone.images) == (None, None, 1)


def test_what_cannot_be_compared_is_refused():
    for before, after in (([0.0, np.nan], [0, 0]), ([0], [0])):
        with pytest.raises(InvalidInput):
            gain(before, after, ["a", "b"])
    with pytest.raises(InvalidInput, match="no object at all"):
        paired_gains([Compared([0.0], [0.0], np.array([False]))], ["a"])
    assert paired_gains([], []) == []
    with pytest.raises(InvalidInput, match="no gain"):
        Gain.from_json({"colour": 1})
