"""What anyone who points at a picture is promised by the embedded segmenter, whatever its weights."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.protocols import Proposer, Segmenter
from maskwright.prompts import Prompt, Scribble

DISK, SQUARE = (45.5, 60.5), (115.5, 55.5)


@pytest.fixture(scope="module")
def embedding(segmenter, scenery):
    return segmenter.encode([scenery])[0]


def click(*points):
    return Prompt.from_points([(x, y, label) for (x, y), label in points])


def test_it_is_a_segmenter_and_a_proposer(segmenter):
    assert isinstance(segmenter, Segmenter)
    assert isinstance(segmenter, Proposer)


def test_the_clicked_pixel_is_in_the_mask_and_a_rejected_one_is_not(segmenter, embedding):
    for prompt in (click((DISK, 1)), click((DISK, 1), (SQUARE, 0)), click((DISK, 0), (SQUARE, 1), ((5.5, 5.5), 0))):
        answer = segmenter.decode(embedding, [prompt])
        mask = segmenter.upsample(embedding, answer.low_res_logits[0, 0]).to_array()
        for (x, y), label in zip(prompt.point_coords, prompt.point_labels, strict=True):
            assert mask[int(y), int(x)] == label


def test_answers_have_the_promised_shapes(segmenter, embedding):
    prompts = [click((DISK, 1)), click((SQUARE, 1)), Prompt(box=(95.0, 30.0, 135.0, 80.0))]
    one, three = segmenter.decode(embedding, prompts), segmenter.decode(embedding, prompts, multimask_output=True)
    assert one.low_res_logits.shape[:2] == (3, 1)
    assert three.low_res_logits.shape[:2] == (3, 3)
    assert three.predicted_iou.shape == (3, 3)
    assert ((three.predicted_iou > 0) & (three.predicted_iou < 1)).all()
    assert segmenter.upsample(embedding, one.low_res_logits[0, 0]).size == (120, 150)


def test_an_answer_does_not_depend_on_what_else_is_asked(segmenter, embedding):
    prompts = [
        click((DISK, 1)), click((DISK, 1), (SQUARE, 0), ((5.5, 5.5), 0)), Prompt(box=(20.0, 35.0, 71.0, 86.0)),
        Prompt(scribbles=(Scribble(np.array([[100, 40], [130, 70]], dtype=np.float32)),)),
    ]  # fmt: skip
    together = segmenter.decode(embedding, prompts, multimask_output=True)
    for index, prompt in enumerate(prompts):
        alone = segmenter.decode(embedding, [prompt], multimask_output=True)
        np.testing.assert_allclose(together.low_res_logits[index], alone.low_res_logits[0], atol=1e-3)
        np.testing.assert_allclose(together.predicted_iou[index], alone.predicted_iou[0], atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 1023), (33, 2), (16, 16), (700, 500)])
def test_pictures_of_any_size_are_answered(size, segmenter):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (*size, 3)).astype(np.uint8)
    embedding = segmenter.encode([image])[0]
    middle = (size[1] // 2 + 0.5, size[0] // 2 + 0.5)
    answer = segmenter.decode(embedding, [click((middle, 1))], multimask_output=True)
    mask = segmenter.upsample(embedding, answer.low_res_logits[0, 1])
    assert mask.size == size
    assert mask.to_array()[size[0] // 2, size[1] // 2]


def test_the_last_answer_can_be_fed_back(segmenter, embedding):
    first = segmenter.decode(embedding, [click((DISK, 1))])
    again = Prompt(np.array([DISK, SQUARE]), np.array([1, 1]), mask_input=first.low_res_logits[0, 0])
    second = segmenter.decode(embedding, [again])
    assert second.low_res_logits.shape == first.low_res_logits.shape
    assert not np.array_equal(second.low_res_logits, first.low_res_logits)


def test_a_mask_alone_is_a_prompt(segmenter, embedding):
    first = segmenter.decode(embedding, [click((DISK, 1))]).low_res_logits[0, 0]
    alone = segmenter.decode(embedding, [Prompt(mask_input=first)])
    beside = segmenter.decode(embedding, [Prompt(mask_input=first), click((SQUARE, 1))])
    np.testing.assert_allclose(alone.low_res_logits[0], beside.low_res_logits[0], atol=1e-3)


def test_strokes_are_held(segmenter, embedding):
    on = Scribble(np.array([[30, 60], [60, 60]], dtype=np.float32))
    off = Scribble(np.array([[100, 40], [130, 40]], dtype=np.float32), positive=False)
    answer = segmenter.decode(embedding, [Prompt(scribbles=(on, off))])
    mask = segmenter.upsample(embedding, answer.low_res_logits[0, 0]).to_array()
    assert mask[60, 31:60].all()
    assert not mask[40, 101:130].any()


def test_what_lies_beyond_the_picture_counts_for_its_edge(segmenter, embedding):
    beyond = [Prompt(box=(-500.0, -500.0, 5000.0, 5000.0)), click(((400.0, 60.0), 1))]
    inside = [Prompt(box=(0.0, 0.0, 150.0, 120.0)), click(((150.0, 60.0), 1))]
    one, other = segmenter.decode(embedding, beyond), segmenter.decode(embedding, inside)
    np.testing.assert_allclose(one.low_res_logits[0], other.low_res_logits[0], atol=1e-3)
    np.testing.assert_allclose(one.low_res_logits[1], other.low_res_logits[1], atol=1e-3)


@pytest.mark.parametrize(
    "broken", [np.full((60, 75), np.nan), np.zeros((1, 60, 75)), np.zeros((0, 5)), np.full((4, 4), np.inf)]
)
def test_logits_that_are_none_are_refused(broken, segmenter, embedding):
    with pytest.raises(InvalidInput, match="prompt 0: mask_input"):
        segmenter.decode(embedding, [Prompt(mask_input=broken.astype(np.float32))])


def test_clear_objects_are_proposed(segmenter, embedding, scenery):
    masks = [mask.to_array() for mask in segmenter.propose(embedding).masks]
    for x, y in (DISK, SQUARE):
        truth = (scenery == scenery[int(y), int(x)]).all(axis=2)
        assert max((mask & truth).sum() / (mask | truth).sum() for mask in masks) > 0.8


def test_equal_questions_get_equal_answers_from_many_threads(segmenter, scenery):
    def ask(_):
        embedding = segmenter.encode([scenery])[0]
        return segmenter.decode(embedding, [click((DISK, 1))]).low_res_logits

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def test_what_is_cached_cannot_be_changed_and_stays_in_its_budget(segmenter, embedding):
    assert all(not array.flags.writeable for array in embedding.arrays.values())
    assert embedding.nbytes < segmenter.embedding_nbytes


def test_a_prompt_that_points_at_nothing_is_refused(segmenter, embedding):
    with pytest.raises(InvalidInput, match="prompt 1 points at nothing"):
        segmenter.decode(embedding, [click((DISK, 1)), Prompt(phrase="a cup")])


def test_an_embedding_of_another_model_is_refused(segmenter, scenery):
    foreign = ClassicalSegmenter().encode([scenery])[0]
    with pytest.raises(InvalidInput, match="encode the image again"):
        segmenter.decode(foreign, [click((DISK, 1))])
    with pytest.raises(InvalidInput, match="encode the image again"):
        segmenter.propose(foreign)


def test_a_picture_that_is_none_is_refused(segmenter):
    with pytest.raises(InvalidInput, match="uint8"):
        segmenter.encode([np.zeros((4, 4), dtype=np.uint8)])
