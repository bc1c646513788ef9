"""What a click does to an answer that overrules it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.models.embedded.heeding import HEEDED, INSISTING, MARGIN, finish_heeding, heed

SIDE = 64


def disk(radius=14.3, centre=(32, 32), sure=4.0):
    ys, xs = np.mgrid[:SIDE, :SIDE]
    depth = radius - np.hypot(ys - centre[1], xs - centre[0])
    return np.clip(depth, -sure, sure).astype(np.float32)


def clicks(*said):
    return np.array([xy for xy, _ in said], dtype=np.int64).reshape(-1, 2), np.array([label for _, label in said])


inside = st.integers(0, SIDE - 1)


@settings(max_examples=100, deadline=None)
@given(x=inside, y=inside, label=st.integers(0, 1))
def test_a_click_alone_is_always_heeded(x, y, label):
    moved = heed(disk(), *clicks(((x, y), label)))
    assert (1 if label else -1) * moved[y, x] >= min(HEEDED, MARGIN) - 1e-4


@settings(max_examples=100, deadline=None)
@given(said=st.lists(st.tuples(st.tuples(inside, inside), st.integers(0, 1)), max_size=6))
def test_clicks_that_an_answer_heeds_already_change_nothing(said):
    logits = disk()
    agreeing = [(xy, int(logits[xy[1], xy[0]] > 0)) for xy, _ in said if abs(logits[xy[1], xy[0]]) > HEEDED]
    assert heed(logits, *clicks(*agreeing)) is logits


@settings(max_examples=50, deadline=None)
@given(said=st.lists(st.tuples(st.tuples(inside, inside), st.integers(0, 1)), min_size=1, max_size=8))
def test_contradicting_clicks_end_and_the_last_is_heeded(said):
    moved = heed(disk(), *clicks(*said))
    (x, y), label = said[-1]
    assert np.isfinite(moved).all()
    assert (1 if label else -1) * moved[y, x] >= HEEDED - 1e-4


def test_a_click_beside_the_border_moves_the_border_near_it_and_leaves_the_far_side():
    before = disk()
    after = heed(before, *clicks(((47, 32), 1)))
    added = (after > 0) & (before <= 0)
    assert added[32, 47]
    assert added.sum() > 5
    assert not added[:, :32].any()
    assert not ((before > 0) & (after <= 0)).any()


def test_a_click_reaches_as_far_as_the_object_is_large():
    def added(radius):
        before = disk(radius)
        return int(((heed(before, *clicks(((32 + int(radius) + 2, 32), 1))) > 0) & (before <= 0)).sum())

    assert added(4.0) < added(8.0) < added(16.0)


def test_nothing_is_changed_in_place():
    logits = disk()
    before = logits.copy()
    heed(logits, *clicks(((47, 32), 1)))
    np.testing.assert_array_equal(logits, before)


def test_who_insists_is_heard_before_the_pictures_borders(segmenter, scenery):
    embedding = segmenter.encode([scenery])[0]
    scene = segmenter._prepared(embedding).scene
    height, width = scene.size
    ys, xs = np.mgrid[:height, :width]
    own = np.clip(30.0 - np.hypot(ys - height / 2, xs - width / 2), -4, 4).astype(np.float32)
    spots = [(width // 2 + dx, height // 2) for dx in range(-INSISTING, INSISTING)]
    agreeing = clicks(*((spot, 1) for spot in spots))
    few = finish_heeding(scene, own, agreeing[0][: INSISTING - 1], agreeing[1][: INSISTING - 1])
    many = finish_heeding(scene, own, *agreeing)
    assert ((many > 0) != (own > 0)).sum() < ((few > 0) != (own > 0)).sum()
