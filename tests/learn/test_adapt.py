"""Corrected pictures teach the embedded segmenter their domain."""

import time

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.learn.adapt import CorrectedPicture, Tuning, tune
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.embedded.adapters import adapted
from maskwright.models.embedded.weights import read_network


@pytest.fixture(scope="module")
def network():
    return read_network(PACKAGED_WEIGHTS / "embedded-no-nuclei.safetensors")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2):
        image = rng.integers(90, 110, (80, 96, 3)).astype(np.uint8)
        ys, xs = np.mgrid[:80, :96]
        masks = tuple((ys - y) ** 2 + (xs - x) ** 2 < 12**2 for y, x in ((25, 25), (50, 65)))
        for mask in masks:
            image[mask] += 40
        found.append(CorrectedPicture(image, masks))
    return found


@pytest.mark.parametrize("rank", [None, 4])
def test_equal_seeds_teach_the_same_and_the_base_stays(network, pictures, rank):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    one, two = (tune(network, pictures, Tuning(steps=3, rank=rank)) for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    if rank is None:
        assert any(not torch.equal(one[name], before[name]) for name in one)
    else:
        assert any(tensor.any() for name, tensor in one.items() if name.endswith(".up"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    adapted(network, one)


def test_time_is_kept(network, pictures):
    began = time.thread_time()
    assert tune(network, pictures, Tuning(steps=10_000, seconds=2.0))
    assert time.thread_time() - began < 20


def test_a_mask_of_another_size_is_refused(network, pictures):
    with pytest.raises(InvalidInput, match="picture 0: a mask is not of the picture's size"):
        tune(network, [CorrectedPicture(pictures[0].image, (np.ones((3, 3), dtype=bool),))], Tuning())


def test_masks_too_small_to_be_seen_are_left_out(network):
    huge = np.zeros((3000, 3000, 3), dtype=np.uint8)
    dot = np.zeros((3000, 3000), dtype=bool)
    dot[1000, 1000] = True
    with pytest.raises(InvalidInput, match="smaller than a pixel"):
        tune(network, [CorrectedPicture(huge, (dot,))], Tuning(steps=1))


def test_nothing_to_learn_from_is_said(network, pictures):
    with pytest.raises(InvalidInput, match="nothing to learn from"):
        tune(network, [CorrectedPicture(pictures[0].image, ())], Tuning())
