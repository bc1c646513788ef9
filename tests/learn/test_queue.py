"""A project's queue: what is measured, and the order that comes of it."""

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import Candidate, Look
from maskwright.learn.queue import Queue, look_at, priorities, stochastic_decoder
from maskwright.masks import Mask
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.device import ComputeDevice
from maskwright.models.efficientnet_lite import EfficientNetLite0, folded
from maskwright.models.embedded.network import EmbeddedNetwork
from maskwright.models.embedded.segmenter import EmbeddedSegmenter
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import ImageEmbedding
from maskwright.regions import Provenance, Region


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(3)
    network = EmbeddedNetwork(folded(EfficientNetLite0().eval())).eval().requires_grad_(False)
    described = ModelDescription("tiny", "tiny-1", "tiny-0", 10**7)
    return EmbeddedSegmenter(described, network, ComputeDevice("cpu", "float32"))


@pytest.fixture(scope="module")
def looks(segmenter):
    """Two images with a disk each, by name."""
    found = {}
    for number in range(2):
        pixels = np.random.default_rng(number).integers(20, 60, (60, 80, 3)).astype(np.uint8)
        ys, xs = np.mgrid[:60, :80]
        disk = (ys - 30) ** 2 + (xs - 25 - 20 * number) ** 2 < 12**2
        pixels[disk] = (200, 180, 40)
        (embedding,) = segmenter.encode([pixels])
        region = Region(Mask.from_array(disk), "cell", 0.9, Provenance("preannotation"))
        found[f"image {number}"] = look_at(segmenter, embedding, [region])
    return found


def test_the_default_order_of_embedded_models_asks_a_committee(segmenter, looks):
    assert set(Queue(segmenter).signals) == {"disagreement", "bald"}
    images = [Candidate(key, lambda look=look: look) for key, look in looks.items()]
    ordered = priorities(images, segmenter=segmenter)
    assert {key for key, _ in ordered} == set(looks)
    assert [score for _, score in ordered] == [0.0, 1.0]


def test_what_was_measured_is_not_looked_at_again(segmenter, looks):
    queue = Queue(segmenter)
    measured = [queue.measured(Candidate(key, lambda look=look: look)) for key, look in looks.items()]
    assert all(image.look is None for image in measured)
    again = [queue.measured(Candidate(m.key, None, m.signals, m.feature, m.effort)) for m in measured]
    assert queue.order(again) == queue.order(measured)
    assert queue.order(again[::-1]) == queue.order(measured), "the order of the images must not matter"


def test_the_more_doubtful_image_comes_first():
    images = [Candidate("sure", signals={"entropy": 0.1}), Candidate("doubtful", signals={"entropy": 0.6})]
    assert Queue(ClassicalSegmenter(), "entropy").order(images) == [("doubtful", 0.0), ("sure", 1.0)]


def test_families_without_a_thinned_decoder_are_ordered_too():
    assert stochastic_decoder(ClassicalSegmenter()) is None
    assert set(Queue(ClassicalSegmenter(), classes=3).signals) == {"disagreement", "predicted-iou", "class-entropy"}


def test_an_image_of_which_nothing_is_known_is_named(segmenter):
    with pytest.raises(InvalidInput, match="lost"):
        priorities([Candidate("lost")], segmenter=segmenter, function="entropy")


def test_an_image_without_regions_is_ordered_by_what_it_shows(segmenter):
    empty = Look(ImageEmbedding({"a": np.ones((2, 4, 4), np.float32)}, (32, 32), (32, 32), "tiny-0"))
    images = [Candidate(name, lambda: empty) for name in "ab"]
    assert [key for key, _ in priorities(images, segmenter=segmenter)] == ["a", "b"]
