"""The annotator clicks as often as can be worked out, and leaves what a person would leave."""

from __future__ import annotations

import pytest

from maskwright.learn.simulate.annotator import Labour, annotate


def test_an_assistant_that_finds_every_object_costs_one_click_an_object(make_platform, make_region):
    truths = [make_region(6, 6, 12, 12), make_region(30, 40, 10, 20)]
    platform = make_platform(truths)
    labour = annotate(platform, 7, truths)
    assert (labour.objects, labour.clicks, labour.failed, labour.requests) == (2, 2, 0, 3)
    assert [clicks[0].label for _, clicks, _ in platform.clicked] == [1, 1]
    assert [one.mask for one in platform.submitted[7][0]] == [one.mask for one in truths]


@pytest.mark.parametrize(("blocks", "clicks"), [(1, 1), (4, 4), (9, 9), (10, 9)])
def test_an_assistant_that_adds_a_tenth_with_every_click_costs_clicks_until_nine_tenths(
    make_platform, make_region, blocks, clicks
):
    truth = make_region(12, 6, 6, 6 * blocks)
    platform = make_platform([truth], answer="blocks")
    labour = annotate(platform, 1, [truth])
    assert labour.clicks == clicks
    assert [len(prompts) for _, prompts, _ in platform.clicked] == [*range(1, clicks + 1)], "all clicks go along"
    assert labour.failed == 0


def test_after_twenty_clicks_the_best_answer_stays(make_platform, make_region):
    truth = make_region(0, 0, 60, 90)  # 150 blocks
    platform = make_platform([truth], answer="blocks")
    labour = annotate(platform, 1, [truth])
    assert (labour.clicks, labour.failed) == (20, 1)
    ((left,), _) = platform.submitted[1]
    assert left.mask.area == 20 * 36


def test_an_assistant_that_never_answers_leaves_an_empty_annotation(make_platform, make_region):
    truth = make_region(6, 6, 12, 12)
    platform = make_platform([truth], answer="nothing")
    assert annotate(platform, 1, [truth]).failed == 1
    assert platform.submitted[1][0] == []


def test_good_proposals_stay_and_all_others_go(make_platform, make_region):
    truths = [make_region(6, 6, 12, 12), make_region(30, 40, 20, 20)]
    good = make_region(6, 6, 12, 11, key="good")
    again = make_region(6, 6, 11, 12, key="again")
    half = make_region(30, 40, 20, 11, key="half")
    extra = make_region(0, 80, 5, 5, key="extra")
    platform = make_platform(truths, [half, good, extra, again])
    labour = annotate(platform, 1, truths)
    assert (labour.accepted, labour.deleted, labour.clicks) == (1, 3, 1)
    assert labour.actions == 4
    assert labour.accepted_share == 0.5
    left, lead_seconds = platform.submitted[1]
    assert left[0].key in ("good", "again"), "one object is one region"
    assert left[1].mask == truths[1].mask
    assert lead_seconds > annotate(make_platform([]), 2, []).actions


def test_a_good_mask_of_the_wrong_class_costs_one_click(make_platform, make_region):
    truth = make_region(6, 6, 12, 12, label="cell")
    platform = make_platform([truth], [make_region(6, 6, 12, 12, label="dirt", key="p")])
    labour = annotate(platform, 1, [truth])
    assert (labour.accepted, labour.relabelled, labour.clicks, labour.actions) == (1, 1, 0, 1)
    assert [(one.key, one.label) for one in platform.submitted[1][0]] == [("p", "cell")]


def test_an_image_without_objects_is_finished_at_once(make_platform):
    platform = make_platform([])
    labour = annotate(platform, 1, [])
    assert (labour.actions, labour.clicks_per_object, labour.accepted_share) == (0, 0.0, 0.0)
    assert platform.submitted[1][0] == []


def test_labour_adds_up():
    assert Labour(1, 2, 1, clicks=3) + Labour(1, 1, 0, clicks=4, failed=1) == Labour(2, 3, 1, clicks=7, failed=1)
