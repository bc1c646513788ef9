"""Objects that features without words see become prompts, and proposals where a segmenter is sure of them."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.discovery import MOST_DRAFTS, SeesObjects, coarser, object_prompts
from maskwright.assist.everything import ProposalOptions, joined, refined_proposals
from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask

SIZE = (80, 120)
CUP, DISH = Mask.from_box((10, 10, 40, 50), SIZE), Mask.from_box((70, 20, 110, 60), SIZE)
ANY = ProposalOptions(min_area=1)


class Sees:
    """Each painted object has its own direction, in places of 5 pixels."""

    name, version = "sees", "sees-1"

    def __init__(self, *, down: bool = False) -> None:
        self.down = down

    def features(self, image):
        return np.eye(8, dtype=np.float32)[image[2::5, 2::5, 0]]

    def keys(self, image):
        if self.down:
            raise ModelUnavailable("out of memory")
        return self.features(image)

    def attention(self, image):
        return (image[2::5, 2::5, 0] == 1).astype(np.float32)

    def text(self, phrases):
        raise InvalidInput("no words")


class Class:
    """Anything is a cup."""

    name, version = "class", "class-1"

    def classify(self, image, masks, phrases):
        return np.tile(np.array([0.9, 0.1], dtype=np.float32), (len(masks), 1))


def test_each_object_is_asked_for_by_a_box_and_points_inside(painted):
    image = painted(SIZE, CUP, DISH)
    prompts = object_prompts(Sees(), image)
    assert isinstance(Sees(), SeesObjects)
    for mask in (CUP, DISH):
        one = min(prompts, key=lambda prompt: np.abs(np.subtract(prompt.box, mask.box)).sum())
        assert np.abs(np.subtract(one.box, mask.box)).max() <= 5
        assert all(mask.contains(x, y) for x, y in one.point_coords)
    boxes = [prompt.box for prompt in prompts]
    assert len(set(boxes)) == len(boxes), "what two looks agree on is asked for once"
    assert not any(box == (0, 0, 120, 80) for box in boxes), "the background is no object"


def test_there_is_an_end_to_what_a_picture_of_confetti_costs():
    image = np.random.default_rng(0).integers(0, 8, (400, 400, 3)).astype(np.uint8)
    assert len(object_prompts(Sees(), image)) <= MOST_DRAFTS


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (80, 120)])
def test_pictures_of_one_thing_have_no_objects(size):
    image = np.zeros((5 * size[0], 5 * size[1], 3), dtype=np.uint8)
    assert object_prompts(Sees(), image) == []


def test_finer_grids_are_averaged_down_over_the_same_picture():
    features = np.random.default_rng(0).random((60, 90, 3)).astype(np.float32)
    small = coarser(features, 600)
    assert small.shape == (20, 30, 3)
    np.testing.assert_allclose(small[2, 5], features[6:9, 15:18].mean(axis=(0, 1)), rtol=1e-5)
    assert coarser(features, 5400) is features


def test_only_what_the_segmenter_is_sure_of_becomes_a_proposal(painted, box_oracle):
    image, segmenter = painted(SIZE, CUP, DISH), box_oracle()
    embedding = segmenter.encode([image])[0]
    prompts = object_prompts(Sees(), image)
    sure = refined_proposals(segmenter, embedding, prompts, ANY)
    assert {CUP, DISH} <= set(sure.masks)
    strict = ProposalOptions(min_area=1, predicted_iou_threshold=0.95)
    assert refined_proposals(segmenter, embedding, prompts, strict).masks == ()
    assert refined_proposals(segmenter, embedding, [], ANY).masks == ()
    large = refined_proposals(segmenter, embedding, prompts, ProposalOptions(min_area=1300))
    assert set(large.masks) == {DISH}
    assert len(joined(sure, large).masks) == len(sure.masks) + len(large.masks)


@pytest.mark.parametrize("down", [False, True])
def test_without_a_detector_they_join_what_the_segmenter_proposes_itself(painted, box_oracle, down):
    class Blind(box_oracle):
        """Proposes nothing by itself."""

        def propose(self, embedding):
            return refined_proposals(self, embedding, [], ANY)

    image, segmenter = painted(SIZE, CUP, DISH), Blind()
    found = preannotate_in_stages(
        Image(image, "0" * 64, "0" * 64),
        LabelSet.of(["cup", "dish"]),
        PreannotationOptions(min_area=1),
        StageOptions(check_pixels=False),
        Context(
            StageModels(dense=Sees(down=down)),
            segmenter,
            lambda window: segmenter.encode([image])[0],
            PhraseMemo(),
            "v1",
            Class(),
        ),
    )
    if down:
        assert found.regions == ()
        assert found.problems == ("no objects were seen without words: out of memory",)
    else:
        assert {region.mask for region in found.regions} == {CUP, DISH}
        assert found.problems == ()
