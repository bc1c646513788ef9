"""What looks like an outlined object is found, and nothing else; outlines that teach little are told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskwright.assist.feature_matching import MOST_OTHERS, MOST_WANTED, Example, learn
from maskwright.assist.fewshot import FewShotOptions, Support, find_similar, learn_supports
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.masks import Mask
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.region_features import RegionFeatures
from maskwright.models.tagger import ImageNetTagger

SIZE = (160, 240)
CELL = 8
KINDS = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0.95, 0.3122499, 0, 0], [0, 1, 0, 0]], dtype=np.float32)
"""What a cell of each kind looks like: ground, the wanted thing, something much like it, something else."""


class Planted:
    """Dense features of painted kinds: each cell has the vector of the kind in its middle."""

    name = version = "planted"

    def features(self, image):
        return KINDS[image[CELL // 2 :: CELL, CELL // 2 :: CELL, 1]]

    def text(self, phrases):
        raise InvalidInput("no language")


def scene(*objects, name="a", size=SIZE):
    """A picture of (kind, mask): red is the object's number, as the segmenter sees it, green its kind."""
    pixels = np.zeros((*size, 3), np.uint8)
    for number, (kind, mask) in enumerate(objects, start=1):
        pixels[mask.to_array()] = (number, kind, 0)
    return Image(pixels, name * 64, name * 64)


def box(x, y, width=40, height=48, size=SIZE):
    return Mask.from_box((x, y, x + width, y + height), size)


ONE, TWO, THREE = box(16, 16), box(160, 80), box(80, 96)


@pytest.fixture
def search(oracle):
    def run(image, *supports, **options):
        learnt = learn_supports(supports, dense=Planted())
        embedding = oracle.encode([image.pixels])[0]
        return find_similar(
            image, learnt, segmenter=oracle, encode=lambda window: embedding, dense=Planted(), **options
        )

    return run


def test_the_second_of_two_identical_objects_is_found_in_the_same_picture(search):
    image = scene((1, ONE), (1, TWO), (3, THREE))
    found = search(image, Support(image, (ONE,)), label="bolt", model_version="v1")
    assert [region.mask for region in found.regions] == [TWO]
    (region,) = found.regions
    assert (region.label, region.provenance.model_version) == ("bolt", "v1")
    assert region.score > 0.9
    assert not found.warnings


def test_all_likes_are_found_in_another_picture(search):
    here = scene((1, ONE), (3, THREE))
    there = scene((1, TWO), (3, ONE), (1, box(88, 8)), (1, box(24, 100)), name="b")
    found = search(there, Support(here, (ONE,)))
    assert {region.mask for region in found.regions} == {TWO, box(88, 8), box(24, 100)}


def test_likes_that_touch_are_found_one_by_one(search):
    here = scene((1, ONE))
    pair = (box(80, 40), box(120, 40))
    there = scene(*((1, mask) for mask in pair), name="b")
    found = search(there, Support(here, (ONE,)))
    assert {region.mask for region in found.regions} == set(pair)


def test_nothing_is_found_where_nothing_is_alike(search):
    here, there = scene((1, ONE)), scene((3, TWO), name="b")
    assert not search(there, Support(here, (ONE,))).regions
    assert not search(here, Support(here, (ONE,))).regions


def test_what_is_not_wanted_is_left_out_here_and_elsewhere(search):
    here = scene((1, ONE), (2, THREE))
    there = scene((1, TWO), (2, box(24, 16)), name="b")
    plain = search(there, Support(here, (ONE,)))
    assert {region.mask for region in plain.regions} == {TWO, box(24, 16)}
    taught = search(there, Support(here, (ONE,), negatives=(THREE,)))
    assert {region.mask for region in taught.regions} == {TWO}
    assert not search(here, Support(here, (ONE,), negatives=(THREE,))).regions


def test_the_order_of_supports_changes_nothing(search):
    first = Support(scene((1, ONE), (3, TWO)), (ONE,))
    second = Support(scene((2, THREE), (3, ONE), name="b"), (THREE,))
    there = scene((1, TWO), (2, box(24, 16)), (3, box(88, 8)), name="c")
    answers = [search(there, *order).regions for order in ((first, second), (second, first))]
    assert len(answers[0]) == 2
    assert [(r.mask, r.score) for r in answers[0]] == [(r.mask, r.score) for r in answers[1]]


def test_no_more_are_given_than_asked_for(search):
    here = scene((1, ONE), (1, TWO), (1, THREE))
    assert len(search(here, Support(here, (ONE,)), options=FewShotOptions(most=1)).regions) == 1


@pytest.mark.parametrize(
    ("mask", "warning"),
    [
        (box(36, 16), "shifted"),
        (Mask.from_box((24, 32, 48, 48), SIZE), "a part"),
        (box(16, 16, 12, 8), "small"),
        (Mask.full(SIZE), "nearly all"),
        (ONE | TWO, "several pieces"),
        (ONE, None),
    ],
    ids=["shifted", "part", "small", "everything", "pieces", "good"],
)
def test_outlines_that_teach_little_are_told(mask, warning):
    image = scene((1, ONE), (1, TWO))
    warnings = learn_supports([Support(image, (mask,))], dense=Planted()).warnings
    if warning is None:
        assert not warnings
    else:
        assert any(warning in told for told in warnings)


