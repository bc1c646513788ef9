"""The weight-free segmenter keeps its promises to whoever clicks."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.protocols import Proposer, Segmenter
from maskwright.prompts import Prompt, Scribble

SEGMENTER = ClassicalSegmenter()


def scene(height, width, shape, textured=False, seed=0):
    """A red shape on green, its mask, and a point well inside it."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (70, 110, 70), dtype=np.uint8)
    if textured:
        image = np.clip(image + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((height, width), dtype=np.uint8)
    centre, radius = (int(width * 0.4), int(height * 0.55)), int(height * 0.25)
    if shape == "disc":
        cv2.circle(mask, centre, radius, 1, -1)
    elif shape == "square":
        cv2.rectangle(mask, (centre[0] - radius, centre[1] - radius), (centre[0] + radius, centre[1] + radius), 1, -1)
    else:
        angles = np.arange(10) * np.pi / 5
        lengths = np.where(np.arange(10) % 2, radius * 0.45, radius)
        corners = np.stack([centre[0] + lengths * np.cos(angles), centre[1] + lengths * np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    image[mask > 0] = (200, 60, 50)
    return image, mask > 0, centre


def best_mask(embedding, prompt, multimask=False):
    answer = SEGMENTER.decode(embedding, [prompt], multimask_output=multimask)
    logits = answer.low_res_logits[0, int(answer.predicted_iou[0].argmax())]
    return SEGMENTER.upsample(embedding, logits).to_array(), logits


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def tight_box(mask):
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


@pytest.fixture(scope="module")
def many_discs():
    """A grid of equal discs: the image, and (x, y, radius) of each."""
    image = np.full((240, 320, 3), 30, dtype=np.uint8)
    places = [(x, y, 11) for y in range(30, 230, 40) for x in range(30, 310, 40)]
    for x, y, radius in places:
        cv2.circle(image, (x, y), radius, (180, 190, 60), -1)
    return image, places


def test_is_a_segmenter_and_proposes_without_a_grid_of_points():
    assert isinstance(SEGMENTER, Segmenter)
    assert isinstance(SEGMENTER, Proposer)


def test_two_instances_share_one_version_because_nothing_is_random():
    other = ClassicalSegmenter()
    assert (other.version, other.embedding_version) == (SEGMENTER.version, SEGMENTER.embedding_version)
    assert SEGMENTER.version.startswith("classical")


@pytest.mark.parametrize("shape", ["disc", "square", "star"])
@pytest.mark.parametrize("size", [(240, 320), (1080, 1920)])
@pytest.mark.parametrize("textured", [False, True])
def test_one_click_on_a_plain_object_finds_exactly_it(shape, size, textured):
    image, truth, centre = scene(*size, shape, textured)
    embedding = SEGMENTER.encode([image])[0]
    prompt = Prompt.from_points([(centre[0] + 0.5, centre[1] + 0.5, 1)])
    assert iou(best_mask(embedding, prompt, multimask=True)[0], truth) > 0.98
    assert iou(best_mask(embedding, prompt)[0], truth) > 0.98


@pytest.mark.parametrize("shape", ["disc", "square", "star"])
@pytest.mark.parametrize("margin", [0.0, 0.08, 0.15])
@pytest.mark.parametrize("textured", [False, True])
def test_a_tight_or_loose_box_on_a_plain_object_finds_exactly_it(shape, margin, textured):
    image, truth, _ = scene(480, 640, shape, textured)
    x1, y1, x2, y2 = tight_box(truth)
    dx, dy = margin * (x2 - x1), margin * (y2 - y1)
    embedding = SEGMENTER.encode([image])[0]
    assert iou(best_mask(embedding, Prompt(box=(x1 - dx, y1 - dy, x2 + dx, y2 + dy)))[0], truth) > 0.98


@pytest.mark.parametrize("shape", ["disc", "square", "star"])
@pytest.mark.parametrize("side", range(4))
def test_a_box_drawn_in_haste_that_cuts_the_object_still_finds_it(shape, side):
    image, mask, centre = scene(240, 320, shape, textured=True)
    box = list(tight_box(mask))
    box[side] += (1 if side < 2 else -1) * 0.06 * (box[2] - box[0])
    embedding = SEGMENTER.encode([image])[0]
    for points in ([], [(*centre, 1)], [(*centre, 1), (5, 5, 0)]):
        found, _ = best_mask(embedding, Prompt.from_points(points, box=tuple(box)))
        assert iou(found, mask) > 0.9


def test_nothing_beyond_the_slack_of_a_box_is_selected(picture):
    image = picture(200, 260, 3)
    box = (40.0, 30.0, 140.0, 120.0)
    mask, _ = best_mask(SEGMENTER.encode([image])[0], Prompt(box=box))
    ys, xs = np.nonzero(mask)
    assert len(xs)
    assert xs.min() >= 29
    assert ys.min() >= 20
    assert xs.max() < 151
    assert ys.max() < 130


def test_a_click_on_one_of_many_alike_selects_that_one_only(many_discs):
    image, places = many_discs
    embedding = SEGMENTER.encode([image])[0]
    for x, y, radius in places[::5]:
        truth = np.zeros(image.shape[:2], dtype=np.uint8)
        cv2.circle(truth, (x, y), radius, 1, -1)
        mask, _ = best_mask(embedding, Prompt.from_points([(x + 0.5, y + 0.5, 1)]), multimask=True)
        assert iou(mask, truth > 0) > 0.9


def test_three_hypotheses_are_nested_from_part_to_whole(picture):
    embedding = SEGMENTER.encode([picture(180, 240, 5)])[0]
    answer = SEGMENTER.decode(embedding, [Prompt.from_points([(100, 90, 1)])], multimask_output=True)
    small, middle, large = (SEGMENTER.upsample(embedding, logits) for logits in answer.low_res_logits[0])
    assert small.area <= middle.area <= large.area
    assert answer.predicted_iou.shape == (1, 3)
    assert ((answer.predicted_iou >= 0) & (answer.predicted_iou <= 1)).all()


def test_one_answer_per_prompt_equals_asking_one_by_one(picture):
    embedding = SEGMENTER.encode([picture(120, 160)])[0]
    prompts = [Prompt.from_points([(30, 40, 1)]), Prompt(box=(20.0, 20.0, 90.0, 80.0))]
    together = SEGMENTER.decode(embedding, prompts)
    for index, prompt in enumerate(prompts):
        alone = SEGMENTER.decode(embedding, [prompt])
        np.testing.assert_array_equal(together.low_res_logits[index], alone.low_res_logits[0])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 700),
    clicks=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=6),
    boxed=st.booleans(),
)
def test_clicked_pixels_always_lie_on_their_side(height, width, clicks, boxed):
    rng = np.random.default_rng(height * 1000 + width)
    image = cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (width, height))
    pixels = {(min(int(x * width), width - 1), min(int(y * height), height - 1)): label for x, y, label in clicks}
    box = (0.0, 0.0, max(width / 2, 0.5), max(height / 2, 0.5)) if boxed else None
    prompt = Prompt.from_points([(x + 0.5, y + 0.5, label) for (x, y), label in pixels.items()], box=box)
    embedding = SEGMENTER.encode([image])[0]
    answer = SEGMENTER.decode(embedding, [prompt], multimask_output=True)
    for logits in answer.low_res_logits[0]:
        mask = SEGMENTER.upsample(embedding, logits).to_array()
        assert mask.shape == (height, width)
        assert all(mask[y, x] == bool(label) for (x, y), label in pixels.items())


