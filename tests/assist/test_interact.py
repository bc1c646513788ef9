"""A click means what the clicks before it said; large images are answered near the click; faults are named."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.encoding import EmbeddingService
from maskwright.assist.interact import MAX_REPLAYED_CLICKS, Interactor, without_refused_parts
from maskwright.assist.prompt_frame import window_for
from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.prompts import Prompt, Scribble

A, B, C = (5, 5, 15, 15), (20, 5, 30, 15), (40, 20, 55, 35)
ON_A, ON_B, ON_C = (10.0, 10.0), (25.0, 10.0), (47.0, 27.0)


def clicks(*points: tuple[float, float, int], **others) -> Prompt:
    return Prompt.from_points(list(points), **others)


@pytest.fixture
def embeddings():
    service = EmbeddingService(memory_bytes=64 << 20)
    yield service
    service.close()


@pytest.fixture
def interactor(embeddings):
    return Interactor(embeddings, tile_size=256)


@pytest.fixture
def image(picture):
    return picture(1, A, B, C)


def painted(*boxes, size=(40, 60)) -> Mask:
    mask = Mask.empty(size)
    for box in boxes:
        mask = mask | Mask.from_box(box, size)
    return mask


def test_one_positive_click_gets_the_best_of_three_masks(interactor, counting, image):
    answer = interactor.answer(counting, image, clicks((*ON_A, 1)))
    assert answer.mask == painted(A)
    assert answer.score == pytest.approx(0.9)
    assert counting.decodes == [(1, False, True)]
    assert answer.low_res_logits.shape == (40, 60)


@pytest.mark.parametrize(
    "prompt",
    [
        clicks((*ON_A, 1), (*ON_B, 1)),
        clicks((*ON_A, 1), (*ON_B, 0)),
        clicks((*ON_A, 1), box=(0, 0, 20, 20)),
        clicks(box=(0, 0, 20, 20)),
        Prompt(scribbles=(Scribble(np.array([[8, 8], [12, 12]], np.float32)),)),
        Prompt(point_coords=[ON_A], point_labels=[1], mask_input=np.zeros((40, 60), np.float32)),
    ],
)
def test_any_other_prompt_gets_a_single_mask(interactor, counting, image, prompt):
    interactor.answer(counting, image, prompt)
    assert [multimask for *_, multimask in counting.decodes] == [False]


def test_the_next_click_of_a_region_sees_what_the_last_one_led_to(interactor, counting, image):
    interactor.answer(counting, image, clicks((*ON_A, 1)), region_key="r")
    second = interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1)), region_key="r")
    third = interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1), (*ON_A, 0)), region_key="r")
    assert second.mask == painted(A, B)
    assert third.mask == painted(B)
    assert counting.decodes == [(1, False, True), (2, True, False), (3, True, False)]


def test_forgotten_clicks_are_replayed_and_give_the_same_answer(interactor, embeddings, counting, image):
    prompt = clicks((*ON_A, 1), (*ON_B, 1), (*ON_C, 1), (*ON_B, 0))
    for count in range(1, 5):
        remembered = interactor.answer(counting, image, prompt.prefix(count), region_key="r")
    counting.decodes.clear()
    replayed = Interactor(embeddings, tile_size=256).answer(counting, image, prompt, region_key="r")
    assert replayed.mask == remembered.mask == painted(A, C)
    assert replayed.score == remembered.score
    np.testing.assert_array_equal(replayed.low_res_logits, remembered.low_res_logits)
    assert [fed for _, fed, _ in counting.decodes] == [False, True, True, True]


def test_only_what_is_forgotten_is_replayed(interactor, counting, image):
    interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1)), region_key="r")
    counting.decodes.clear()
    interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1), (*ON_C, 1)), region_key="r")
    assert counting.decodes == [(3, True, False)]
    interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1), (*ON_C, 1)), region_key="r")
    assert len(counting.decodes) == 1


def test_the_second_region_of_a_label_never_sees_the_first_ones_logits(interactor, counting, image):
    interactor.answer(counting, image, clicks((*ON_A, 1)), region_key="task 1, label cat")
    interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1)), region_key="task 1, label cat")
    counting.decodes.clear()
    first = interactor.answer(counting, image, clicks((*ON_C, 1)), region_key="task 1, label cat")
    second = interactor.answer(counting, image, clicks((*ON_C, 1), (*ON_B, 1)), region_key="task 1, label cat")
    assert counting.decodes[0] == (1, False, True)
    assert first.mask == painted(C)
    assert second.mask == painted(B, C)


def test_regions_and_images_and_models_do_not_share_logits(interactor, counting, make_counting, image, picture):
    prompt = clicks((*ON_A, 1), (*ON_B, 1))
    other = make_counting("other")
    interactor.answer(counting, image, prompt, region_key="r")
    interactor.answer(counting, image, prompt, region_key="s")
    interactor.answer(counting, picture(2, A, B, C), prompt, region_key="r")
    interactor.answer(other, image, prompt, region_key="r")
    assert len(counting.decodes) == 6
    assert len(other.decodes) == 2


def test_a_question_without_a_region_is_one_decode_without_history(interactor, counting, image):
    interactor.answer(counting, image, clicks((*ON_A, 1)), region_key="r")
    counting.decodes.clear()
    answer = interactor.answer(counting, image, clicks((*ON_A, 1), (*ON_B, 1)))
    assert counting.decodes == [(2, False, False)]
    assert answer.mask == painted(B)


def test_the_callers_own_logits_are_used_as_they_are_and_not_remembered(interactor, counting, image):
    given = np.full((40, 60), -8, np.float32)
    given[20:35, 40:55] = 8
    prompt = Prompt(point_coords=[ON_A], point_labels=[1], mask_input=given)
    assert interactor.answer(counting, image, prompt, region_key="r").mask == painted(A, C)
    assert interactor.state()["remembered_answers"] == 0


def test_a_box_is_the_first_step_of_the_clicks_that_follow_it(interactor, counting, image):
    answer = interactor.answer(counting, image, clicks((*ON_C, 1), box=(0, 0, 18, 18)), region_key="r")
    assert [(count, fed) for count, fed, _ in counting.decodes] == [(0, False), (1, True)]
    assert answer.mask == painted(A, C)


def test_a_leading_negative_click_is_no_step_of_its_own(interactor, counting, image):
    answer = interactor.answer(counting, image, clicks((*ON_A, 0), (*ON_B, 1)), region_key="r")
    assert counting.decodes == [(2, False, False)]
    assert answer.mask == painted(B)


def test_only_negative_clicks_mean_nothing_and_cost_nothing(interactor, counting, image):
    answer = interactor.answer(counting, image, clicks((*ON_A, 0)), region_key="r")
    assert (answer.mask, answer.score, answer.low_res_logits) == (Mask.empty((40, 60)), 0.0, None)
    assert (counting.decodes, counting.batches) == ([], [])


def test_nothing_under_the_click_is_an_empty_mask_with_score_0(interactor, counting, image):
    answer = interactor.answer(counting, image, clicks((1, 39, 1)))
    assert answer.mask.is_empty
    assert answer.score == 0.0


def test_a_long_history_costs_a_bounded_time(interactor, counting, image):
    many = clicks(*[(10.0 + i / 100, 10.0, 1) for i in range(200)])
    interactor.answer(counting, image, many, region_key="r")
    assert len(counting.decodes) == MAX_REPLAYED_CLICKS + 1


def test_remembered_logits_are_bounded(embeddings, counting, image):
    one = 40 * 60 * 2 + 1024
    small = Interactor(embeddings, tile_size=256, memory_bytes=4 * one)
    for number in range(30):
        small.answer(counting, image, clicks((5.1 + number / 10, 10, 1)), region_key=str(number))
        assert small.state()["remembered_bytes"] <= 4 * one
    assert small.state()["remembered_answers"] == 4


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(), "empty"),
        (Prompt(phrase="the cat"), "phrase alone"),
        (clicks((100, 10, 1)), "100,10 lies outside the image, which is 60 x 40"),
        (clicks((10, -3, 1)), "outside"),
        (clicks(box=(70, 10, 90, 20)), "box 70,10,90,20 lies outside"),
        (clicks(*[(1, 1, 1)] * 1001), "at most 1000"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused_by_name(interactor, counting, image, prompt, message):
    with pytest.raises(InvalidInput, match=message):
        interactor.answer(counting, image, prompt)
    assert counting.batches == []


def test_a_phrase_beside_a_click_is_allowed(interactor, counting, image):
    assert interactor.answer(counting, image, clicks((*ON_A, 1), phrase="the cat")).mask == painted(A)


def test_coordinates_on_the_border_belong_to_the_last_pixel(interactor, counting, picture):
    image = picture(1, (50, 30, 60, 40))
    assert interactor.answer(counting, image, clicks((60, 40, 1))).mask.area == 100
    assert interactor.answer(counting, image, clicks((60.6, 40.6, 1))).mask.area == 100
    assert interactor.answer(counting, image, clicks(box=(45, 25, 80, 80))).mask.area == 100


# --- images larger than a tile ---


BIG = (900, 1200)


def test_a_click_on_a_large_image_encodes_the_window_around_it(interactor, counting, picture):
    box = (700, 500, 740, 530)
    image = picture(1, box, size=BIG)
    answer = interactor.answer(counting, image, clicks((720, 515, 1)))
    assert answer.mask == painted(box, size=BIG)
    x0, y0, x1, y1 = answer.window
    assert (x1 - x0, y1 - y0) == (256, 256)
    assert x0 <= 720 - 64 < 720 + 64 <= x1
    assert answer.low_res_logits.shape == (256, 256)


def test_a_box_larger_than_a_tile_is_answered_on_the_whole_image(interactor, counting, picture):
    box = (100, 100, 800, 700)
    answer = interactor.answer(counting, picture(1, box, size=BIG), clicks(box=(90, 90, 810, 710)))
    assert answer.window is None
    assert answer.mask == painted(box, size=BIG)


def test_an_object_that_the_window_would_cut_off_is_answered_on_the_whole_image(interactor, counting, picture):
    box = (100, 100, 800, 700)
    image = picture(1, box, size=BIG)
    answer = interactor.answer(counting, image, clicks((400, 400, 1)), region_key="r")
    assert answer.mask == painted(box, size=BIG)
    assert len(counting.batches) == 2
    again = interactor.answer(counting, image, clicks((400, 400, 1), (120, 120, 1)), region_key="r")
    assert again.mask == painted(box, size=BIG)


def test_an_object_at_the_images_own_border_is_not_cut_off(interactor, counting, picture):
    box = (0, 0, 100, 80)
    answer = interactor.answer(counting, picture(1, box, size=BIG), clicks((50, 40, 1)))
    assert answer.window is not None
    assert answer.mask == painted(box, size=BIG)


def test_the_clicks_of_one_region_stay_in_one_window_while_they_keep_their_distance(interactor, counting, picture):
    image = picture(1, (600, 400, 640, 440), (650, 400, 690, 440), size=BIG)
    prompt = clicks((620, 420, 1), (670, 420, 1), (630, 430, 1))
    for count in (1, 2, 3):
        answer = interactor.answer(counting, image, prompt.prefix(count), region_key="r")
    assert len(counting.batches) == 1
    assert answer.mask == painted((600, 400, 640, 440), (650, 400, 690, 440), size=BIG)
    fresh = window_for(prompt, BIG, 256)
    assert fresh == answer.window


def test_a_window_always_holds_the_whole_prompt():
    rng = np.random.default_rng(0)
    for _ in range(500):
        size = tuple(int(v) for v in rng.integers(200, 3000, 2))
        points = rng.uniform(0, 1, (rng.integers(1, 6), 2)) * [size[1] - 1, size[0] - 1]
        prompt = clicks(*[(x, y, 1) for x, y in points])
        window = window_for(prompt, size, 256)
        if max(size) <= 256:
            assert window is None
        elif window is not None:
            x0, y0, x1, y1 = window
            assert x1 - x0 <= 256
            assert y1 - y0 <= 256
            assert ((prompt.point_coords >= [x0, y0]) & (prompt.point_coords <= [x1, y1])).all()
        else:
            low, high = points.min(axis=0), points.max(axis=0)
            assert (high - low).max() > 250


# --- parts that were clicked away ---


def test_a_part_with_a_negative_click_and_no_positive_one_goes():
    mask = painted(A, B, C)
    assert without_refused_parts(mask, clicks((*ON_A, 1), (*ON_B, 0))) == painted(A, C)


@pytest.mark.parametrize(
    "prompt",
    [
        clicks((*ON_A, 1)),
        clicks((*ON_A, 1), (1, 1, 0)),
        clicks((*ON_A, 1), (8, 8, 0)),
        clicks((*ON_A, 0), box=(0, 0, 60, 40)),
    ],
)
def test_parts_that_were_not_refused_stay(prompt):
    mask = painted(A, B, C)
    assert without_refused_parts(mask, prompt) == mask


def test_an_outline_stands_for_the_prompt_and_the_object_inside_it_is_the_answer(interactor, oracle, image):
    loose = painted((18, 3, 31, 17))
    answer = interactor.answer(oracle, image, clicks((*ON_A, 1)), region_key="r", outline=loose)
    assert answer.mask == painted(B)
    assert answer.score == pytest.approx(0.97)
    nothing = interactor.answer(oracle, image, clicks((*ON_A, 1)), outline=Mask.empty((40, 60)))
    assert nothing.mask == painted(A), "an outline without a pixel says nothing"


def test_an_outline_on_a_large_image_is_answered_at_its_place(embeddings, oracle, picture):
    place = (420, 250, 460, 300)
    large = picture(1, A, place, size=(400, 600))
    loose = Mask.from_box((415, 246, 466, 305), (400, 600))
    answer = Interactor(embeddings, tile_size=256).answer(oracle, large, clicks((430, 260, 1)), outline=loose)
    assert answer.window is not None
    assert answer.mask == Mask.from_box(place, (400, 600))
