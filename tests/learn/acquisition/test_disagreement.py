"""Perturbed questions and drawn decoders: what they make of agreement and of dispute."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.bald import BALD, mutual_information
from maskwright.learn.acquisition.candidates import Candidate, Context, Look, ProposedRegion
from maskwright.learn.acquisition.committee import Committee, dropout_committee
from maskwright.learn.acquisition.disagreement import Disagreement, ious, jittered, mirrored
from maskwright.learn.acquisition.looking import proposed_regions, without_padding
from maskwright.masks import Mask
from maskwright.models.adapters.attaching import attach, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.protocols import Candidates, ImageEmbedding
from maskwright.prompts import Prompt
from maskwright.regions import Provenance, Region

SIZE = (32, 48)
TRUTH = np.full(SIZE, -5.0, dtype=np.float32)
TRUTH[8:24, 8:24] = 5.0


class Steady:
    """Answers every question with the same mask, which it mirrors where the image is."""

    name = version = embedding_version = "steady"
    embedding_nbytes = 0

    def decode(self, embedding, prompts, *, multimask_output=False):
        turned = TRUTH[:, ::-1] if embedding.model_version == "mirrored" else TRUTH
        return Candidates(
            np.repeat(turned[None, None], len(prompts), axis=0), np.ones((len(prompts), 1), dtype=np.float32)
        )


class Literal(Steady):
    """Answers a box with the box."""

    def decode(self, embedding, prompts, *, multimask_output=False):
        masks = [Mask.from_box(prompt.box, SIZE).to_array() for prompt in prompts]
        logits = np.where(np.stack(masks), 5, -5).astype(np.float32)[:, None]
        return Candidates(logits, np.ones((len(prompts), 1), dtype=np.float32))


def planted(version="planted"):
    return ImageEmbedding({}, SIZE, SIZE, version)


def boxed(mirror=None):
    proposal = ProposedRegion(Prompt(box=(8, 8, 24, 24)), TRUTH, 1.0)
    return Look(planted(), (proposal,), (), mirror)


def test_a_segmenter_that_always_says_the_same_does_not_disagree():
    assert Disagreement(Steady()).measure("a", boxed(), Context()) == 0
    assert Disagreement(Steady()).measure("a", boxed(planted("mirrored")), Context()) == 0


def test_a_segmenter_that_follows_every_jitter_disagrees_and_more_with_more_jitter():
    little, much = (Disagreement(Literal(), jitter=jitter).measure("a", boxed(), Context()) for jitter in (0.05, 0.2))
    assert 0 < little < much < 1


def test_a_segmenter_that_sees_something_else_in_the_mirror_disagrees():
    # Steady does not mirror its answer for an embedding that says nothing of a mirror.
    found = Disagreement(Steady(), repeats=4).measure("a", boxed(planted()), Context())
    expected = 1 - ious(TRUTH[None] > 0, TRUTH[None, :, ::-1] > 0)[0]
    assert found == pytest.approx(expected / 5)


def test_the_mirrored_question_is_the_question_about_the_mirrored_image():
    prompt = Prompt.from_points([(10, 20, 1), (3, 4, 0)], box=(5, 6, 15, 30))
    turned = mirrored(prompt, 48)
    assert turned.box == (33, 6, 43, 30)
    assert turned.point_coords.tolist() == [[38, 20], [45, 4]]
    back = mirrored(turned, 48)
    assert back.box == prompt.box
    assert back.point_coords.tolist() == prompt.point_coords.tolist()


@given(st.integers(0, 2**32), st.floats(0, 0.9), st.integers(1, 47), st.integers(1, 31))
def test_jittered_questions_stay_in_the_image_and_boxes_stay_boxes(seed, share, x, y):
    proposal = ProposedRegion(Prompt.from_points([(x, y, 1)], box=(x - 1, y - 1, x, y)), TRUTH, 1.0)
    moved = jittered(proposal, SIZE, share, np.random.default_rng(seed))
    left, top, right, bottom = moved.box
    assert 0 <= left < right <= 48
    assert 0 <= top < bottom <= 32
    assert (moved.point_coords >= 0).all()
    assert (moved.point_coords <= [48, 32]).all()


def test_clicks_without_a_box_are_moved_by_the_size_of_the_answer():
    proposal = ProposedRegion(Prompt.from_points([(16, 16, 1)]), TRUTH, 1.0)
    empty = ProposedRegion(Prompt.from_points([(16, 16, 1)]), np.full_like(TRUTH, -1), 1.0)
    for item in (proposal, empty):
        moved = jittered(item, SIZE, 0.05, np.random.default_rng(0))
        assert moved.box is None
        assert moved.point_coords.tolist() != [[16, 16]]


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"jitter": 1.0}, {"jitter": -0.1}])
def test_impossible_perturbations_are_refused(wrong):
    with pytest.raises(InvalidInput, match="disagreement"):
        Disagreement(Steady(), **wrong)


def test_bald_is_0_where_all_draws_agree_and_ln_2_where_they_are_opposite():
    def agreeing(embedding, prompts):
        return np.stack([TRUTH[None]] * 4)

    def opposite(embedding, prompts):
        return np.stack([np.where(TRUTH > 0, 60, -60)[None] * sign for sign in (1, -1)]).astype(np.float32)

    assert BALD(agreeing).measure("a", boxed(), Context()) == pytest.approx(0, abs=1e-12)
    assert BALD(opposite).measure("a", boxed(), Context()) == pytest.approx(math.log(2))


def test_bald_does_not_take_noise_for_ignorance():
    """All draws are equally unsure: entropy is high, but there is nothing to learn."""

    def unsure(embedding, prompts):
        return np.zeros((3, len(prompts), *SIZE), dtype=np.float32)

    assert BALD(unsure).measure("a", boxed(), Context()) == 0


@given(npst.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(0, 1)))
def test_mutual_information_lies_between_0_and_ln_2_whatever_the_order_of_the_draws(probabilities):
    found = mutual_information(probabilities)
    assert ((found >= 0) & (found <= math.log(2))).all()
    assert mutual_information(probabilities[::-1]) == pytest.approx(found)


def test_one_draw_is_no_committee():
    with pytest.raises(InvalidInput, match="two or more"):
        BALD(lambda *_: TRUTH[None, None]).measure("a", boxed(), Context())
    with pytest.raises(InvalidInput, match="two members"):
        Committee([Steady()])


@pytest.mark.parametrize("signal", [Disagreement(Steady()), BALD(lambda *_: TRUTH[None, None])])
def test_where_nothing_is_proposed_nothing_is_disputed(signal):
    assert math.isnan(signal.measure("a", Look(planted()), Context()))


def test_padding_takes_part_in_nothing():
    wide = ImageEmbedding({}, (100, 200), (512, 1024), "padded")
    assert without_padding(np.zeros((3, 256, 256), dtype=np.float32), wide).shape == (3, 128, 256)
    assert without_padding(np.zeros((96, 128), dtype=np.float32), wide).shape == (96, 128)


@pytest.fixture(scope="module")
def seen(segmenter, scenery):
    (embedding,) = segmenter.encode([scenery])
    (turned,) = segmenter.encode([np.ascontiguousarray(scenery[:, ::-1])])
    masks = [Mask.from_box(box, (60, 80)) for box in ((15, 15, 45, 45), (50, 10, 70, 30))]
    regions = [Region(mask, None, 0.5, Provenance("preannotation")) for mask in (*masks, Mask.empty((60, 80)))]
    return Look(embedding, proposed_regions(segmenter, embedding, regions), (), turned)


def test_dropout_of_the_real_decoder_disputes_and_no_dropout_does_not(network, description, device, seen):
    def of(**more):
        return BALD(dropout_committee(network, description, device, members=3, **more)).measure("a", seen, Context())

    assert of(rate=0.0) == pytest.approx(0, abs=1e-12)
    assert 0 < of(rate=0.2) < math.log(2)
    assert of(rate=0.2) == of(rate=0.2) != of(rate=0.2, seed=1)


def test_a_committee_leaves_the_network_as_it_was_and_shares_what_it_does_not_change(network, description, device):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    committee = dropout_committee(network, description, device, members=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    member = committee._members[0]._network
    changed = [
        name
        for (name, one), (_, other) in zip(network.named_parameters(), member.named_parameters(), strict=True)
        if one.data_ptr() != other.data_ptr()
    ]
    assert changed
    assert all(name.endswith(("mlp.2.weight", ".2.weight")) for name in changed)


def test_low_rank_adapters_are_dropped_too(network, description, device, seen):
    learner = attach(network, AdapterConfig("lora", rank=4))
    adapter = trained_tensors(learner)
    trained = {name: torch.full_like(t, 0.5) if name.endswith(".up") else t for name, t in adapter.items()}
    one, other = (
        dropout_committee(network, description, device, adapter=given, members=2, rate=0.3)(
            seen.embedding, [seen.proposals[0].prompt]
        )
        for given in (trained, None)
    )
    assert one.shape == other.shape
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("wrong", [{"members": 1}, {"rate": 1.0}, {"seed": -1}])
def test_impossible_committees_are_refused(network, description, device, wrong):
    with pytest.raises(InvalidInput, match="committee"):
        dropout_committee(network, description, device, **wrong)


def test_real_answers_are_the_same_in_whatever_order_images_are_measured(segmenter, seen):
    signal = Disagreement(segmenter, repeats=2)
    images = [Candidate(key, lambda: seen) for key in ("a", "b", "c")]
    there = signal.score(images, Context(seed=5))
    back = signal.score(images[::-1], Context(seed=5))
    assert there.tolist() == back[::-1].tolist()
    assert len(set(there.tolist())) == 3  # every image has its own jitter
    assert ((there >= 0) & (there <= 1)).all()


def test_regions_without_pixels_are_not_asked_about(segmenter, seen):
    assert len(seen.proposals) == 2
    assert proposed_regions(segmenter, seen.embedding, ()) == ()
