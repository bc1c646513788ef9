"""Several people's regions become one set: what most of them drew, or what is most likely true."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwright.errors import InvalidInput
from maskwright.export.consensus import held_by_most, majority, most_likely
from maskwright.export.matching import match
from maskwright.export.staple import staple
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (40, 50)


def box(x0: int, y0: int, x1: int, y1: int, label: str = "cat", key: str = "", person: str | None = None) -> Region:
    return Region(Mask.from_box((x0, y0, x1, y1), SIZE), label, 1.0, Provenance("person", person=person), key=key)


def test_an_object_that_most_people_drew_stays_with_the_pixels_most_of_them_gave_it():
    people = [[box(10, 10, 20, 20)], [box(11, 10, 21, 20)], [box(12, 10, 22, 20)]]
    (found,) = majority(people)
    assert found.mask == Mask.from_box((11, 10, 21, 20), SIZE)
    assert found.score == 1.0
    assert found.label == "cat"


def test_an_object_that_half_of_the_people_drew_is_dropped():
    assert majority([[box(10, 10, 20, 20)], []]) == ()
    assert most_likely([[box(10, 10, 20, 20)], []]) == ()
    assert len(majority([[box(10, 10, 20, 20)], [], [box(10, 10, 20, 20)]])) == 1


def test_people_who_did_not_draw_an_object_count_against_its_pixels():
    people = [[box(10, 10, 20, 20)], [box(12, 10, 22, 20)], []]
    (found,) = majority(people)
    assert found.mask == Mask.from_box((12, 10, 20, 20), SIZE), "2 of 3 means both who drew it"
    assert found.score == pytest.approx(2 / 3)


def test_the_class_is_the_one_most_drawers_chose_and_the_first_person_decides_ties():
    a, b = box(10, 10, 20, 20, "cat"), box(10, 10, 20, 20, "dog")
    assert majority([[a], [b], [b]])[0].label == "dog"
    assert majority([[a], [b]])[0].label == "cat"
    assert majority([[b], [a]])[0].label == "dog"


def test_one_person_alone_keeps_everything_as_it_was_drawn():
    regions = (box(1, 1, 5, 5), box(7, 7, 9, 9))
    assert majority([regions]) == regions
    assert most_likely([regions]) == regions
    assert majority([]) == ()


def test_objects_that_touch_are_not_mixed_up():
    people = [[box(10, 10, 20, 20, key="a"), box(20, 10, 30, 20, key="b")] for _ in range(3)]
    found = majority(people)
    assert [region.mask for region in found] == [region.mask for region in people[0]]
    assert len({region.key for region in found}) == 2


def test_the_name_of_an_object_does_not_depend_on_who_edited_last():
    ann, bob = box(10, 10, 20, 20, key="r1", person="ann"), box(10, 10, 20, 20, key="r9", person="bob")
    assert majority([[ann], [bob]])[0].key == majority([[bob], [ann]])[0].key


def test_the_order_of_drawing_survives():
    people = [[box(0, 0, 40, 40, "floor"), box(5, 5, 10, 10, "cat"), box(20, 20, 30, 30, "dog")] for _ in range(3)]
    assert [region.label for region in majority(people)] == ["floor", "cat", "dog"]


@given(st.lists(arrays(np.bool_, (6, 7)), min_size=1, max_size=5), st.integers(0, 3))
def test_majority_of_pixels_is_counted_pixel_by_pixel(pictures: list[np.ndarray], absent: int):
    people = len(pictures) + absent
    expected = np.sum(pictures, axis=0) > people / 2
    assert (held_by_most([Mask.from_array(p) for p in pictures], people).to_array() == expected).all()


# --- STAPLE ----------------------------------------------------------------------------------------------------


def planted(
    rng: np.random.Generator, sensitivities: list[float], specificities: list[float]
) -> tuple[np.ndarray, list[Mask]]:
    truth = np.zeros((60, 60), dtype=bool)
    truth[15:45, 12:40] = True
    drawn = []
    for p, q in zip(sensitivities, specificities, strict=True):
        chance = rng.random(truth.shape)
        drawn.append(Mask.from_array(np.where(truth, chance < p, chance >= q)))
    return truth, drawn


def test_staple_recovers_the_truth_and_how_good_each_person_is():
    sensitivities, specificities = [0.95, 0.9, 0.7, 0.85, 0.6], [0.98, 0.95, 0.9, 0.8, 0.97]
    truth, drawn = planted(np.random.default_rng(3), sensitivities, specificities)
    found = staple(drawn)
    assert found.sensitivities == pytest.approx(sensitivities, abs=0.04)
    assert found.specificities == pytest.approx(specificities, abs=0.04)
    wrong = (found.mask.to_array() != truth).mean()
    votes = held_by_most(drawn, len(drawn)).to_array()
    assert wrong < 0.02
    assert wrong <= (votes != truth).mean(), "weighing people is better than counting them"


def test_staple_lets_good_people_outvote_many_poor_ones():
    truth, drawn = planted(np.random.default_rng(4), [0.97, 0.97, 0.5, 0.5, 0.5], [0.99, 0.99, 0.7, 0.7, 0.7])
    votes = held_by_most(drawn, len(drawn)).to_array()
    assert (staple(drawn).mask.to_array() != truth).mean() < 0.02 < 0.04 < (votes != truth).mean()


def test_staple_of_equal_masks_is_that_mask():
    mask = Mask.from_box((10, 10, 20, 25), SIZE)
    found = staple([mask, mask, mask])
    assert found.mask == mask
    assert min(found.sensitivities + found.specificities) > 0.999


def test_staple_of_nothing_is_nothing_and_of_no_mask_is_refused():
    assert staple([Mask.empty(SIZE)] * 2).mask.is_empty
    with pytest.raises(InvalidInput):
        staple([])
    with pytest.raises(InvalidInput):
        staple([Mask.empty(SIZE), Mask.empty((3, 3))])


def textbook_staple(pictures: np.ndarray, rounds: int) -> np.ndarray:
    """Warfield et al. 2004, equations 14 to 19, pixel by pixel, in a given region of interest."""
    prior = pictures.mean()
    p = q = np.full(len(pictures), 0.99)
    for _ in range(rounds):
        a = prior * np.prod([np.where(d, p[j], 1 - p[j]) for j, d in enumerate(pictures)], axis=0)
        b = (1 - prior) * np.prod([np.where(d, 1 - q[j], q[j]) for j, d in enumerate(pictures)], axis=0)
        w = a / (a + b)
        p = np.array([(w * d).sum() for d in pictures]) / w.sum()
        q = np.array([((1 - w) * ~d).sum() for d in pictures]) / (1 - w).sum()
    return w


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_staple_on_runs_equals_the_textbook_on_pixels(seed: int):
    rng = np.random.default_rng(seed)
    _, drawn = planted(rng, [0.9, 0.8, 0.85], [0.95, 0.9, 0.92])
    found = staple(drawn, margin=10.0)  # the whole image
    likely = textbook_staple(np.array([mask.to_array() for mask in drawn]), found.rounds)
    assert (found.mask.to_array() == (likely > 0.5)).all()


def test_staple_of_regions_keeps_class_and_group():
    people = [[box(10, 10, 20, 20, person=name, key="r")] for name in ("a", "b", "c")]
    (found,) = most_likely(people)
    assert found.mask == people[0][0].mask
    assert found.label == "cat"


def test_twenty_objects_by_three_people_in_full_hd_take_milliseconds():
    rng = np.random.default_rng(0)
    size = (1080, 1920)

    def draw() -> list[Region]:
        regions = []
        for n in range(20):
            x, y = 150 + 85 * n, 300 + 37 * (n % 7)
            angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            radius = 60 + rng.normal(0, 2, 40)
            outline = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
            regions.append(Region(Mask.from_polygons([outline], size), "cat", 1.0, Provenance("person")))
        return regions

    people = [draw() for _ in range(3)]
    began = time.perf_counter()
    assert len(majority(people, match(people))) == 20
    assert len(most_likely(people)) == 20
    assert time.perf_counter() - began < 1.0, "30 ms when the machine is idle"
