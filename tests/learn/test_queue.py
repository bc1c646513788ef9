"""A project's queue: what is measured, and the order that comes of it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import Candidate, Look
from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.queue import SLACK, Queue, joined, look_at, moved, priorities, stochastic_decoder
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


def test_images_that_are_labelled_together_are_as_urgent_as_the_most_doubtful_one():
    pages = [
        Candidate("1/0", signals={"entropy": 0.2, "bald": np.nan}, feature=np.ones(3), effort=Effort(1, 0.9, 0.1)),
        Candidate("1/1", signals={"entropy": 0.6, "bald": np.nan}, feature=np.zeros(3), effort=Effort(3, 0.5, 0.5)),
    ]
    task = joined("1", pages)
    assert task.key == "1"
    assert task.signals == {"entropy": 0.6}
    assert task.effort.regions == 4
    assert task.effort.predicted_iou == pytest.approx(0.6)
    assert task.feature == pytest.approx(np.full(3, 0.5))


@given(
    stored=st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=30),
    seed=st.randoms(use_true_random=False),
    head=st.integers(1, 8),
)
def test_what_is_next_stands_exactly_right_after_few_changes(stored, seed, head):
    keys = sorted(stored)
    seed.shuffle(keys)
    wanted = {key: place / max(len(keys) - 1, 1) for place, key in enumerate(keys)}
    changed = moved(stored, wanted, head)
    after = stored | {key: wanted[key] for key in changed}
    assert sorted(after, key=lambda key: (after[key], key))[:head] == keys[:head]
    assert all(abs(after[key] - wanted[key]) <= SLACK for key in keys)


def test_a_queue_from_which_the_first_was_taken_hardly_changes():
    stored = {f"{n:04d}": n / 1000 for n in range(1001)}
    wanted = {key: n / 999 for n, key in enumerate(list(stored)[1:])}
    assert len(moved(stored, wanted, 20)) <= 21