def test_unusable_supports_are_refused(search):
    image = scene((1, ONE))
    with pytest.raises(InvalidInput, match="empty"):
        search(image, Support(image, (Mask.empty(SIZE),)))
    with pytest.raises(InvalidInput, match="does not fit"):
        search(image, Support(image, (Mask.full((5, 5)),)))
    with pytest.raises(InvalidInput, match="outlined object"):
        search(image, Support(image, ()))
    with pytest.raises(InvalidInput, match="one of the two"):
        learn_supports([Support(image, (ONE,))])
    with pytest.raises(InvalidInput, match="at most 100"):
        search(image, Support(image, (ONE,)), tile_size=100)


def test_matches_must_hold_both_ways():
    wanted, other, odd = np.eye(3, dtype=np.float32)
    features = np.stack([wanted, other])[None]
    marked = np.array([[True, False]])
    nothing = np.zeros_like(marked)
    likeness = learn([Example(features, marked, nothing, nothing)])
    places = np.stack([odd, other, (wanted + 0.1 * odd) / np.sqrt(1.01)])
    assert likeness.matches(places).tolist() == [2]
    assert likeness.matches(places[1:2]).tolist() == []
    assert likeness.completeness(places) > 0.99
    assert likeness.completeness(places[:0]) == 0


def test_more_places_than_are_remembered_are_sampled_alike_in_any_order():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(180, 180, 4)).astype(np.float32) + np.array([3, 0, 0, 0], np.float32)
    features[:80] -= np.array([6, 0, 0, 0], np.float32)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    wanted = np.zeros((180, 180), bool)
    wanted[:70] = True
    nothing = np.zeros_like(wanted)
    plain = learn([Example(features, wanted, nothing, nothing)])
    turned = learn([Example(features[:, ::-1], wanted, nothing, nothing)])
    assert len(plain.wanted) == MOST_WANTED
    assert len(plain.others) == MOST_OTHERS
    assert np.array_equal(plain.wanted, turned.wanted)
    assert np.array_equal(plain.others, turned.others)
    marked = plain.cells(features)
    assert marked[:80].mean() > 0.9
    assert marked[80:].mean() < 0.1


def drawn_picture(name="a"):
    """Two striped discs, a square, and a triangle on a grey ground; and the masks of the discs and the square."""
    pixels = np.full((240, 320, 3), 120, np.uint8)
    discs = [Mask.from_ellipse(70, 70, 38, 38, 0, (240, 320)), Mask.from_ellipse(230, 160, 38, 38, 0, (240, 320))]
    for disc in discs:
        pixels[disc.to_array()] = (200, 40, 30)
        x0, y0, x1, y1 = (int(v) for v in disc.box)
        inside = disc.to_array()
        for y in range(y0 + 6, y1, 16):
            stripe = np.zeros_like(inside)
            stripe[y : y + 6, x0:x1] = True
            pixels[inside & stripe] = (240, 200, 60)
    square = Mask.from_box((180, 30, 250, 90), (240, 320))
    pixels[square.to_array()] = (30, 60, 180)
    cv2.fillPoly(pixels, [np.array([[40, 220], [100, 150], [140, 225]])], (30, 150, 60))
    noise = np.random.default_rng(0).integers(-6, 7, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return Image(pixels, name * 64, name * 64), discs, square


def test_on_a_fresh_machine_the_second_of_two_drawn_objects_is_found():
    image, discs, square = drawn_picture()
    segmenter, regions = ClassicalSegmenter(), RegionFeatures(ImageNetTagger())
    embedding = segmenter.encode([image.pixels])[0]

    def search(**support):
        learnt = learn_supports([Support(image, **support)], regions=regions)
        return find_similar(image, learnt, segmenter=segmenter, encode=lambda window: embedding, regions=regions)

    found = search(masks=(discs[0],))
    assert found.regions[0].mask.iou(discs[1]) > 0.8
    assert all(region.mask.intersection_area(square) < 0.5 * square.area for region in found.regions)
    assert not found.warnings
    assert not any(region.mask.iou(discs[1]) > 0.5 for region in search(masks=(square,)).regions), "a square is no disc"
    shifted = Mask.from_ellipse(110, 90, 38, 38, 0, (240, 320))
    assert any("outline" in told for told in search(masks=(shifted,)).warnings)


def test_on_a_fresh_machine_the_likes_are_found_even_where_nearly_everything_is_alike():
    pixels = np.full((240, 320, 3), 120, np.uint8)
    discs = [Mask.from_ellipse(x, y, 22, 22, 0, (240, 320)) for y in (50, 120, 190) for x in (60, 160, 260)]
    for disc in discs:
        pixels[disc.to_array()] = (200, 40, 30)
    image = Image(pixels, "d" * 64, "d" * 64)
    segmenter, regions = ClassicalSegmenter(), RegionFeatures(ImageNetTagger())
    embedding = segmenter.encode([pixels])[0]
    learnt = learn_supports([Support(image, (discs[4],))], regions=regions)
    found = find_similar(image, learnt, segmenter=segmenter, encode=lambda window: embedding, regions=regions)
    for disc in (*discs[:4], *discs[5:]):
        assert max(region.mask.iou(disc) for region in found.regions) > 0.8
    assert not any(region.mask.iou(discs[4]) > 0.5 for region in found.regions)


def test_other_features_than_it_was_learnt_with_are_refused(oracle):
    image = scene((1, ONE))
    learnt = learn_supports([Support(image, (ONE,))], dense=Planted())
    embedding = oracle.encode([image.pixels])[0]
    with pytest.raises(InvalidInput, match="learnt with"):
        find_similar(image, learnt, segmenter=oracle, encode=lambda window: embedding)
