"""What people called regions, and what they deleted, teaches a class head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.errors import Cancelled
from maskwright.labels import LabelClass, LabelSet
from maskwright.learn.class_training import described_weights, fit_class_head
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.masks import Mask
from maskwright.models.learning_classifier import LearningRegionClassifier, tag_classifier
from maskwright.models.region_head import RegionHead

SURFACES = ("brick.png", "grass.png", "gravel.png")
LABELS = LabelSet.of(["masonry", "turf", "pebbles"])
SIDE = 120


@pytest.fixture(scope="module")
def pair():
    return tag_classifier()


@pytest.fixture(scope="module")
def folder():
    return Path(pytest.importorskip("skimage").__file__).parent / "data"


@pytest.fixture(scope="module")
def make_image(folder):
    """All surfaces side by side, dimmed and shifted at random, with one ellipse on each."""

    def make(seed: int, labels=LABELS.names, deleted: tuple[int, ...] = ()) -> TrainingImage:
        rng = np.random.default_rng(seed)
        pieces = []
        for name in SURFACES:
            pixels = np.asarray(Image.open(folder / name).convert("RGB"))
            y, x = rng.integers(0, 512 - SIDE, 2)
            pieces.append(pixels[y : y + SIDE, x : x + SIDE] * rng.uniform(0.5, 1.0))
        pixels = np.concatenate(pieces, axis=1).astype(np.uint8)
        masks = [Mask.from_ellipse(i * SIDE + 60, 60, 40, 35, 0.0, pixels.shape[:2]) for i in range(3)]
        objects = tuple(TrainingObject(m, labels[i]) for i, m in enumerate(masks) if i not in deleted)
        return TrainingImage(f"{seed:064x}", lambda: pixels, objects, tuple(masks[i] for i in deleted))

    return make


def answers(head, pair, image, labels):
    masks = [item.mask for item in image.objects]
    learnt = LearningRegionClassifier(*pair, labels, head)
    return learnt.classify(image.pixels(), masks, [item.phrases for item in labels])


def test_classes_of_a_few_corrected_images_are_told_apart_on_the_next_one(pair, make_image):
    head = fit_class_head([make_image(seed) for seed in range(3)], LABELS, *pair)
    assert head.counts.tolist() == [3, 3, 3, 0]
    assert answers(head, pair, make_image(9), LABELS).argmax(axis=1).tolist() == [0, 1, 2]


def test_one_who_waits_is_told_of_every_image_that_is_done(pair, make_image):
    told = []
    fit_class_head(
        [make_image(seed) for seed in range(3)], LABELS, *pair, progress=lambda done, of: told.append((done, of))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_same_corrections_in_any_order_give_the_same_head(pair, make_image):
    images = [make_image(seed) for seed in range(2)]
    first, second = fit_class_head(images, LABELS, *pair), fit_class_head(iter(images[::-1]), LABELS, *pair)
    assert first.version == second.version


def test_a_deleted_proposal_teaches_what_is_none_of_the_classes_even_of_one_class(pair, make_image):
    labels = LabelSet.of(["turf"])
    images = [make_image(seed, ("", "turf", ""), deleted=(0, 2)) for seed in range(3)]
    head = fit_class_head(images, labels, *pair)
    assert head.counts.tolist() == [3, 6]
    masonry, turf, pebbles = answers(head, pair, make_image(9), labels)[:, 0]
    assert turf > 0.5 > max(masonry, pebbles)


def test_of_more_regions_than_the_bound_a_lot_decides_the_same_way_each_time(pair, make_image):
    read = []

    def counted(image):
        return TrainingImage(image.key, lambda: read.append(image.key) or image.pixels(), image.objects)

    images = [counted(make_image(seed)) for seed in range(4)]
    heads = [fit_class_head(images, LABELS, *pair, most_per_class=1, seed=seed) for seed in (0, 0)]
    assert heads[0].counts.tolist() == [1, 1, 1, 0]
    assert heads[0].version == heads[1].version
    assert len(read) == len(set(read)) * 2, "an image is read once, and one that is not needed is not read"


def test_without_anything_to_learn_there_is_no_head_and_no_image_is_read(pair, make_image):
    def untouched():
        raise AssertionError("was read")

    mask = Mask.from_box((1, 1, 5, 5), (8, 8))
    of_one_class = TrainingImage("a" * 64, untouched, (TrainingObject(mask, "turf"),))
    of_others = TrainingImage("b" * 64, untouched, (TrainingObject(mask, "car"), TrainingObject(mask)))
    assert fit_class_head([], LABELS, *pair) is None
    assert fit_class_head([of_one_class], LabelSet.of(["turf"]), *pair) is None
    assert fit_class_head([of_others], LABELS, *pair) is None


def test_it_stops_when_it_is_told_to(pair, make_image):
    with pytest.raises(Cancelled):
        fit_class_head([make_image(0)], LABELS, *pair, cancelled=lambda: True)


def test_without_descriptors_nothing_guides(pair):
    assert described_weights(LABELS, *pair) is None


@pytest.mark.parametrize("examples", [0, 1, 2])
def test_a_class_with_few_examples_gains_from_what_its_descriptors_say(pair, folder, make_image, examples):
    """Its name says nothing, so that only its examples and its descriptors can."""
    names = ("c1", "c2", "c3", "c4")
    plain = LabelSet.of(names)
    cat = LabelClass("c4", descriptors=("a tabby cat with whiskers and fur", "a kitten"))
    guided = LabelSet((*plain.classes[:3], cat))
    pixels = np.asarray(Image.open(folder / "chelsea.png").convert("RGB"))
    face = Mask.from_ellipse(225, 130, 130, 110, 0.0, pixels.shape[:2])
    parts = [Mask.from_ellipse(x, y, 14, 14, 0.0, pixels.shape[:2]) for x, y in ((60, 250), (400, 200))]
    shown = tuple(TrainingObject(part, "c4") for part in parts[:examples])
    cats = TrainingImage("c" * 64, lambda: pixels[:, ::-1].copy(), shown)
    images = [*(make_image(seed, names[:3]) for seed in range(2)), cats]
    unseen = TrainingImage("d" * 64, lambda: pixels, (TrainingObject(face, "c4"),))
    without = answers(fit_class_head(images, plain, *pair), pair, unseen, plain)[0]
    guidance = answers(fit_class_head(images, guided, *pair), pair, unseen, guided)[0]
    assert guidance[3] > without[3] + 0.05
    assert guidance.argmax() == 3
    others = make_image(9, names[:3])
    assert answers(fit_class_head(images, guided, *pair), pair, others, guided).argmax(axis=1).tolist() == [0, 1, 2]


def test_examples_outweigh_descriptors_that_are_wrong():
    rng = np.random.default_rng(0)
    indices = np.repeat([0, 1], 50)
    features = (np.eye(2, 16)[indices] + rng.normal(0, 0.05, (100, 16))).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    wrong = np.eye(16, 2, dtype=np.float32)[:, ::-1] * 8
    prior = np.full((100, 2), 0.3, np.float32)
    head = RegionHead.fit(features, indices, prior, classes=("a", "b"), made_for="tests", described=wrong.copy())
    assert (head.probabilities(features, prior).argmax(axis=1) == indices).all()
