from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.learning_classifier import LearningRegionClassifier, made_for
from maskwright.models.protocols import Locator, RegionClassifier
from maskwright.models.region_classifier import TagRegionClassifier
from maskwright.models.region_features import DIMENSIONS, RegionFeatures, coverage
from maskwright.models.region_head import NONE, RegionHead
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.tagger import ImageNetTagger

NAMES = ("scale", "husk", "pith")


def planted(per_class, classes=3, seed=0, spread=0.3, width=24):
    """Features in clusters of their own, what they are, and zero-shot probabilities that know nothing."""
    rng = np.random.default_rng(seed)
    indices = np.repeat(np.arange(classes), per_class)
    rows = np.eye(classes, width)[indices] + rng.normal(0, spread / np.sqrt(width), (len(indices), width))
    features = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return features, indices, np.full((len(indices), classes), 0.2, dtype=np.float32)


def learnt(features, indices, prior, classes=NAMES):
    return RegionHead.fit(features, indices, prior, classes=classes, made_for="tests")


def test_clusters_that_were_shown_are_told_apart_without_a_mistake():
    head = learnt(*planted(10))
    features, indices, prior = planted(100, seed=1)
    answers = head.probabilities(features, prior)
    assert (answers.argmax(axis=1) == indices).all()
    assert answers.min() >= 0
    assert answers.sum(axis=1).max() <= 1.0001


def test_the_same_corrections_give_the_same_head():
    first, second = learnt(*planted(10)), learnt(*planted(10))
    assert first.version == second.version
    assert first.version != learnt(*planted(10, seed=1)).version


