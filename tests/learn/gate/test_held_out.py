"""What is held out stays held out, and nothing of it is trained on."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.images.similar import Fingerprint
from maskwright.learn.gate.held_out import HeldOutRule, Parts, duplicate_groups, leaks, refuse_leaks, share_out

RULE = HeldOutRule("label-studio/7")


def digest(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_images_keep_their_part_whatever_is_labelled_later():
    few, many = share_out(RULE, map(digest, range(40))), share_out(RULE, map(digest, range(400)))
    assert set(few.held_out) <= set(many.held_out)
    assert set(few.training) <= set(many.training)
    assert share_out(RULE, [digest(n) for n in range(399, -1, -1)]) == many
    assert not set(many.held_out) & set(many.training)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_about_the_share_is_held_out(share):
    parts = share_out(HeldOutRule("p", share), map(digest, range(3000)))
    assert len(parts.held_out) / 3000 == pytest.approx(share, abs=0.03)


def test_projects_hold_out_different_images():
    one, other = (share_out(HeldOutRule(key), map(digest, range(200))).held_out for key in ("a", "b"))
    assert set(one) != set(other)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(InvalidInput, match="held-out share"):
        HeldOutRule("p", share)


def of_part(part, count):
    return [d for d in map(digest, range(1000)) if RULE.holds_out(d) == (part == "held_out")][:count]


def test_near_duplicates_go_together():
    parts = share_out(RULE, map(digest, range(60)), [[digest(n), digest(n + 1)] for n in range(0, 60, 2)])
    for n in range(0, 60, 2):
        assert (digest(n) in parts.held_out) == (digest(n + 1) in parts.held_out)


@pytest.mark.parametrize("part", ["held_out", "training"])
def test_a_newcomer_follows_the_images_that_it_resembles(part):
    (old,) = of_part(part, 1)
    before = share_out(RULE, [old])
    for newcomer in map(digest, range(2000, 2020)):
        parts = share_out(RULE, [old, newcomer], [[newcomer, old]], before)
        assert set(getattr(parts, part)) == {old, newcomer}


def test_an_image_that_resembles_both_sides_is_used_for_neither():
    (held,), (trained,) = of_part("held_out", 1), of_part("training", 1)
    bridge = digest("bridge")
    before = share_out(RULE, [held, trained])
    parts = share_out(RULE, [held, trained, bridge], [[held, bridge, trained]], before)
    assert parts == Parts((trained,), (held,), (bridge,))
    assert share_out(RULE, [bridge], [[bridge, held]], parts) == parts
    assert Parts.from_json(json.loads(json.dumps(parts.to_json()))) == parts


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_sequence_of_newcomers_moves_an_image_or_mixes_new_duplicates(data):
    """However images and likenesses come in, parts stay for ever, and nothing leaks beyond what was known too late."""
    images: list[str] = []
    groups: list[list[str]] = []
    parts = Parts((), ())
    for step in range(data.draw(st.integers(1, 6))):
        new = [digest((step, n)) for n in range(data.draw(st.integers(1, 4)))]
        images += new
        for one in new:
            like = data.draw(st.lists(st.sampled_from(images), max_size=2))
            groups.append([one, *like])
        order = data.draw(st.permutations(images))
        after = share_out(RULE, order, groups, parts)
        for name in ("training", "held_out", "set_aside"):
            assert set(getattr(parts, name)) <= set(getattr(after, name))
        found = leaks(after.training, after.held_out, groups)
        assert {leak.held_out for leak in found} <= set(parts.held_out)
        parts = after
    assert sorted(parts.training + parts.held_out + parts.set_aside) == sorted(images)


def test_an_image_on_both_sides_is_named():
    refuse_leaks([digest(1)], [digest(2)])
    with pytest.raises(InvalidInput, match=r"1 held-out image was trained on.*cat\.png; train again"):
        refuse_leaks([digest(1), digest(2)], [digest(2), digest(3)], names={digest(2): "cat.png"})
    with pytest.raises(InvalidInput, match=rf"{digest(3)[:12]} \(like cat\.png, which was trained on\)"):
        refuse_leaks([digest(2)], [digest(3)], [[digest(2), digest(3)]], {digest(2): "cat.png"})
    with pytest.raises(InvalidInput, match=r"30 held-out images were .* and 10 more"):
        refuse_leaks(map(digest, range(30)), map(digest, range(30)))


def test_groups_are_those_of_near_duplicates():
    fine = bytes(32)
    prints = [Fingerprint("a", 5, fine), Fingerprint("b", 4, fine), Fingerprint("c", 2**64 - 1, bytes([255] * 32))]
    assert duplicate_groups(prints) == [["a", "b"]]


def test_what_are_no_parts_is_not_read():
    with pytest.raises(InvalidInput, match="no parts"):
        Parts.from_json({"training": []})
