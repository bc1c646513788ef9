"""What the segmenter says of its own answers becomes one number per image."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.calibration import Calibration, calibrate, never_falling
from maskwright.learn.acquisition.candidates import Candidate, Context, effort_of, measure
from maskwright.learn.acquisition.uncertainty import (
    ClassEntropy,
    PredictedIoU,
    PredictiveEntropy,
    binary_entropy,
    sigmoid,
    uncertain_band,
)

SQUARE = np.full((32, 32), -1.0)
SQUARE[8:24, 8:24] = 1.0


def test_the_entropy_of_a_coin_is_ln_2_and_is_the_same_for_both_sides():
    assert binary_entropy(np.array(0.5)) == pytest.approx(math.log(2))
    p = np.linspace(0, 1, 101)
    assert binary_entropy(p) == pytest.approx(binary_entropy(1 - p))
    assert binary_entropy(np.array([0.0, 1.0])).tolist() == [0.0, 0.0]


def test_unsure_masks_come_before_sure_ones(candidate):
    unsure, faint, sure = np.zeros((32, 32)), SQUARE, SQUARE * 12
    found = PredictiveEntropy().score([candidate("s", sure), candidate("u", unsure), candidate("f", faint)], Context())
    assert found[1] == pytest.approx(math.log(2))
    assert found[1] > found[2] > found[0] >= 0


def test_a_large_sure_background_does_not_drown_an_unsure_border(candidate):
    wide = np.full((320, 320), -12.0)
    wide[8:24, 8:24] = 12.0
    wide[6:26, 8] = wide[6:26, 23] = 0.1
    small = wide[:32, :32]
    found = PredictiveEntropy().score([candidate("wide", wide), candidate("small", small)], Context())
    assert found[0] == pytest.approx(found[1])


@given(npst.arrays(np.float32, (12, 12), elements=st.floats(-50, 50, width=32)))
def test_entropy_lies_between_0_and_ln_2_and_is_blind_to_inside_and_outside(logits):
    p = sigmoid(logits)
    band = uncertain_band(p)
    assert band.any()
    assert -1e-12 <= binary_entropy(p[band]).mean() <= math.log(2) + 1e-12


def test_infinite_logits_are_certain(candidate):
    endless = np.where(SQUARE > 0, np.inf, -np.inf)
    assert PredictiveEntropy().score([candidate("a", endless)], Context()).tolist() == [0.0]


def test_low_predicted_iou_comes_first_as_calibrated(candidate):
    images = [candidate("a", SQUARE, predicted_iou=0.9), candidate("b", SQUARE, predicted_iou=0.2)]
    assert PredictedIoU().score(images, Context()) == pytest.approx([0.1, 0.8])
    boastful = Context(calibration=Calibration(np.array([0.0, 1.0]), np.array([0.0, 0.5])))
    assert PredictedIoU().score(images, boastful) == pytest.approx([0.55, 0.9])


def test_undecided_classes_come_before_decided_ones(candidate):
    images = [
        candidate("decided", class_scores=[{"cat": 1.0, "dog": 0.0}]),
        candidate("even", class_scores=[{"cat": 0.5, "dog": 0.5}]),
        candidate("neither", class_scores=[{"cat": 1 / 3, "dog": 1 / 3}]),
    ]
    assert ClassEntropy().score(images, Context()) == pytest.approx([0.0, math.log(2), math.log(3)])


@pytest.mark.parametrize("signal", [PredictiveEntropy(), PredictedIoU(), ClassEntropy()])
def test_where_nothing_is_proposed_nothing_is_known(signal, candidate):
    assert np.isnan(signal.score([candidate("empty")], Context())).all()


def test_what_was_measured_is_not_looked_at_again(look):
    looks = []

    def once():
        looks.append(1)
        return look(SQUARE, predicted_iou=0.25)

    signals = [PredictiveEntropy(), PredictedIoU()]
    stored = measure(Candidate("a", once), signals, Context(), lambda _: np.ones(3))
    assert len(looks) == 1
    assert stored.look is None
    assert stored.signals["predicted-iou"] == pytest.approx(0.75)
    assert stored.feature.tolist() == [1, 1, 1]
    assert stored.effort.regions == 1
    assert stored.effort.size == pytest.approx(0.5)
    for signal in signals:
        assert signal.score([stored], Context())[0] == stored.signals[signal.name]
    again = measure(stored, signals, Context(), lambda _: np.zeros(3))
    assert (again.signals, again.effort) == (stored.signals, stored.effort)
    with pytest.raises(InvalidInput, match="image a: nothing is measured"):
        ClassEntropy().score([stored], Context())


def test_an_empty_image_is_no_effort(look):
    assert effort_of(look()).regions == 0


def test_without_corrections_predictions_are_believed():
    assert calibrate([], [])(np.array([0.0, 0.3, 1.0])) == pytest.approx([0.0, 0.3, 1.0])


def test_many_corrections_teach_what_predictions_are_worth():
    rng = np.random.default_rng(0)
    said = rng.random(4000)
    learnt = calibrate(said, said**2)
    asked = np.linspace(0.05, 0.95, 19)
    assert learnt(asked) == pytest.approx(asked**2, abs=0.02)


def test_few_corrections_change_little():
    assert calibrate([0.9], [0.0])(0.9) > 0.5


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60),
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_a_better_prediction_never_means_a_worse_expectation(pairs, asked):
    learnt = calibrate([p for p, _ in pairs], [a for _, a in pairs])
    found = learnt(np.sort(asked))
    assert (np.diff(found) >= -1e-12).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_violators_are_pooled_by_their_weight():
    assert never_falling(np.array([1.0, 3.0, 1.0]), np.array([1.0, 1.0, 3.0])).tolist() == [1.0, 1.5, 1.5]


@pytest.mark.parametrize(("said", "true"), [([0.5], [0.5, 0.5]), ([1.5], [0.5]), ([0.5], [float("nan")])])
def test_calibration_refuses_what_is_no_iou(said, true):
    with pytest.raises(InvalidInput, match="calibration"):
        calibrate(said, true)
