"""What is proposed before anyone clicks, against what people left."""

from __future__ import annotations

import json

import pytest

from maskwright.errors import InvalidInput
from maskwright.learn.gate.preannotations import (
    PreannotationQuality,
    PreannotationRecord,
    measure_preannotations,
    preannotation_quality,
)
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (20, 30)


def region(box, label, **more):
    return Region(Mask.from_box(box, SIZE), label, 1.0, Provenance("person"), **more)


def test_proposals_that_people_left_as_they_were_are_perfect():
    regions = [region((0, 0, 10, 10), "a"), region((12, 0, 20, 10), "b")]
    quality = preannotation_quality([measure_preannotations("one", regions, regions)])
    assert quality == PreannotationQuality(1, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_overlap_finding_and_naming_are_told_apart():
    true = [region((0, 0, 10, 10), "a"), region((12, 0, 22, 10), "b"), region((0, 12, 8, 20), "a")]
    proposed = [region((0, 0, 10, 8), "a"), region((12, 0, 22, 10), "a")]
    record = measure_preannotations("one", proposed, true)
    quality = preannotation_quality([record])
    assert quality.object_iou == pytest.approx((0.8 + 1.0 + 0) / 3)
    assert quality.recall == pytest.approx(2 / 3)
    assert quality.precision == 1
    assert quality.class_accuracy == 0.5
    assert record.classes == {"a": (80, 180 + 164 - 80), "b": (0, 100)}
    assert quality.mean_iou == pytest.approx((80 / 264 + 0) / 2)


def test_images_are_put_together_in_any_order():
    one = measure_preannotations("one", [region((0, 0, 5, 5), "a")], [region((0, 0, 5, 5), "a")])
    two = measure_preannotations("two", [], [region((0, 0, 10, 10), "a")])
    both = preannotation_quality([one, two])
    assert both == preannotation_quality([two, one])
    assert both.mean_iou == pytest.approx(25 / 125)
    assert both.recall == 0.5
    for record in (one, two):
        assert PreannotationRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert PreannotationQuality.from_json(json.loads(json.dumps(both.to_json()))) == both


def test_nothing_to_measure_is_none_not_a_number():
    quality = preannotation_quality([measure_preannotations("one", [], [])])
    assert quality == PreannotationQuality(1, None, None, None, None, None)


def test_crowds_are_no_objects_and_unnamed_regions_have_no_class_to_be_right_about():
    true = [region((0, 0, 10, 10), None), region((12, 0, 22, 10), "b", is_crowd=True)]
    record = measure_preannotations("one", [region((0, 0, 10, 10), "a")], true)
    assert (record.true, record.matched, record.classified) == (1, 1, 0)


def test_what_is_no_record_is_not_read():
    for wrong in ({}, {"classes": []}, {"classes": {"a": [1]}}):
        with pytest.raises(InvalidInput):
            PreannotationRecord.from_json(wrong)
    with pytest.raises(InvalidInput, match="no figures"):
        PreannotationQuality.from_json({"colour": 1})
