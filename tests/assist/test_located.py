from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskwright.assist.located import support
from maskwright.assist.preannotate import PreannotationOptions, preannotate
from maskwright.images import Image, load_image
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.protocols import Evidence
from maskwright.models.region_classifier import TagRegionClassifier
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.tagger import ImageNetTagger

LABELS = LabelSet(
    (
        LabelClass("cat"),
        LabelClass("cup", ("cup", "espresso")),
        LabelClass("person"),
        LabelClass("rocket", ("rocket", "missile")),
        LabelClass("motorcycle", ("motorcycle", "moped")),
    )
)


@pytest.fixture(scope="module")
def look():
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    segmenter, classifier = ClassicalSegmenter(), TagRegionClassifier(ImageNetTagger(), SentenceEncoder())

    def of(name: str):
        image = load_image(folder / name)
        encode = lambda w: segmenter.encode([image.pixels[w[1] : w[3], w[0] : w[2]]])[0]  # noqa: E731
        return preannotate(
            image, LABELS, PreannotationOptions(), segmenter=segmenter, encode=encode, classifier=classifier,
            model_version="test",
        )  # fmt: skip

    return of


@pytest.mark.parametrize(
    ("name", "label", "box", "least"),
    [
        ("chelsea.png", "cat", (0, 0, 375, 300), 0.6),
        ("coffee.png", "cup", (163, 14, 450, 240), 0.5),
        ("astronaut.png", "person", (0, 8, 370, 511), 0.6),
        ("rocket.jpg", "rocket", (303, 122, 341, 392), 0.6),
        ("motorcycle_left.png", "motorcycle", (110, 135, 645, 380), 0.7),
    ],
)
def test_the_whole_object_of_a_photograph_is_found_with_its_class(look, name, label, box, least):
    regions = [region for region in look(name).regions if region.label == label]
    assert regions, "nothing found"
    best = max(regions, key=lambda region: Mask.from_box(region.mask.box, region.mask.size).iou(
        Mask.from_box(box, region.mask.size)))  # fmt: skip
    size = best.mask.size
    assert Mask.from_box(best.mask.box, size).iou(Mask.from_box(box, size)) >= least
    assert 0.28 <= best.score <= 1
    assert sum(best.class_scores.values()) <= 1.0001


def test_the_sky_around_a_rocket_is_no_rocket(look):
    assert all(not region.mask.contains(120, 100) for region in look("rocket.jpg").regions)


def test_a_region_mostly_beyond_the_evidence_loses_its_support():
    maps = np.zeros((60, 96, 1), dtype=np.float32)
    maps[20:40, 40:60] = 1.0
    size = (120, 192)
    on_it = Mask.from_box((80, 40, 120, 80), size)
    around_it = Mask.from_box((0, 0, 192, 120), size)
    small = Mask.from_box((0, 0, 8, 8), size)
    masks = [on_it, around_it, small]
    evidence = Evidence(maps, np.zeros((0, 4), np.float32), np.zeros((0, 1), np.float32))
    assert support(evidence, masks)[:, 0] == pytest.approx([1.0, 400 / 5760 / 0.75, 1.0])
    learnt = replace(evidence, learnt=np.array([True]))
    assert (support(learnt, masks) == 1).all(), "its word need not mean what people have shown"


def test_an_image_too_small_to_show_anything_gets_an_answer():
    segmenter, classifier = ClassicalSegmenter(), TagRegionClassifier(ImageNetTagger(), SentenceEncoder())
    for shape in ((1, 1, 3), (2, 40, 3), (33, 3, 3)):
        image = Image(np.full(shape, 90, dtype=np.uint8), "0" * 64, "0" * 64)
        answer = preannotate(
            image, LABELS, PreannotationOptions(min_area=1), segmenter=segmenter,
            encode=lambda w, image=image: segmenter.encode([image.pixels[w[1] : w[3], w[0] : w[2]]])[0],
            classifier=classifier, model_version="test",
        )  # fmt: skip
        assert 0 <= answer.score <= 1