def test_clicks_closer_than_a_grid_cell_are_still_told_apart():
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    embedding = SEGMENTER.encode([image])[0]
    prompt = Prompt.from_points([(1000.5, 700.5, 1), (1001.5, 700.5, 0), (1000.5, 701.5, 0)])
    mask, _ = best_mask(embedding, prompt)
    assert mask[700, 1000]
    assert not mask[700, 1001]
    assert not mask[701, 1000]


def test_a_negative_click_removes_what_does_not_belong():
    image, truth, centre = scene(240, 320, "disc")
    image[truth & (np.arange(320)[None] > centre[0])] = (190, 90, 50)
    embedding = SEGMENTER.encode([image])[0]
    first = Prompt(box=tight_box(truth))
    whole, logits = best_mask(embedding, first)
    spot = (centre[0] + 30, centre[1])
    if not whole[spot[1], spot[0]]:
        pytest.skip("the first answer was the half already")
    second = Prompt.from_points([(spot[0] + 0.5, spot[1] + 0.5, 0)], box=first.box)
    refined, _ = best_mask(embedding, Prompt(second.point_coords, second.point_labels, second.box, (), logits))
    assert refined.sum() < whole.sum()
    assert not refined[spot[1], spot[0]]
    assert refined[centre[1], centre[0] - 30]


def test_a_second_click_improves_the_mask_that_was_fed_back(many_discs):
    image, places = many_discs
    embedding = SEGMENTER.encode([image])[0]
    truth = np.zeros(image.shape[:2], dtype=np.uint8)
    for x, y, radius in places[:2]:
        cv2.circle(truth, (x, y), radius, 1, -1)
    points = [(x + 0.5, y + 0.5, 1) for x, y, _ in places[:2]]
    first, logits = best_mask(embedding, Prompt.from_points(points[:1]), multimask=True)
    both = Prompt.from_points(points)
    second, _ = best_mask(embedding, Prompt(both.point_coords, both.point_labels, mask_input=logits))
    assert iou(first, truth > 0) < 0.6
    assert iou(second, truth > 0) > 0.9


def test_feeding_an_answer_back_with_the_same_prompt_returns_it_for_ever(picture):
    embedding = SEGMENTER.encode([picture(150, 200, 2)])[0]
    prompt = Prompt.from_points([(60, 70, 1), (150, 30, 0)])
    _, logits = best_mask(embedding, prompt)
    for _ in range(4):
        again = Prompt(prompt.point_coords, prompt.point_labels, mask_input=logits)
        _, next_logits = best_mask(embedding, again)
        np.testing.assert_array_equal(next_logits, logits)


