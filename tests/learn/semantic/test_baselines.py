"""What is put beside the figures, and how regions become classes of pixels."""

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.learn.semantic.baselines import PositionPrior, random_classes
from maskwright.learn.semantic.label_maps import proposed_map, true_map
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (10, 20)
NAMES = ("building", "sign")


def region(box, label, score=1.0):
    return Region(Mask.from_box(box, SIZE), label, score, Provenance("person"))


WALL, SIGN = (0, 0, 20, 10), (4, 4, 8, 8)


@pytest.mark.parametrize("order", [1, -1])
def test_people_draw_signs_on_buildings_in_any_order(order):
    labels = true_map([region(WALL, "building"), region(SIGN, "sign")][::order], NAMES, SIZE)
    assert (labels[4:8, 4:8] == 1).all()
    assert (labels == 0).sum() == 200 - 16


@pytest.mark.parametrize("order", [1, -1])
def test_the_surer_of_two_proposals_counts(order):
    labels = proposed_map([region(WALL, "building", 0.6), region(SIGN, "sign", 0.5)][::order], NAMES, SIZE)
    assert (labels == 0).all()


def test_regions_of_other_classes_leave_their_pixels_free():
    labels = true_map([region(SIGN, "dog"), region((0, 0, 2, 2), None)], NAMES, SIZE)
    assert labels.dtype == np.int32
    assert (labels == -1).all()


def test_classes_by_lot_keep_the_regions_and_are_all_as_likely():
    regions = [region(SIGN, "sign")] * 600
    drawn = random_classes(regions, NAMES, np.random.default_rng(0))
    assert all(new.mask is old.mask for new, old in zip(drawn, regions, strict=True))
    assert 240 < sum(one.label == "sign" for one in drawn) < 360
    assert drawn == random_classes(regions, NAMES, np.random.default_rng(0))


def test_every_place_gets_the_class_that_it_usually_has():
    sky_above = np.zeros((6, 4), dtype=np.int32)
    sky_above[3:] = 1
    all_sky = np.zeros((6, 4), dtype=np.int32)
    unknown = np.full((6, 4), -1, dtype=np.int32)
    prior = PositionPrior.fit([sky_above, sky_above, all_sky, unknown], 3, cells=(6, 4))
    assert prior.counts.sum() == 3 * 24
    np.testing.assert_array_equal(prior.predict((6, 4)), sky_above)
    larger = prior.predict((12, 8))
    assert (larger[:6] == 0).all()
    assert (larger[6:] == 1).all()


def test_where_classes_are_equally_frequent_or_unseen_the_commonest_of_all_is_guessed():
    first = np.array([[0, 0, 1, -1]], dtype=np.int32)
    second = np.array([[0, 1, 1, -1]], dtype=np.int32)
    third = np.array([[1, -1, 1, -1]], dtype=np.int32)
    prior = PositionPrior.fit([first, second, third], 2, cells=(1, 4))
    assert prior.predict((1, 4)).tolist() == [[0, 1, 1, 1]]


def test_without_a_map_there_is_nothing_usual():
    with pytest.raises(InvalidInput, match="there is none"):
        PositionPrior.fit([], 2)
