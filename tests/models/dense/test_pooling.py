"""Classes of places and masks without classes, put together; and the laws between the three kinds of result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.dense.pooling import (
    Segment,
    Segmentation,
    class_map,
    compete,
    cosines,
    heat_maps,
    pool,
    probabilities,
    segment,
)

SIZE = (40, 60)


def box(left, top, right, bottom):
    return Mask.from_box((left, top, right, bottom), SIZE)


def drawn(parts):
    """(H, W) class of each pixel, -1 where there is none."""
    labels = np.full(SIZE, -1)
    for part in parts:
        labels[part.mask.to_array()] = part.label
    return labels


def planted(*regions, classes=3):
    """(4, 6, C) probabilities: class 0 everywhere but in (rows, columns, class)."""
    labels = np.zeros((4, 6), dtype=int)
    for rows, columns, label in regions:
        labels[rows, columns] = label
    return (np.eye(classes) * 0.8 + 0.1)[labels].astype(np.float32)


def test_a_mask_is_the_mean_of_its_share_of_every_place():
    maps = np.zeros((4, 6, 2), dtype=np.float32)
    maps[0, 0], maps[0, 1] = (1, 0), (0, 1)
    half, whole, none = box(0, 0, 15, 10), box(0, 0, 60, 40), Mask.empty(SIZE)
    np.testing.assert_allclose(pool(maps, [half, whole, none]), [[2 / 3, 1 / 3], [1 / 24, 1 / 24], [0, 0]], atol=1e-6)


def test_things_stuff_and_what_is_left_in_one_pass():
    maps = planted((slice(1, 3), slice(1, 3), 1), (slice(0, 4), slice(4, 6), 2))
    thing, stuff, doubled = box(10, 10, 30, 30), box(40, 0, 60, 40), box(10, 10, 30, 22)
    found = segment(maps, [stuff, doubled, thing], SIZE, qualities=[1.0, 0.5, 0.9], countable=[False, True, False])
    assert [part.mask for part in found.instances] == [thing, doubled]  # they may overlap, best first
    assert [part.label for part in found.panoptic] == [1, 0, 2]
    assert found.panoptic[0].mask == thing
    assert found.panoptic[0].score == pytest.approx(0.9 * 0.9)
    expected = np.zeros(SIZE, dtype=int)
    expected[:, 40:], expected[10:30, 10:30] = 2, 1
    assert np.array_equal(drawn(found.semantic), expected)


def test_the_semantic_map_without_masks_is_the_most_probable_class():
    maps = planted((slice(0, 4), slice(3, 6), 2))
    found = segment(maps, [], SIZE, countable=[False] * 3)
    assert np.array_equal(drawn(found.semantic), class_map(maps, SIZE))
    assert found.instances == ()
    assert np.array_equal(class_map(maps, SIZE), np.where(np.arange(60) < 30, 0, 2)[None].repeat(40, axis=0))


def test_what_nothing_speaks_for_gets_no_class():
    maps = np.full((4, 6, 3), 0.3, dtype=np.float32)
    found = segment(maps, [box(0, 0, 10, 10)], SIZE, countable=[True, False, False], least=0.5)
    assert found.instances == found.panoptic == ()
    assert found.semantic == ()


def test_classes_come_in_any_order():
    features = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
    text = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0][:3].astype(np.float32)
    masks, order = [box(0, 0, 33, 21), box(20, 10, 60, 40)], np.array([2, 0, 1])
    straight = segment(probabilities(cosines(features, text)), masks, SIZE)
    permuted = segment(probabilities(cosines(features, text[order])), masks, SIZE)
    renamed = np.where(drawn(permuted.semantic) < 0, -1, order[drawn(permuted.semantic)])
    assert np.array_equal(renamed, drawn(straight.semantic))


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2, st.integers(0, 2)), max_size=6))
def test_panoptic_segments_share_no_pixel_and_make_the_semantic_ones(rectangles):
    parts = [
        Segment(box(x, y, x + width, y + height), label, 0.9 - 0.1 * i)
        for i, (x, y, width, height, label) in enumerate(rectangles)
    ]
    found = compete(parts, SIZE)
    covered = np.zeros(SIZE, dtype=int)
    for part in found:
        covered += part.mask.to_array()
    assert covered.max(initial=0) <= 1
    semantic = Segmentation(SIZE, tuple(parts), found).semantic
    assert len({part.label for part in semantic}) == len(semantic)
    assert np.array_equal(drawn(semantic), drawn(found))
    assert sum(part.mask.area for part in semantic) == covered.sum()
    assert sum(part.score * part.mask.area for part in semantic) == pytest.approx(
        sum(part.score * part.mask.area for part in found)
    )
    assert [part.mask for part in compete(found, SIZE)] == [part.mask for part in found]


def test_an_instance_that_keeps_less_than_half_is_dropped_and_frees_its_pixels():
    first, hidden, below = box(0, 0, 20, 20), box(0, 5, 28, 15), box(20, 0, 40, 20)
    found = compete([Segment(below, 0, 0.3), Segment(first, 0, 0.9), Segment(hidden, 1, 0.5)], SIZE)
    assert [part.mask for part in found] == [first, below]


def test_masks_whose_class_is_known_keep_it_and_their_score_whatever_places_say():
    maps = planted((slice(1, 3), slice(1, 3), 1))
    known, unknown = box(10, 10, 30, 20), box(10, 20, 30, 30)
    found = segment(
        maps, [known, unknown, known], SIZE, qualities=[0.6, 1, 0.4], countable=[False, True, True], labels=[2, None, 0]
    )
    assert [(part.label, part.source, part.score) for part in found.instances] == [
        (1, 1, pytest.approx(0.9)),
        (2, 0, pytest.approx(0.6)),
    ]
    assert found.panoptic[-1].mask == Mask.full(SIZE) - known - unknown
    alone = segment(np.zeros_like(maps), [known], SIZE, qualities=[0.4], countable=[False] * 3, least=0.5, labels=[1])
    assert [part.mask for part in alone.panoptic] == [known]
    assert alone.panoptic[0].score == pytest.approx(0.4)


def test_probabilities_are_a_softmax_at_a_scale():
    similarities = np.array([[[0.3, 0.1, -0.1]]], dtype=np.float32)
    powers = np.exp(40 * similarities)
    np.testing.assert_allclose(probabilities(similarities), powers / powers.sum(), rtol=1e-5)
    np.testing.assert_allclose(probabilities(similarities[..., :2], scale=10.0)[0, 0, 0], 1 / (1 + np.exp(-2)))


def test_heat_maps_reach_from_nothing_to_all():
    maps = np.stack([np.array([[1.0, 3], [2, 1]]), np.full((2, 2), 0.7)], axis=-1).astype(np.float32)
    np.testing.assert_allclose(heat_maps(maps)[..., 0], [[0, 1], [0.5, 0]])
    assert not heat_maps(maps)[..., 1].any()


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match="quality for every mask"):
        segment(planted(), [box(0, 0, 1, 1)], SIZE, qualities=[])