def test_a_mask_alone_is_a_prompt(picture):
    embedding = SEGMENTER.encode([picture(100, 100)])[0]
    mask, logits = best_mask(embedding, Prompt(box=(20.0, 20.0, 70.0, 70.0)))
    again, _ = best_mask(embedding, Prompt(mask_input=logits))
    np.testing.assert_array_equal(mask, again)


def test_scribbles_hold_their_strokes():
    image, truth, centre = scene(240, 320, "disc")
    embedding = SEGMENTER.encode([image])[0]
    line = np.array([[centre[0] - 20, centre[1]], [centre[0] + 20, centre[1]]], dtype=np.float32)
    mask, _ = best_mask(embedding, Prompt(scribbles=(Scribble(line, True, 2.0),)))
    assert iou(mask, truth) > 0.98
    off = np.array([[10, 10], [60, 12]], dtype=np.float32)
    mask, _ = best_mask(embedding, Prompt(scribbles=(Scribble(line, True, 2.0), Scribble(off, False, 2.0))))
    assert mask[centre[1], centre[0] - 20 : centre[0] + 21].all()
    assert not mask[10, 10:60].any()


def test_only_a_negative_click_selects_nothing(picture):
    embedding = SEGMENTER.encode([picture(60, 80)])[0]
    mask, _ = best_mask(embedding, Prompt.from_points([(20, 20, 0)]))
    assert not mask.any()


def test_answers_do_not_depend_on_the_thread(picture):
    image = picture(160, 200, 4)
    prompts = [Prompt.from_points([(20 + 17 * k, 30 + 11 * k, 1), (190, 5, 0)]) for k in range(8)]

    def run(prompt):
        return SEGMENTER.decode(SEGMENTER.encode([image])[0], [prompt], multimask_output=True).low_res_logits

    alone = [run(prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        for expected, actual in zip(alone, pool.map(run, prompts), strict=True):
            np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("size", [(1, 1), (1, 600), (900, 2), (2, 2), (3000, 5)])
def test_tiny_and_sliver_images_are_answered(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    embedding = SEGMENTER.encode([image])[0]
    mask, _ = best_mask(embedding, Prompt.from_points([(0.5, 0.5, 1)]))
    assert mask.shape == size
    assert mask[0, 0]
    mask, _ = best_mask(embedding, Prompt(box=(0.0, 0.0, float(size[1]), float(size[0]))))
    assert mask.any()
    SEGMENTER.propose(embedding)


def test_embeddings_are_read_only_and_within_their_budget():
    noise = np.random.default_rng(2).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    embedding = SEGMENTER.encode([noise])[0]
    assert embedding.nbytes <= SEGMENTER.embedding_nbytes
    assert embedding.original_size == (700, 700)
    assert not any(array.flags.writeable for array in embedding.arrays.values())


def test_a_prompt_that_points_at_nothing_is_refused(picture):
    embedding = SEGMENTER.encode([picture(40, 40)])[0]
    with pytest.raises(InvalidInput, match="points at nothing"):
        SEGMENTER.decode(embedding, [Prompt(phrase="cat")])


def test_an_embedding_of_another_version_is_refused(picture):
    embedding = SEGMENTER.encode([picture(40, 40)])[0]
    stranger = type(embedding)(embedding.arrays, embedding.original_size, embedding.input_size, "classical-0")
    with pytest.raises(InvalidInput, match="encode the image again"):
        SEGMENTER.decode(stranger, [Prompt.from_points([(1, 1, 1)])])
    with pytest.raises(InvalidInput, match="encode the image again"):
        SEGMENTER.propose(stranger)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_what_is_not_an_rgb_image_is_refused(shape):
    with pytest.raises(InvalidInput, match=r"\(H, W, 3\)"):
        SEGMENTER.encode([np.zeros(shape, dtype=np.uint8)])


def test_proposals_find_every_one_of_many_alike(many_discs):
    image, places = many_discs
    proposals = SEGMENTER.propose(SEGMENTER.encode([image])[0])
    likely = [m for m, score in zip(proposals.masks, proposals.predicted_iou, strict=True) if score > 0.5]
    for x, y, radius in places:
        truth = np.zeros(image.shape[:2], dtype=np.uint8)
        cv2.circle(truth, (x, y), radius, 1, -1)
        assert max(iou(mask.to_array(), truth > 0) for mask in likely) > 0.9
    assert len(likely) < 2 * len(places)
    assert len(proposals.masks) == len(proposals.predicted_iou) == len(proposals.stability)
    assert ((proposals.stability >= 0) & (proposals.stability <= 1)).all()


def test_a_picture_of_one_colour_has_no_proposals():
    proposals = SEGMENTER.propose(SEGMENTER.encode([np.full((80, 90, 3), 77, dtype=np.uint8)])[0])
    assert proposals.masks == ()
