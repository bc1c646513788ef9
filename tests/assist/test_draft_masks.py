"""A draft of cells becomes a mask: what the segmenter is told is true, and what it answers stays near the draft."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.assist.draft_masks import Refinement, deepest_places, draft_logits, draft_prompt, grown, refine_draft
from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.masks.cells import mask_of_cells
from maskwright.masks.grids import grid_of_mask
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.protocols import Candidates, ImageEmbedding

steady = settings(deadline=None, derandomize=True)

SIZE = (120, 160)


class Oracle:
    """Knows the object, and remembers what it was told."""

    name = version = embedding_version = "oracle"
    embedding_nbytes = 0

    def __init__(self, truth):
        self.truth, self.prompts = truth, []

    def encode(self, images):
        return [ImageEmbedding({}, image.shape[:2], image.shape[:2], "oracle") for image in images]

    def decode(self, embedding, prompts, *, multimask_output=False):
        self.prompts += prompts
        logits = np.where(self.truth.to_array(), 9.0, -9.0).astype(np.float32)
        return Candidates(np.repeat(logits[None, None], len(prompts), axis=0), np.ones((len(prompts), 1), np.float32))

    def upsample(self, embedding, low_res_logits):
        return Mask.from_array(low_res_logits > 0)


def embedded(size=SIZE):
    return ImageEmbedding({}, size, size, "oracle")


def blob(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    height, width = size
    centre = rng.uniform(0.3, 0.7, 2) * (width, height)
    return Mask.from_ellipse(*centre, *rng.uniform(0.1, 0.3, 2) * (width, height), 30, size)


@pytest.mark.parametrize("side", [16, 24, 32, 64])
@pytest.mark.parametrize("how", [None, Refinement(passes=3), Refinement(draft_logits=False), Refinement(leash=None)])
def test_a_segmenter_that_knows_the_object_gives_it_back_whole(side, how):
    for seed in range(5):
        truth = blob(seed)
        oracle = Oracle(truth)
        cells = grid_of_mask(truth, "object", side).marked("object")
        assert refine_draft(oracle, embedded(), cells, how).iou(truth) == 1


def test_what_the_segmenter_is_told_is_true_of_the_object():
    for seed in range(20):
        truth = blob(seed)
        oracle = Oracle(truth)
        refine_draft(oracle, embedded(), grid_of_mask(truth, "object", 16).marked("object"))
        prompt = oracle.prompts[-1]
        assert prompt.mask_input.shape == SIZE
        assert np.array_equal(prompt.point_labels, np.sort(prompt.point_labels)[::-1])
        assert {1, 0} == set(prompt.point_labels.tolist())
        for (x, y), label in zip(prompt.point_coords.tolist(), prompt.point_labels.tolist(), strict=True):
            assert truth.contains(x, y) == bool(label)


def test_an_empty_draft_is_an_empty_mask_and_nobody_is_asked():
    oracle = Oracle(blob(0))
    assert refine_draft(oracle, embedded(), np.zeros((16, 16), dtype=bool)) == Mask.empty(SIZE)
    assert not oracle.prompts


@steady
@given(hnp.arrays(np.bool_, (8, 8)), hnp.arrays(np.bool_, SIZE, fill=st.booleans()), st.integers(0, 2))
def test_whatever_the_segmenter_says_the_answer_stays_on_its_leash(cells, answer, leash):
    found = refine_draft(Oracle(Mask.from_array(answer)), embedded(), cells, Refinement(leash=leash))
    assert found.size == SIZE
    assert (found - mask_of_cells(grown(cells, leash), SIZE)).is_empty
    if cells.any():
        assert (mask_of_cells(~grown(~cells, leash), SIZE) - found).is_empty


@steady
@given(hnp.arrays(np.bool_, (6, 6)), st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_any_draft_on_any_image_is_refined(cells, size):
    assert refine_draft(Oracle(Mask.full(size)), embedded(size), cells).size == size


@steady
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))), st.integers(1, 5))
def test_the_deepest_places_lie_inside_and_apart(inside, most):
    places = deepest_places(inside, most)
    assert len(places) == len(set(places)) <= most
    assert bool(places) == bool(inside.any())
    assert all(inside[y, x] for x, y in places)


def test_the_first_deepest_place_is_the_middle_of_a_square():
    inside = np.zeros((20, 20), dtype=bool)
    inside[4:13, 6:15] = True
    assert deepest_places(inside, 1) == [(10, 8)]


def test_logits_of_a_draft_fill_only_the_image_where_a_segmenter_pads():
    logits = draft_logits(np.ones((16, 16), dtype=bool), (256, 256), (512, 1024))
    assert (logits > 0).sum() == 128 * 256
    assert (logits[:128] > 0).all()


def test_a_whole_image_draft_leaves_no_place_outside_to_point_at():
    prompt = draft_prompt(np.ones((4, 4), dtype=bool), SIZE, Refinement())
    assert set(prompt.point_labels.tolist()) == {1}
    assert prompt.box == (0, 0, 160, 120)


@pytest.mark.parametrize("wrong", [{"box_margin": -0.5}, {"passes": 0}, {"points": -1}, {"leash": -1}])
def test_refinements_out_of_bounds_are_refused(wrong):
    with pytest.raises(InvalidInput, match="box margin"):
        Refinement(**wrong)


def test_a_real_segmenter_sharpens_a_draft():
    truth = blob(3)
    image = np.where(truth.to_array()[:, :, None], np.uint8(200), np.uint8(40)).repeat(3, axis=2)
    segmenter = ClassicalSegmenter()
    (embedding,) = segmenter.encode([image])
    grid = grid_of_mask(truth, "object", 16)
    # This segmenter takes logits for an answer that it need only add to.
    refined = refine_draft(segmenter, embedding, grid.marked("object"), Refinement(draft_logits=False))
    assert refined.iou(truth) > 0.97 > grid.mask("object", SIZE).iou(truth)
