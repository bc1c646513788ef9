"""Groups of patches whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.models.dense.clustering import cluster, silhouette, spherical_k_means


def gaussians(groups, each=40, width=16, noise=0.04, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.linalg.qr(generator.standard_normal((width, width)))[0][:groups]
    truth = generator.permutation(np.repeat(np.arange(groups), each))
    return truth, (centres[truth] + noise * generator.standard_normal((len(truth), width))).astype(np.float32)


def same_groups(one, other):
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@given(st.integers(2, 8), st.integers(0, 1000))
def test_separated_gaussians_are_found_up_to_the_order_of_groups(groups, seed):
    truth, vectors = gaussians(groups, each=12, seed=seed)
    assert same_groups(spherical_k_means(vectors, groups, seed=seed).labels, truth)


@pytest.mark.parametrize("groups", [2, 3, 5, 8])
def test_the_number_of_groups_is_found(groups):
    truth, vectors = gaussians(groups)
    found = cluster(vectors)
    assert len(found.centres) == groups
    assert same_groups(found.labels, truth)


def test_length_and_rotation_change_nothing():
    truth, vectors = gaussians(4)
    generator = np.random.default_rng(9)
    rotation = np.linalg.qr(generator.standard_normal((16, 16)))[0]
    turned = (generator.uniform(0.1, 9, (len(vectors), 1)) * vectors @ rotation).astype(np.float32)
    assert same_groups(cluster(turned).labels, truth)


def test_a_grid_keeps_its_shape_and_equal_seeds_give_equal_groups():
    _, vectors = gaussians(3)
    grid = vectors.reshape(12, 10, -1)
    first, second = spherical_k_means(grid, 3, seed=5), spherical_k_means(grid, 3, seed=5)
    assert first.labels.shape == (12, 10)
    assert np.array_equal(first.labels, second.labels)
    np.testing.assert_allclose(np.linalg.norm(first.centres, axis=1), 1, atol=1e-6)


def test_silhouette_by_hand():
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1])
    # inside 0 and between 1 and 0.4 for the first two; 0.2 inside and 1, or 0.4, between for the others
    expected = np.mean([1, 1, (1 - 0.2) / 1, (0.4 - 0.2) / 0.4])
    assert silhouette(vectors, labels) == pytest.approx(expected, abs=1e-6)
    assert silhouette(vectors, np.zeros(4, dtype=int)) == 0


def test_identical_vectors_do_not_stop_it():
    found = spherical_k_means(np.ones((5, 3), dtype=np.float32), 3)
    assert found.labels.shape == (5,)


def test_more_groups_than_vectors_are_refused():
    with pytest.raises(InvalidInput, match="3 vectors cannot be put into 4 groups"):
        spherical_k_means(np.eye(3, dtype=np.float32), 4)
    with pytest.raises(InvalidInput, match="2 vectors"):
        cluster(np.eye(2, dtype=np.float32))
