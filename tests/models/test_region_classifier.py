from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.region_classifier import BACKGROUND, TagRegionClassifier, beyond_chance, crops
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.tagger import ImageNetTagger

LABELS = ["cat", "cup", "person", "motorcycle", "dog", "car", "building"]


@pytest.fixture(scope="module")
def classifier() -> TagRegionClassifier:
    return TagRegionClassifier(ImageNetTagger(), SentenceEncoder())


@pytest.fixture(scope="module")
def photograph():
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"

    def of(name: str, box: tuple[float, float, float, float]):
        pixels = np.asarray(Image.open(folder / name).convert("RGB"))
        x1, y1, x2, y2 = box
        mask = Mask.from_ellipse((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2, 0.0, pixels.shape[:2])
        return pixels, mask

    return of


@pytest.mark.parametrize(
    ("name", "box", "label"),
    [
        ("chelsea.png", (80, 20, 340, 300), "cat"),
        ("coffee.png", (150, 30, 450, 330), "cup"),
        ("motorcycle_left.png", (60, 60, 680, 480), "motorcycle"),
    ],
)
def test_a_region_of_a_photograph_gets_its_class(classifier, photograph, name, box, label):
    image, mask = photograph(name, box)
    row = classifier.classify(image, [mask], [[word] for word in LABELS])[0]
    assert LABELS[int(row.argmax())] == label
    assert row.max() > 0.3
    assert row.sum() <= 1.0001


def test_a_class_in_another_language_is_found_by_its_aliases(classifier, photograph):
    image, mask = photograph("chelsea.png", (80, 20, 340, 300))
    row = classifier.classify(image, [mask], [["dog"], ["feline", "kitty"], ["vehicle"]])[0]
    assert row.argmax() == 1


def test_what_is_none_of_the_classes_is_said_to_be_none(classifier, photograph):
    image, mask = photograph("chelsea.png", (80, 20, 340, 300))
    row = classifier.classify(image, [mask], [["building"], ["screwdriver"]])[0]
    assert row.sum() < 0.2


def test_clothes_speak_for_the_person_in_them(classifier):
    votes = classifier.votes([["person"], ["car"]])
    from maskwright.models.imagenet_words import vocabulary

    tags = vocabulary().tags
    for garment in ("suit", "jersey", "military uniform"):
        assert votes[tags.index(garment)].argmax() == 0
        assert votes[tags.index(garment), 0] > 0.5


def test_a_label_set_of_one_class_loads_nothing():
    tagger, encoder = ImageNetTagger(), SentenceEncoder()
    alone = TagRegionClassifier(tagger, encoder)
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    masks = [Mask.full((20, 30)), Mask.empty((20, 30))]
    assert alone.classify(image, masks, [["nucleus"]]).tolist() == [[1.0], [1.0]]
    assert not tagger.is_loaded
    assert not encoder.is_loaded


def test_odd_masks_get_an_answer(classifier):
    size = (40, 50)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    masks = [
        Mask.full(size),
        Mask.empty(size),
        Mask.from_box((49, 39, 50, 40), size),
        Mask.from_box((0, 5, 50, 6), size),
    ]
    rows = classifier.classify(image, masks, [["cat"], ["dog"]])
    assert rows.shape == (4, 2)
    assert np.isfinite(rows).all()
    assert rows[1].tolist() == [0, 0]
    assert classifier.classify(image, [], [["cat"], ["dog"]]).shape == (0, 2)
    assert classifier.classify(image, masks, []).shape == (4, 0)


def test_wrong_sizes_and_wordless_classes_are_refused(classifier):
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(InvalidInput, match="does not fit"):
        classifier.classify(image, [Mask.full((30, 20))], [["cat"], ["dog"]])
    with pytest.raises(InvalidInput, match="without words"):
        classifier.classify(image, [Mask.full((20, 30))], [["cat"], []])


def test_crops_are_square_centred_and_grey_outside():
    image = np.full((100, 200, 3), 7, dtype=np.uint8)
    mask = Mask.from_box((0, 40, 10, 60), (100, 200))
    plain, alone = crops(image, mask)
    assert plain.shape == alone.shape == (20, 20, 3)
    assert (plain[:, :5] == BACKGROUND).all()  # left of the image
    assert (plain[:, 5:] == 7).all()
    assert (alone[:, 5:15] == 7).all()
    assert (alone[:, 15:] == BACKGROUND).all()


@pytest.mark.parametrize(
    ("name", "label", "place"),
    [("chelsea.png", "cat", (0.45, 0.5)), ("coffee.png", "cup", (0.5, 0.3)), ("rocket.jpg", "rocket", (0.5, 0.6))],
)
def test_the_map_of_a_class_is_brightest_about_its_object(classifier, photograph, name, label, place):
    image, _ = photograph(name, (10, 10, 20, 20))
    labels = [*LABELS, "rocket"]
    plane = classifier.locate(image, [[word] for word in labels]).maps[..., labels.index(label)]
    assert plane.max() > 0.3
    y, x = np.unravel_index(plane.argmax(), plane.shape)
    assert abs(x / plane.shape[1] - place[0]) < 0.25
    assert abs(y / plane.shape[0] - place[1]) < 0.35


def test_faces_are_looked_for_only_where_a_class_means_people(classifier, photograph):
    image, _ = photograph("astronaut.png", (10, 10, 20, 20))
    seen = classifier.locate(image, [["car"], ["woman"]])
    assert seen.heads.shape == (1, 4)
    assert seen.head_classes[0].argmax() == 1
    assert classifier.locate(image, [["car"], ["building"]]).heads.shape == (0, 4)


def test_a_tagger_at_a_loss_speaks_for_no_class_however_wide(classifier):
    votes = classifier.votes([["animal"], ["coin"]])
    at_a_loss = np.full((1, 1000), 1e-3, dtype=np.float32) @ votes
    assert at_a_loss[0, 0] > 0.3
    assert beyond_chance(at_a_loss, votes) == pytest.approx(np.zeros((1, 2)), abs=1e-5)
    assert beyond_chance(np.ones((1, 2), dtype=np.float32), votes) == pytest.approx(np.ones((1, 2)))
