"""Regions classified by the dense features that they cover, classes by their names alone."""

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.dense.langseg import LangSeg, LangSegOptions
from maskwright.models.dense.pooling import segment
from maskwright.models.dense.region_classes import shown_where

NAMES = LangSegOptions(levels=(1,), ensemble="names")
WORDS = {"cat": 0, "kitten": 0, "road": 1, "background": 2, "something else": 3}


class Planted:
    """The left half of every image shows a cat, the right half a road, the last row neither."""

    name, version = "planted", "planted-1"

    def __init__(self):
        self.looks = 0

    def features(self, image):
        self.looks += 1
        labels = np.zeros((5, 8), dtype=int)
        labels[:, 4:], labels[4] = 1, 2
        return np.eye(4, dtype=np.float32)[labels]

    def text(self, phrases):
        return np.eye(4, dtype=np.float32)[[WORDS[phrase] for phrase in phrases]]


class Shown(Planted):
    def maps(self, image, phrases):
        return (self.features(image) @ self.text(phrases).T).astype(np.float32)


IMAGE = np.zeros((50, 80, 3), dtype=np.uint8)
LEFT, RIGHT, LAST = (Mask.from_box(box, (50, 80)) for box in ((5, 5, 30, 35), (45, 5, 75, 35), (5, 41, 75, 50)))
PHRASES = [["road"], ["kitten", "cat"]]


def test_each_region_gets_the_class_of_what_it_covers_and_none_is_an_answer():
    dense = Planted()
    found = LangSeg(dense, options=NAMES).classify(IMAGE, [LEFT, RIGHT, LAST], PHRASES)
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [0, 0]], atol=1e-6)
    assert dense.looks == 1


def test_models_that_answer_with_maps_are_asked_for_maps():
    found = LangSeg(Shown(), options=NAMES).classify(IMAGE, [LEFT, RIGHT, LAST], PHRASES)
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [0, 0]], atol=1e-6)


def test_no_region_and_no_class_are_no_error():
    classifier = LangSeg(Planted(), options=NAMES)
    assert classifier.classify(IMAGE, [], PHRASES).shape == (0, 2)
    assert classifier.classify(IMAGE, [LEFT], []).shape == (1, 0)


def test_a_class_without_words_is_refused():
    with pytest.raises(InvalidInput, match="class 2 has no words"):
        shown_where(Planted(), IMAGE, [["cat"], []])


def test_semantic_instance_and_panoptic_results_of_one_look():
    dense = Planted()
    maps = LangSeg(dense, options=NAMES).maps(IMAGE, PHRASES)
    found = segment(maps, [LEFT], (50, 80), countable=[False, True], least=0.5)
    assert dense.looks == 1
    assert [(part.label, part.mask) for part in found.instances] == [(1, LEFT)]
    assert [part.label for part in found.panoptic] == [1, 0]
    cat, road = sorted(found.semantic, key=lambda part: -part.label)
    assert (cat.label, cat.mask, road.label) == (1, LEFT, 0)
    assert RIGHT.difference(road.mask).is_empty
    assert road.mask.intersection_area(Mask.from_box((0, 46, 80, 50), (50, 80))) == 0


def test_a_real_network_classifies_regions_from_a_saved_checkpoint(stages, clip_folder, picture):
    classifier = LangSeg(stages.dense(f"maskclip:{clip_folder}"), options=NAMES)
    image, phrases = picture(60, 80), [["cat"], ["road", "street"], ["tree"]]
    masks = [Mask.from_box((0, 0, 40, 30), (60, 80)), Mask.from_box((10, 20, 80, 60), (60, 80)), Mask.empty((60, 80))]
    found = classifier.classify(image, masks, phrases)
    assert found.shape == (3, 3)
    assert found[2].tolist() == [0, 0, 0]
    assert (found[:2].sum(axis=1) <= 1 + 1e-6).all()
    np.testing.assert_allclose(found[:1], classifier.classify(image, masks[:1], phrases), atol=1e-6)