def test_without_examples_the_zero_shot_answer_stands():
    prior = np.array([[0.7, 0.1, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    head = learnt(np.zeros((0, 24), np.float32), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    assert head.probabilities(np.ones((2, 24), np.float32), prior) == pytest.approx(prior, abs=1e-6)


def test_a_class_without_examples_keeps_exactly_its_zero_shot_probability():
    features, indices, prior = planted(10)
    seen = indices != 2
    head = learnt(features[seen], indices[seen], prior[seen])
    rng = np.random.default_rng(0)
    priors = rng.dirichlet(np.ones(4), len(features)).astype(np.float32)[:, :3]
    answers = head.probabilities(features, priors)
    assert answers[:, 2] == pytest.approx(priors[:, 2], abs=1e-7)
    assert answers.sum(axis=1).max() <= 1.0001


def test_one_example_already_draws_what_looks_like_it_and_leaves_the_rest_alone():
    features, indices, prior = planted(20)
    head = learnt(features[:1], indices[:1], prior[:1])
    answers = head.probabilities(features, prior)[:, 0]
    assert answers[indices == 0].min() > answers[indices != 0].max()
    assert answers[indices == 0].mean() > prior[0, 0] + 0.1


def test_many_examples_outweigh_a_zero_shot_answer_that_is_wrong():
    features, indices, _ = planted(50)
    wrong = np.full((len(indices), 3), 0.02, dtype=np.float32)
    wrong[np.arange(len(indices)), (indices + 1) % 3] = 0.9
    answers = learnt(features, indices, wrong).probabilities(features, wrong)
    assert (answers.argmax(axis=1) == indices).all()


def test_a_rare_class_is_not_drowned_by_a_common_one():
    features, indices, prior = planted(300)
    kept = np.concatenate([np.flatnonzero(indices == 0), np.flatnonzero(indices == 1)[:2]])
    head = learnt(features[kept], indices[kept], prior[kept])
    unseen, truth, zero = planted(50, seed=3)
    answers = head.probabilities(unseen, zero)
    assert (answers[truth == 1].argmax(axis=1) == 1).all()
    assert (answers[truth == 0].argmax(axis=1) == 0).all()


def test_deleted_regions_teach_that_what_looks_like_them_is_none_of_the_classes():
    features, indices, prior = planted(20)
    indices = np.where(indices == 2, NONE, indices)
    answers = learnt(features, indices, prior).probabilities(features, prior)
    assert answers[indices == NONE].sum(axis=1).max() < 0.3
    assert answers[indices != NONE].max(axis=1).min() > 0.5


def test_classes_are_added_removed_and_reordered_by_name():
    features, indices, prior = planted(20)
    head = learnt(features, indices, prior)
    other = head.for_classes(["pith", "new", "husk", "scale"])
    assert other.counts.tolist() == [20, 0, 20, 20, 0]
    priors = np.full((len(indices), 4), 0.15, dtype=np.float32)
    answers = other.probabilities(features, priors)
    assert (answers.argmax(axis=1) == np.array([3, 2, 0])[indices]).all()
    assert answers[:, 1] == pytest.approx(priors[:, 1])
    fewer = head.for_classes(["husk"])
    husks = fewer.probabilities(features, prior[:, :1])[:, 0]
    assert husks[indices == 1].min() > husks[indices != 1].max()
    assert head.for_classes(NAMES).version == head.version


def test_a_saved_head_answers_the_same_when_it_is_read_again(tmp_path):
    features, indices, prior = planted(5)
    head = learnt(features, indices, prior)
    head.save(tmp_path / "head.safetensors")
    again = RegionHead.load(tmp_path / "head.safetensors")
    assert again.version == head.version
    assert again.made_for == "tests"
    assert (again.probabilities(features, prior) == head.probabilities(features, prior)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "class", "text", "missing"])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "head.safetensors"
    learnt(*planted(5)).save(path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "cut": content[:-7],
                "flipped": content[:-7] + bytes([content[-7] ^ 4]) + content[-6:],
                "class": content.replace(b"husk", b"dusk"),
                "text": b"not a file of tensors",
            }[damage]
        )
    with pytest.raises(ModelUnavailable, match=r"head\.safetensors is (damaged|missing)") as refusal:
        RegionHead.load(path)
    assert str(tmp_path) not in str(refusal.value)


def test_what_does_not_fit_is_refused():
    features, indices, prior = planted(5)
    with pytest.raises(InvalidInput, match="do not fit"):
        learnt(features, indices, prior[:, :2])
    with pytest.raises(InvalidInput, match="outside"):
        learnt(features, indices + 1, prior)
    with pytest.raises(InvalidInput, match="not finite"):
        learnt(features * np.nan, indices, prior)
    with pytest.raises(InvalidInput, match="once"):
        learnt(features, indices, prior, classes=("a", "a", "b"))
    with pytest.raises(InvalidInput, match="24 features"):
        learnt(features, indices, prior).probabilities(features[:, :9], prior)


@pytest.mark.slow
def test_ten_thousand_examples_are_learnt_in_seconds():
    features, indices, prior = planted(1000, classes=10, spread=4.0, width=DIMENSIONS)
    start = time.perf_counter()
    learnt(features, indices, prior, classes=[str(index) for index in range(10)])
    assert time.perf_counter() - start < 60  # about 5 s on a quiet core


# --- on real pixels ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tagger():
    return ImageNetTagger()


@pytest.fixture(scope="module")
def base(tagger):
    return TagRegionClassifier(tagger, SentenceEncoder())


@pytest.fixture(scope="module")
def features(tagger):
    return RegionFeatures(tagger)


SURFACES = ("brick.png", "grass.png", "gravel.png")
WORDS = [["masonry"], ["turf"], ["pebbles"]]


@pytest.fixture(scope="module")
def surfaces(base, features):
    """Ellipses on patches of photographed surfaces: features, classes and zero-shot answers; 24 a class."""
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    rng = np.random.default_rng(0)
    vectors, indices, priors = [], [], []
    for _ in range(6):
        # One picture shows all surfaces side by side, dimmed and shifted at random.
        pieces = []
        for name in SURFACES:
            pixels = np.asarray(Image.open(folder / name).convert("RGB"))
            y, x = rng.integers(0, 512 - 160, 2)
            pieces.append(pixels[y : y + 160, x : x + 160] * rng.uniform(0.5, 1.0))
        image = np.concatenate(pieces, axis=1).astype(np.uint8)
        masks, truth = [], []
        for index in range(len(SURFACES)):
            for _ in range(4):
                cx, cy = rng.uniform(50, 110, 2)
                rx, ry = rng.uniform(15, 45, 2)
                masks.append(Mask.from_ellipse(index * 160 + cx, cy, rx, ry, 0.0, image.shape[:2]))
                truth.append(index)
        vectors.append(features.describe(image, masks))
        priors.append(base.classify(image, masks, WORDS))
        indices += truth
    return np.concatenate(vectors), np.array(indices), np.concatenate(priors)


def test_more_corrections_make_better_classes_on_photographed_surfaces(surfaces):
    vectors, indices, prior = surfaces
    learn, unseen = np.arange(len(indices)) < 36, np.arange(len(indices)) >= 36
    accuracies = [(prior[unseen].argmax(axis=1) == indices[unseen]).mean()]
    for count in (1, 3, 10):
        chosen = np.concatenate([np.flatnonzero(learn & (indices == c))[:count] for c in range(3)])
        head = learnt(vectors[chosen], indices[chosen], prior[chosen])
        answers = head.probabilities(vectors[unseen], prior[unseen])
        accuracies.append((answers.argmax(axis=1) == indices[unseen]).mean())
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] > max(0.9, accuracies[0] + 0.1)


def test_regions_of_one_image_are_described_the_same_alone_and_together(features, picture):
    image = picture(90, 120)
    masks = [
        Mask.from_box((10, 10, 60, 50), (90, 120)),
        Mask.empty((90, 120)),
        Mask.full((90, 120)),
        Mask.from_box((119, 89, 120, 90), (90, 120)),
    ]
    together = features.describe(image, masks)
    assert together.shape == (4, DIMENSIONS)
    assert np.isfinite(together).all()
    assert not together[1].any()
    alone = np.concatenate([features.describe(image, [mask]) for mask in masks])
    assert together == pytest.approx(alone, abs=1e-4)
    assert features.describe(image, []).shape == (0, DIMENSIONS)
    with pytest.raises(InvalidInput, match="does not fit"):
        features.describe(image, [Mask.full((120, 90))])


def test_places_count_by_the_share_that_a_mask_covers():
    shares = coverage([Mask.from_box((0, 0, 30, 20), (40, 40)), Mask.empty((40, 40))], (2, 2))
    assert shares[0] == pytest.approx(np.array([[2 / 3, 1 / 3], [0, 0]]))
    assert not shares[1].any()


def test_without_a_head_nothing_changes(base, features, picture):
    image = picture(60, 80)
    masks = [Mask.from_box((5, 5, 40, 40), (60, 80)), Mask.full((60, 80))]
    classifier = LearningRegionClassifier(base, features)
    assert isinstance(classifier, Locator)
    protocol: RegionClassifier = classifier
    assert protocol.version == base.version
    phrases = [["cat"], ["dog"]]
    assert (protocol.classify(image, masks, phrases) == base.classify(image, masks, phrases)).all()
    assert (classifier.locate(image, phrases).maps == base.locate(image, phrases).maps).all()


def test_a_head_moves_the_classes_that_it_has_seen_and_no_other_words(base, features, picture):
    image, size = picture(60, 80), (60, 80)
    masks = [Mask.from_box((5, 5, 40, 40), size), Mask.from_box((45, 5, 75, 50), size), Mask.empty(size)]
    labels = LabelSet((LabelClass("Katze", ("cat",)), LabelClass("Hund", ("dog",))))
    phrases = [item.phrases for item in labels]
    vectors, prior = features.describe(image, masks[:2]), base.classify(image, masks[:2], phrases)
    head = RegionHead.fit(vectors, [1, 0], prior, classes=labels.names, made_for=made_for(base, features))
    classifier = LearningRegionClassifier(base, features, labels, head)
    assert classifier.version != base.version
    answers = classifier.classify(image, masks, phrases)
    assert answers[:2].argmax(axis=1).tolist() == [1, 0]
    assert not answers[2].any()
    assert classifier.classify(image, masks, phrases[::-1]) == pytest.approx(answers[:, ::-1], abs=1e-5)
    strange = [["teapot"], ["cup"]]
    assert (classifier.classify(image, masks, strange) == base.classify(image, masks, strange)).all()
    assert classifier.classify(image, masks, phrases[:1]).tolist() == [[1.0], [1.0], [1.0]]


def test_a_head_made_beside_another_tagger_is_refused(base, features):
    with pytest.raises(ModelUnavailable, match="another version"):
        LearningRegionClassifier(base, features, LabelSet.of(NAMES), learnt(*planted(2)))
