"""A candidate takes over only if the numbers say so, and the reason says which numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.learn.gate.asking import PROMPT_TYPES, Asking
from maskwright.learn.gate.preannotations import PreannotationQuality
from maskwright.learn.gate.records import Measurement, ObjectRecord
from maskwright.learn.gate.verdict import GateRule, Verdict, judge


def record(image, number, iou=0.7, *, label="a", **changes):
    ious = dict.fromkeys(PROMPT_TYPES, iou) | changes.pop("iou_by", {})
    predicted = dict.fromkeys(PROMPT_TYPES, 0.7)
    made = ObjectRecord(f"image{image:03}", f"object{number}", label, "hash", 100, ious, predicted, iou, 7, None)
    return replace(made, **changes)


def measurement(version, records):
    return Measurement(version, Asking(), tuple(records), encode_seconds=1.0, answer_seconds=2.0)


def two(images=8, per_image=5, gain=0.05, *, spread=0.02, seed=0, label=lambda i, n: "a"):
    """What was measured of two models whose true difference is ``gain``."""
    rng = np.random.default_rng(seed)
    before, after = [], []
    for i in range(images):
        for n in range(per_image):
            base = float(rng.uniform(0.5, 0.8))
            better = float(np.clip(base + gain + rng.normal(0, spread), 0, 1))
            before.append(record(i, n, base, label=label(i, n)))
            after.append(record(i, n, better, label=label(i, n)))
    return measurement("served", before), measurement("candidate", after)


def changed(measured, change):
    return replace(measured, records=tuple(change(one) for one in measured.records))


def test_a_clear_gain_is_promoted_and_the_reason_holds_the_numbers():
    verdict = judge(*two())
    assert verdict.outcome == "promote"
    gain = verdict.gains["iou"]
    assert gain.low is not None
    assert 0.03 < gain.low < gain.mean < gain.high < 0.07
    assert verdict.reason.startswith("Promoted: the mean IoU over box, 1, 3 and 5 clicks went from 0.")
    assert f"{gain.served:.4f} to {gain.candidate:.4f}" in verdict.reason
    assert f"90 % lower bound of that is {gain.low:+.4f}" in verdict.reason
    assert "(40 objects on 8 images)" in verdict.reason


def test_the_model_in_service_does_not_take_over_from_itself():
    served, _ = two()
    verdict = judge(served, served)
    assert verdict.outcome == "refuse"
    assert "lower bound of that is +0.0000, not above 0" in verdict.reason
    assert all(gain.mean == gain.low == gain.high == 0 for gain in verdict.gains.values())


def test_a_gain_that_may_be_chance_is_refused():
    verdict = judge(*two(gain=0.002, spread=0.2))
    assert verdict.outcome == "refuse"
    assert "not above 0" in verdict.reason


def test_a_harmful_candidate_is_refused_with_everything_that_it_loses():
    verdict = judge(*two(gain=-0.2))
    assert verdict.outcome == "refuse"
    for part in ("not above 0", "the box prompt lost 0.", "1 click lost 0.", "5 clicks lost", "class 'a' lost 0."):
        assert part in verdict.reason


def worse_at(prompt, loss):
    def change(one):
        return replace(one, iou={**one.iou, prompt: one.iou[prompt] - loss})

    return change


@pytest.mark.parametrize("prompt", PROMPT_TYPES)
def test_a_gain_elsewhere_does_not_pay_for_one_prompt_type(prompt):
    served, candidate = two(gain=0.1, spread=0.0)
    verdict = judge(served, changed(candidate, worse_at(prompt, 0.111)))
    assert verdict.outcome == "refuse"
    assert verdict.gains["iou"].low > 0
    told = {"box": "the box prompt", "1": "1 click"}.get(prompt, f"{prompt} clicks")
    assert f"{told} lost 0.0110 (IoU " in verdict.reason
    assert "more than 0.01" in verdict.reason


def test_a_prompt_type_may_lose_exactly_the_limit():
    served, candidate = two(gain=0.1, spread=0.0)
    assert judge(served, changed(candidate, worse_at("box", 0.11))).outcome == "promote"


def test_a_gain_elsewhere_does_not_pay_for_one_class():
    def label(i, n):
        return "rare" if n == 0 else "common"

    served, candidate = two(images=8, label=label)
    spoilt = changed(candidate, lambda one: spoil(one, 0.12) if one.label == "rare" else one)
    verdict = judge(served, spoilt)
    assert verdict.outcome == "refuse"
    assert verdict.gains["iou"].low > 0
    assert "class 'rare' lost 0.0" in verdict.reason
    assert "over 8 objects" in verdict.reason
    assert "common" not in verdict.reason
    assert verdict.classes["rare"].objects == 8


def spoil(one, loss):
    return replace(one, iou={name: value - loss for name, value in one.iou.items()})


@pytest.mark.parametrize(("objects", "outcome"), [(4, "promote"), (5, "refuse")])
def test_a_class_is_judged_from_five_objects_on_and_else_it_is_said(objects, outcome):
    served, candidate = two(images=8, label=lambda i, n: "rare" if n == 0 and i < objects else "common")
    spoilt = changed(candidate, lambda one: spoil(one, 0.15) if one.label == "rare" else one)
    verdict = judge(served, spoilt)
    assert verdict.outcome == outcome
    assert verdict.not_judged == (("rare",) if objects == 4 else ())
    assert ("too few objects to be judged: 'rare' (4)" in verdict.reason) == (objects == 4)


@pytest.mark.parametrize(
    ("images", "per_image", "outcome"),
    [(5, 6, "promote"), (4, 8, "not enough data"), (6, 5, "promote"), (29, 1, "not enough data"), (30, 1, "promote")],
)
def test_five_images_and_thirty_objects_are_enough_and_fewer_are_not(images, per_image, outcome):
    verdict = judge(*two(images, per_image))
    assert verdict.outcome == outcome
    if outcome == "not enough data":
        told = f"{images} held-out images with {images * per_image} objects, but a verdict needs 5 images and 30"
        assert told in verdict.reason


def test_nothing_at_all_is_not_enough():
    verdict = judge(measurement("served", []), measurement("candidate", []))
    assert verdict.outcome == "not enough data"
    assert "0 held-out images with 0 objects" in verdict.reason


def test_answers_that_are_no_numbers_are_refused_whatever_the_gain_and_however_few():
    served, candidate = two(images=1)
    spoilt = replace(candidate.records[2], not_finite=3)
    verdict = judge(served, replace(candidate, records=(*candidate.records[:2], spoilt, *candidate.records[3:])))
    assert verdict.outcome == "refuse"
    assert "3 answers to 1 object of 5 hold numbers that are not finite" in verdict.reason
    assert "image image000, object object2" in verdict.reason


def test_answers_of_nothing_are_refused_where_the_model_in_service_answers():
    served, candidate = two()
    broken = changed(candidate, lambda one: replace(one, empty=2))
    verdict = judge(served, broken)
    assert verdict.outcome == "refuse"
    assert "answers 40 objects of 40 with no pixel at all" in verdict.reason
    assert judge(changed(served, lambda one: replace(one, empty=2)), broken).outcome == "promote"


def test_other_objects_other_masks_and_other_questions_are_not_compared():
    served, candidate = two()
    with pytest.raises(InvalidInput, match="image image007, object object4"):
        judge(served, replace(candidate, records=candidate.records[:-1]))
    with pytest.raises(InvalidInput, match="not measured on the same objects"):
        judge(served, changed(candidate, lambda one: replace(one, truth="other")))
    with pytest.raises(InvalidInput, match="different questions"):
        judge(served, replace(candidate, asking=Asking(seed=1)))


@pytest.mark.parametrize("gain", [0.05, -0.2])
def test_a_verdict_is_the_same_after_it_was_stored(gain):
    served, candidate = two(gain=gain, label=lambda i, n: None if n == 1 else "ab"[i % 2] if i else "rare")
    quality = PreannotationQuality(3, 0.5, 0.4, 0.3, None, 0.2)
    verdict = judge(served, candidate, GateRule(seed=3), (quality, quality))
    again = Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False)))
    assert again == verdict
    assert again.preannotations[1] == quality
    with pytest.raises(InvalidInput, match="no verdict"):
        Verdict.from_json(verdict.to_json() | {"outcome": "perhaps"})
    with pytest.raises(InvalidInput, match="no verdict"):
        Verdict.from_json({})


def test_a_verdict_on_one_image_can_be_stored_too():
    verdict = judge(*two(images=1))
    assert verdict.gains["iou"].low is None
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_the_order_of_images_and_objects_does_not_matter():
    served, candidate = two()
    order = np.random.default_rng(1).permutation(len(served.records))
    shuffled = [replace(m, records=tuple(m.records[i] for i in order)) for m in (served, candidate)]
    assert judge(*shuffled) == judge(served, candidate)


def test_chance_alone_is_seldom_promoted():
    """Of candidates that are as good as what is in service about one in ten may pass, even with five images only."""
    promoted = 0
    rng = np.random.default_rng(0)
    quick = GateRule(resamples=400, prompt_loss=1, class_loss=1)
    for _ in range(150):
        shift = rng.normal(0, 0.03, 5)  # objects of one image gain or lose together
        pairs = [(record(i, n), record(i, n, 0.7 + shift[i] + rng.normal(0, 0.02))) for i in range(5) for n in range(6)]
        served, candidate = (measurement(name, side) for name, side in zip("sc", zip(*pairs, strict=True), strict=True))
        promoted += judge(served, candidate, quick).outcome == "promote"
    assert promoted / 150 < 0.2


@pytest.mark.parametrize(
    "wrong", [{"least_images": 0}, {"class_loss": -0.1}, {"level": 1.0}, {"seed": -1}, {"resamples": 0}]
)
def test_a_rule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        GateRule(**wrong)
