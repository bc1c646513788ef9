"""Objects without names, where the right answer is known."""

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.models.dense.affinity import (
    affinity,
    attended,
    enlarged,
    mask_cut,
    second_smallest,
    token_cut,
)


def scene(height, width, *boxes, noise=0.0, seed=0):
    """Features of a background (direction 0) with objects (directions 1, 2, ...) in boxes (y, x, y, x)."""
    labels = np.zeros((height, width), dtype=int)
    for index, (top, left, bottom, right) in enumerate(boxes, start=1):
        labels[top:bottom, left:right] = index
    features = np.eye(8)[labels] + noise * np.random.default_rng(seed).standard_normal((height, width, 8))
    return labels, features.astype(np.float32)


@pytest.mark.parametrize("sizes", [(5, 9), (9, 5), (1, 30), (150, 400)])
def test_two_groups_are_split_exactly_by_sign(sizes):
    group = np.random.default_rng(0).permutation(np.repeat([0, 1], sizes))  # 550 patches take the iterative solver
    vector = second_smallest(affinity(np.eye(2, dtype=np.float32)[group]))
    assert len(set(vector[group == 0] > 0)) == len(set(vector[group == 1] > 0)) == 1
    assert (vector[group == 0][0] > 0) != (vector[group == 1][0] > 0)


@pytest.mark.parametrize("patches", [60, 500])
def test_the_eigenvector_solves_the_generalised_problem_with_the_second_smallest_value(patches):
    vectors = np.random.default_rng(1).standard_normal((patches, 4)).astype(np.float32)
    weights = affinity(vectors, 0.2)
    degrees = weights.sum(axis=1)
    vector = second_smallest(weights)
    value = vector @ (np.diag(degrees) - weights) @ vector / (vector @ (degrees * vector))
    np.testing.assert_allclose((np.diag(degrees) - weights) @ vector, value * degrees * vector, atol=1e-6)
    balanced = np.eye(patches) - weights / np.sqrt(np.outer(degrees, degrees))
    assert value == pytest.approx(np.linalg.eigvalsh(balanced)[1], abs=1e-8)


@pytest.mark.parametrize("side", [12, 24])  # solved at once, and iteratively
def test_three_objects_are_found_in_order_of_size(side):
    unit = side // 12
    boxes = [(1, 1, 3, 3), (1, 6, 6, 11), (8, 2, 11, 6)]
    labels, features = scene(side, side, *[tuple(unit * v for v in box) for box in boxes])
    found = mask_cut(features)
    assert [np.array_equal(mask, labels == index) for mask, index in zip(found, (2, 3, 1), strict=True)] == [True] * 3


def test_two_objects_of_the_same_size_and_kind_are_two_masks():
    labels, features = scene(14, 14, (1, 1, 5, 5), (8, 8, 12, 12))
    features[labels == 2] = features[1, 1]
    found = mask_cut(features)
    assert sorted(int(np.argwhere(mask)[0, 0]) for mask in found) == [1, 8]
    assert all(mask.sum() == 16 for mask in found)
    unlike = mask_cut(scene(14, 14, (1, 1, 5, 5), (8, 8, 12, 12))[1])
    assert sorted(int(mask.sum()) for mask in unlike) == [16, 16]


def test_a_cut_takes_the_object_and_not_the_background():
    labels, features = scene(10, 14, (3, 4, 7, 9), noise=0.05)
    cut = token_cut(features)
    assert np.array_equal(cut.foreground, labels == 1)
    assert labels[cut.seed] == 1


def test_what_holds_three_corners_is_the_background_even_if_it_is_the_smaller_part():
    labels, features = scene(10, 10, (1, 1, 9, 9))
    assert (labels == 0).sum() < (labels == 1).sum()
    assert np.array_equal(token_cut(features).foreground, labels == 1)


def test_length_and_rotation_of_features_change_nothing():
    _, features = scene(12, 12, (1, 1, 5, 6), (7, 6, 11, 11), noise=0.03)
    generator = np.random.default_rng(3)
    rotation = np.linalg.qr(generator.standard_normal((8, 8)))[0]
    lengths = generator.uniform(0.5, 20, (12, 12, 1))
    turned = (lengths * features @ rotation).astype(np.float32)
    straight = mask_cut(features)
    assert len(straight) == 2
    for one, other in zip(straight, mask_cut(turned), strict=True):
        assert np.array_equal(one, other)


def test_an_image_without_objects_has_no_masks():
    _, features = scene(8, 8)
    assert token_cut(features) is None
    assert mask_cut(features) == []
    assert mask_cut(np.ones((1, 1, 4), dtype=np.float32)) == []


def test_specks_are_dropped():
    _, features = scene(20, 20, (5, 5, 6, 7), (10, 10, 15, 15))
    assert [int(mask.sum()) for mask in mask_cut(features)] == [25]


def test_two_textures_of_an_image_are_separated():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:128, :128]
    inside = (rows >= 40) & (rows < 96) & (columns >= 32) & (columns < 88)
    stripes = np.where(inside, np.sin(rows * 1.6), np.sin(columns * 1.6)) * 80 + rng.normal(0, 12, (128, 128))
    patches = stripes.reshape(16, 8, 16, 8).transpose(0, 2, 1, 3)
    energy = np.stack([np.abs(np.diff(patches, axis=axis)).mean(axis=(2, 3)) for axis in (2, 3)], axis=-1)
    energy -= energy.mean(axis=(0, 1))
    found = token_cut(energy.astype(np.float32)).foreground
    assert np.array_equal(found, inside[4::8, 4::8])


def test_more_patches_than_can_be_compared_are_refused():
    with pytest.raises(InvalidInput, match="4900 patches are too many"):
        token_cut(np.ones((70, 70, 2), dtype=np.float32))


def test_attention_is_cut_at_the_share_that_is_asked_for():
    attention = np.array([[0.5, 0.125], [0.25, 0.125]], dtype=np.float32)
    assert attended(attention, 0.5).tolist() == [[True, False], [False, False]]
    assert attended(attention).tolist() == [[True, False], [True, False]]
    assert attended(attention, 1.0).all()
    assert not attended(np.zeros((2, 2), dtype=np.float32)).any()
    with pytest.raises(InvalidInput, match="share"):
        attended(attention, 0.0)


def test_patches_become_a_mask_of_the_images_size():
    patches = np.zeros((4, 4), dtype=np.bool_)
    patches[1:3, 1:3] = True
    mask = enlarged(patches, (80, 120))
    assert mask.size == (80, 120)
    assert mask.contains(60, 40)
    assert not mask.contains(10, 40)
    assert mask.area == pytest.approx(40 * 60, rel=0.1)
