"""A loose outline becomes the object that it is around, and never more than a loose hand can mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.assist.outline_masks import LOGIT, OutlineOptions, outline_logits, outline_prompt, refine_outline
from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.protocols import Candidates, ImageEmbedding

SIZE = (120, 160)
TRUTH = Mask.from_ellipse(80, 60, 40, 30, 20, SIZE)
LOOSE = Mask.from_polygons([np.array([[42, 40], [75, 22], [125, 62], [110, 88], [70, 96], [38, 66]])], SIZE)


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


@pytest.mark.parametrize("logits", [False, True])
def test_a_segmenter_that_knows_the_object_gives_it_back_whole(logits):
    oracle = Oracle(TRUTH)
    assert LOOSE.iou(TRUTH) < 0.9
    assert refine_outline(oracle, embedded(), LOOSE, OutlineOptions(logits=logits)) == (TRUTH, 1.0)
    assert (oracle.prompts[-1].mask_input is not None) == logits


def test_what_the_segmenter_is_told_is_true_of_a_loosely_outlined_object():
    prompt = outline_prompt(LOOSE)
    assert set(prompt.point_labels.tolist()) == {0, 1}
    for (x, y), label in zip(prompt.point_coords.tolist(), prompt.point_labels.tolist(), strict=True):
        assert TRUTH.contains(x, y) == bool(label)
    assert prompt.box == tuple(LOOSE.box)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(hnp.arrays(np.bool_, (20, 30)), hnp.arrays(np.bool_, (20, 30)), st.sampled_from([0.0, 0.2, 1.0]))
def test_whatever_the_segmenter_says_the_answer_stays_near_the_outline(drawn, answer, slack):
    outline, how = Mask.from_array(drawn), OutlineOptions(slack=slack)
    found, _ = refine_outline(Oracle(Mask.from_array(answer)), embedded((20, 30)), outline, how)
    band = round(slack * outline.area**0.5)
    near = np.zeros_like(drawn)
    for y, x in np.argwhere(drawn):
        near[max(y - band, 0) : y + band + 1, max(x - band, 0) : x + band + 1] = True
    assert not (found.to_array() & ~near).any()
    assert (outline.eroded(band) - found).is_empty
    if slack == 0:
        assert found == outline


def test_an_empty_outline_asks_nobody():
    oracle = Oracle(TRUTH)
    assert refine_outline(oracle, embedded(), Mask.empty(SIZE))[0].is_empty
    assert not oracle.prompts


def test_the_drawn_area_as_logits_fills_only_the_images_part_of_a_padded_square():
    logits = outline_logits(Mask.full(SIZE), (64, 64), (768, 1024))
    assert (logits[:48] == LOGIT).all()
    assert (logits[48:] == -LOGIT).all()


def test_a_real_segmenter_sharpens_a_loose_polygon():
    pixels = np.full((*SIZE, 3), 60, np.uint8)
    pixels[TRUTH.to_array()] = (210, 160, 40)
    segmenter = ClassicalSegmenter()
    found, _ = refine_outline(segmenter, segmenter.encode([pixels])[0], LOOSE)
    assert found.iou(TRUTH) > 0.95


def test_an_outline_of_another_picture_and_bad_options_are_refused():
    with pytest.raises(InvalidInput, match="outline of"):
        refine_outline(Oracle(TRUTH), embedded(), Mask.full((5, 5)))
    for bad in ({"slack": 2.0}, {"points": -1}):
        with pytest.raises(InvalidInput, match="outline"):
            OutlineOptions(**bad)
