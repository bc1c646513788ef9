"""What a mask promises, each promise checked against plain arrays, pycocotools or OpenCV."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from maskwright.errors import InvalidInput, TooLarge
from maskwright.masks import Mask, pairwise_intersection, pairwise_iou

masks = st.from_type(Mask)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
steady = settings(deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def encoded(array):
    return coco.encode(np.asfortranarray(array.astype(np.uint8)))


def another(mask, seed):
    """Some other mask of the same size."""
    rng = np.random.default_rng(seed)
    return Mask.from_array(rng.random(mask.size) < rng.choice([0, 0.1, 0.5, 0.9, 1]))


@steady
@given(masks)
def test_an_array_comes_back_as_it_went_in(mask):
    array = mask.to_array()
    assert array.shape == mask.size
    assert array.dtype == np.bool_
    assert Mask.from_array(array) == mask
    assert Mask.from_array(array * np.uint8(255)) == mask
    assert Mask.from_array(np.asfortranarray(array).astype(np.int32) * 7) == mask


@steady
@given(masks)
def test_counts_are_those_of_pycocotools_byte_for_byte(mask):
    peer = encoded(mask.to_array())
    assert mask.counts == peer["counts"]
    assert mask.to_coco() == {"size": list(mask.size), "counts": peer["counts"].decode()}
    assert np.array_equal(coco.decode(mask.to_coco()), mask.to_array())
    assert Mask.from_coco(peer) == Mask.from_coco(mask.to_coco()) == mask


@steady
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=60))
def test_counts_of_long_runs_are_those_of_pycocotools_and_empty_runs_are_understood(lengths):
    total = sum(lengths) or 1
    lengths = lengths if sum(lengths) else [1]
    peer = coco.frPyObjects({"size": [total, 1], "counts": lengths}, total, 1)
    mask = Mask.from_runs((total, 1), lengths)
    assert Mask.from_coco(peer) == mask
    assert np.array_equal(mask.to_array(), coco.decode(peer))
    assert mask.counts == encoded(coco.decode(peer))["counts"]


@steady
@given(masks)
def test_area_and_box_are_those_of_the_pixels(mask):
    array = mask.to_array()
    ys, xs = np.nonzero(array)
    assert mask.area == coco.area(encoded(array)) == len(xs)
    assert mask.is_empty == (not len(xs))
    assert mask.box == ((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else (0, 0, 0, 0))
    by_columns = Mask(mask.size, mask.edges)
    assert (by_columns.area, by_columns.box) == (mask.area, mask.box)


@steady
@given(masks, seeds)
def test_algebra_is_that_of_the_pixels(a, seed):
    b = another(a, seed)
    x, y = a.to_array(), b.to_array()
    assert np.array_equal((a | b).to_array(), x | y)
    assert np.array_equal((a & b).to_array(), x & y)
    assert np.array_equal((a - b).to_array(), x & ~y)
    assert np.array_equal(a.complement().to_array(), ~x)
    assert a.intersection_area(b) == (x & y).sum()
    assert (a | b) == (a.complement() & b.complement()).complement()


@steady
@given(masks, seeds, seeds)
def test_algebra_takes_any_number_of_masks_at_once(a, seed, other_seed):
    b, c = another(a, seed), another(a, other_seed)
    assert a.union() == a.intersection() == a.difference() == a
    assert a.union(b, c) == a | b | c
    assert a.intersection(b, c) == a & b & c
    assert a.difference(b, c) == a - b - c


@steady
@given(masks, seeds)
def test_iou_is_that_of_pycocotools(a, seed):
    b = another(a, seed)
    peer = coco.iou([a.to_coco()], [b.to_coco()], [0])[0, 0]
    assert a.iou(b) == pytest.approx(0.0 if a.is_empty and b.is_empty else peer, abs=1e-12)


@steady
@given(masks, st.lists(seeds, max_size=6), st.lists(seeds, max_size=6))
def test_pairwise_answers_are_those_of_every_single_pair(mask, seeds_of_first, seeds_of_second):
    first = [mask, Mask.empty(mask.size), *(another(mask, s) for s in seeds_of_first)]
    second = [another(mask, s) for s in seeds_of_second]
    areas, ious = pairwise_intersection(first, second), pairwise_iou(first, second)
    assert areas.shape == ious.shape == (len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert areas[i, j] == a.intersection_area(b)
            assert ious[i, j] == a.iou(b)


@steady
@given(masks, st.integers(1, 5))
def test_a_boundary_is_the_mask_less_its_erosion_by_opencv(mask, width):
    pixels = mask.to_array().astype(np.uint8)
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(pixels, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    assert np.array_equal(mask.eroded(width).to_array(), inner.astype(bool))
    assert np.array_equal(mask.boundary(width).to_array(), (pixels - inner).astype(bool))


@steady
@given(masks, st.integers(-9, 20), st.integers(-9, 20), st.integers(1, 20), st.integers(1, 20))
def test_a_crop_shows_the_pixels_of_its_box_and_nothing_beyond_the_frame(mask, x, y, w, h):
    wide = np.pad(mask.to_array(), 40)
    part = wide[40 + y : 40 + y + h, 40 + x : 40 + x + w]
    assert np.array_equal(mask.crop((x, y, x + w, y + h)).to_array(), part)
    assert np.array_equal(mask.crop_array(x, y, x + w, y + h), part)
    assert Mask(mask.size, mask.edges).crop((x, y, x + w, y + h)) == mask.crop((x, y, x + w, y + h))


@steady
@given(masks, st.integers(-9, 20), st.integers(-9, 20), st.integers(1, 40), st.integers(1, 40))
def test_a_pasted_mask_lies_where_it_was_put_and_loses_what_leaves_the_frame(mask, x, y, w, h):
    canvas = np.zeros((200, 200), dtype=bool)
    canvas[80 + y : 80 + y + mask.height, 80 + x : 80 + x + mask.width] = mask.to_array()
    expected = canvas[80 : 80 + h, 80 : 80 + w]
    assert np.array_equal(mask.pasted((h, w), (x, y)).to_array(), expected)
    assert Mask.from_crop(mask.to_array(), (x, y), (h, w)) == mask.pasted((h, w), (x, y))


@steady
@given(masks)
def test_components_are_the_eight_connected_parts(mask):
    number, labels = cv2.connectedComponents(mask.to_array().astype(np.uint8), connectivity=8)
    parts = mask.components()
    assert {part.content_hash() for part in parts} == {
        Mask.from_array(labels == n).content_hash() for n in range(1, number)
    }
    assert len(parts) == number - 1
    assert [part.box[0] for part in parts] == sorted(part.box[0] for part in parts)


@steady
@given(masks)
def test_a_point_is_contained_where_its_pixel_is(mask):
    array = mask.to_array()
    for y, x in {(0, 0), (mask.height - 1, mask.width - 1), (mask.height // 2, mask.width // 3)}:
        assert mask.contains(x, y) == mask.contains(x + 0.9, y + 0.5) == array[y, x]
    assert not mask.contains(-0.1, 0)
    assert not mask.contains(0, mask.height)


@steady
@given(masks, seeds)
def test_equal_pixels_make_equal_masks_however_they_were_made(mask, seed):
    twin = (mask | another(mask, seed)) & mask
    assert twin == mask
    assert hash(twin) == hash(mask)
    assert twin.content_hash() == mask.content_hash()
    assert mask != mask.complement()
    assert mask.content_hash() != mask.complement().content_hash()


@steady
@given(masks)
def test_copies_and_pickles_are_equal_and_just_as_immutable(mask):
    for twin in (copy.copy(mask), copy.deepcopy(mask), pickle.loads(pickle.dumps(mask))):
        assert twin == mask
        assert not twin.edges.flags.writeable
        assert not twin.row_edges.flags.writeable


def test_the_same_pixels_in_another_frame_are_another_mask():
    assert Mask.empty((2, 6)) != Mask.empty((3, 4))
    assert Mask.empty((2, 6)).content_hash() != Mask.empty((3, 4)).content_hash()
    assert Mask.empty((2, 6)) != "a mask"


def test_a_mask_cannot_be_changed():
    mask = Mask.from_box((1, 1, 3, 3), (5, 5))
    with pytest.raises(AttributeError):
        mask.size = (9, 9)
    with pytest.raises(ValueError):
        mask.edges[0] = 0
    mask.to_array()[:] = True
    assert mask.area == 4


def test_threads_that_share_a_mask_see_the_same_pixels():
    array = np.random.default_rng(0).random((200, 300)) < 0.5
    mask = Mask.from_array(array)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: (mask.counts, mask.box, mask.area), range(64)))) == 1


def test_empty_and_full_masks_hold_nothing_and_everything():
    assert not Mask.empty((3, 5)).to_array().any()
    assert Mask.full((3, 5)).to_array().all()
    assert Mask.full((3, 5)).box == (0, 0, 5, 3)
    assert repr(Mask.full((3, 5))) == "Mask(size=(3, 5), area=15, box=(0, 0, 5, 3))"


@pytest.mark.parametrize(
    "array",
    [np.zeros(5, bool), np.zeros((2, 2, 3), bool), np.zeros((0, 4), bool), np.zeros((3, 3)), np.array([["a"]])],
    ids=["flat", "colour", "no pixel", "floats", "words"],
)
def test_what_is_no_mask_is_refused(array):
    with pytest.raises(InvalidInput):
        Mask.from_array(array)


@pytest.mark.parametrize(
    "rle",
    [
        None,
        [],
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": "04"},
        {"size": [2, "2"], "counts": "04"},
        {"size": [2.5, 2], "counts": "04"},
        {"size": [float("nan"), 2], "counts": "04"},
        {"size": [-2, -2], "counts": "04"},
        {"size": [0, 4], "counts": "0"},
        {"size": [2, 2], "counts": 4},
        {"size": [2, 2], "counts": None},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": []},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [3]},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2, 2], "counts": [1.5, 2.5]},
        {"size": [2, 2], "counts": [[4]]},
        {"size": [2, 2], "counts": [1, [3]]},
        {"size": [2, 2], "counts": [10**40]},
        {"size": [2, 2], "counts": ["4"]},
        {"size": [2, 2], "counts": "05"},
        {"size": [2, 2], "counts": "0\x004"},
        {"size": [2, 2], "counts": "0 4"},
        {"size": [2, 2], "counts": "04\u00e9"},
        {"size": [2, 2], "counts": "0T"},
        {"size": [2, 2], "counts": "P" * 50},
        {"size": [2, 2], "counts": "o" * 50 + "0"},
        {"size": [2, 2], "counts": b"\xff\xfe"},
    ],
    ids=repr,
)
def test_hostile_run_lengths_are_refused(rle):
    with pytest.raises(InvalidInput):
        Mask.from_coco(rle)


@steady
@given(st.binary(max_size=60), st.integers(1, 50), st.integers(1, 50))
def test_random_counts_are_read_as_pycocotools_would_or_refused(counts, h, w):
    try:
        mask = Mask.from_coco({"size": [h, w], "counts": counts})
    except InvalidInput:
        return
    assert np.array_equal(mask.to_array(), coco.decode({"size": [h, w], "counts": counts}))


def test_a_size_beyond_the_bound_is_refused_before_anything_is_made():
    with pytest.raises(TooLarge):
        Mask.full((2**20, 2**20))
    with pytest.raises(TooLarge):
        Mask.from_coco({"size": [10**18, 10**18], "counts": [10**36]})


def test_masks_of_different_sizes_do_not_mix():
    a, b = Mask.full((2, 3)), Mask.full((3, 2))
    for operation in (a.iou, a.union, a.intersection, a.difference, lambda other: pairwise_iou([a], [other])):
        with pytest.raises(InvalidInput, match="different sizes"):
            operation(b)


def test_a_large_mask_costs_by_its_outline_and_not_by_its_area():
    mask = Mask.from_ellipse(20_000, 20_000, 15_000, 12_000, 20, (40_000, 40_000))
    assert mask.edges.nbytes < 1_000_000
    assert mask.area == pytest.approx(np.pi * 15_000 * 12_000, rel=1e-6)
    assert mask.crop_array(19_990, 19_990, 20_000, 20_000).all()
    assert mask.boundary(2).area < 250_000
