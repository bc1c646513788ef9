"""What a project may say of itself in ``extra_params``."""

from __future__ import annotations

import pytest

from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import InvalidInput
from maskwright_label_studio.options import ProjectOptions, parse_options
from maskwright_label_studio.predictor import project_stages


def test_a_project_that_says_nothing_leaves_the_stages_to_the_server():
    stages = project_stages(parse_options(None))
    assert (dict(stages.uris), stages.options) == ({}, None)


def test_a_project_names_its_stages_and_how_classes_are_suggested():
    options = parse_options(
        '{"language": "sentence-matcher", "suggestions": {"domain": "driving", "points": 7, "every_class": true}}'
    )
    stages = project_stages(options)
    assert dict(stages.uris) == {"language": "sentence-matcher"}
    assert stages.options == StageOptions(domain="driving", points=7, every_class=True)


def test_a_project_says_what_its_regions_mean_and_which_classes_nobody_counts():
    options = parse_options({"suggestions": {"output": "panoptic", "stuff": ["sky", "road"]}})
    assert project_stages(options).options == StageOptions(output="panoptic", stuff=("sky", "road"))
    assert ProjectOptions.model_validate(options.model_dump(mode="json", exclude_defaults=True)) == options


def test_a_project_says_how_its_classes_are_described_and_at_how_many_scales_they_are_seen():
    options = parse_options({"suggestions": {"descriptors": "image", "multi_scale": True}})
    assert project_stages(options).options == StageOptions(descriptors="image", multi_scale=True)
    assert project_stages(parse_options({"suggestions": {}})).options == StageOptions(descriptors="written")


def test_options_come_back_as_they_were_kept():
    options = parse_options({"tagger": "clip:o/n", "suggestions": {"prompts": {"domain": "Pictures of a stable."}}})
    assert ProjectOptions.model_validate(options.model_dump(exclude_defaults=True)) == options


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"suggestions": {"poitns": 3}}, "unknown key 'suggestions.poitns'; known keys: domain, prompts, "),
        ({"suggestion": {}}, "unknown key 'suggestion'; known keys: model, "),
        ({"suggestions": {"points": "many"}}, "'suggestions.points': Input should be a valid integer"),
        ({"suggestions": {"points": 10**9}}, "'suggestions': points is 1000000000; it must lie between 1 and 100"),
        ({"suggestions": {"point_rule": "some"}}, "'suggestions.point_rule': Input should be 'none', 'top20' or"),
        ({"suggestions": {"box_iou": float("nan")}}, "'suggestions.box_iou': Input should be a finite number"),
        ({"suggestions": {"output": "all"}}, "'suggestions.output': Input should be 'regions', 'instance', "),
        ({"suggestions": {"descriptors": "all"}}, "'suggestions.descriptors': Input should be 'none', 'written', "),
        ({"suggestions": {"stuff": ["a"] * 10_001}}, "'suggestions': stuff has 10001 names; 10000 at most"),
        ({"suggestions": {"domain": "sea"}}, "'suggestions': unknown domain 'sea' of prompts; known: general"),
        ({"suggestions": {"prompts": {"poem": {}}}}, "'suggestions': prompts: unknown prompt 'poem'"),
        ({"suggestions": {"language_seconds": 1e6}}, "it must be above 0 and at most 600"),
        ({"suggestions": []}, "'suggestions': write an object"),
        ({"suggestions": {"stuff": "sky"}}, "'suggestions.stuff': write a list"),
        ({"tagger": 3}, "'tagger': Input should be a valid string"),
    ],
)
def test_a_mistake_is_refused_with_its_place(value, words):
    with pytest.raises(InvalidInput) as refusal:
        parse_options(value)
    assert words in str(refusal.value)
