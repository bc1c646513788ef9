"""Phrases find what they mean in scenes whose every object is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.assist.refer import refer_regions
from maskwright.assist.referring.expressions import EXTREMES, PLACES, RELATIONS
from maskwright.assist.referring.finders import finder_by_detector
from maskwright.assist.referring.reading import PROMPT, read_phrases
from maskwright.assist.referring.resolve import Found
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.masks import Mask
from maskwright.models.language.prompt_sets import read_data, templates
from maskwright.models.language.schema import find_fault
from maskwright.models.protocols import Candidates, Detections, ImageEmbedding

SIZE = (200, 300)
# A bench in the middle of the lower half, dogs around it, a cat on it, a ball between two trees.
SCENE = {
    "bench": [(130, 120, 190, 160)],
    "dog": [(10, 130, 40, 160), (100, 135, 125, 160), (200, 110, 260, 160), (270, 5, 290, 20)],
    "cat": [(150, 100, 170, 122)],
    "tree": [(10, 10, 30, 90), (80, 10, 100, 80)],
    "ball": [(50, 50, 60, 60), (220, 30, 230, 40)],
    "cage": [(210, 20, 250, 60)],
}


def see(*words, scene=SCENE, score=0.9):
    """Finds everything of the scene by its exact name."""
    found = [
        Found(Mask.from_box(box, SIZE), score) for word in words[0] for box in scene.get(word.removeprefix("the "), [])
    ]
    return found[::-1]


def boxes(text, **options):
    answer = refer_regions(text, see, SIZE, **options)
    return [tuple(region.mask.box) for region in answer.regions], answer.reasons


def dogs(*numbers):
    return [SCENE["dog"][number] for number in numbers]


@pytest.mark.parametrize(
    ("phrase", "numbers"),
    [
        ("the left dog", [0]), ("the rightmost dog", [3]), ("the dog at the top", [3]), ("lowest dog", [1]),
        ("second dog from the left", [1]),
        ("the dog in the top right corner", [3]), ("biggest dog", [2]), ("the second largest dog", [0]),
        ("the smallest dog", [3]), ("widest dog", [2]), ("tallest dog", [2]), ("narrowest dog", [3]),
        ("the two leftmost dogs", [0, 1]), ("dogs on the left", [0, 1]), ("the dogs at the top", [3]),
        ("biggest dogs", [2]), ("the dog left of the bench", [1]), ("all dogs left of the bench", [0, 1]),
        ("the dog to the right of the bench", [2]), ("dog above the bench", [3]), ("the dog next to the bench", [1]),
        ("the dogs next to the bench", [1, 2]), ("the left dog next to the bench", [1]),
        ("the dog that is not next to the bench", [3]), ("all dogs except the biggest one", [3, 1, 0]),
        ("dogs not on the left", [3, 2]), ("the biggest dog on the left", [0]), ("the left dog on the right", [2]),
    ],
)  # fmt: skip
def test_each_relation_and_order_finds_the_right_dogs(phrase, numbers):
    found, reasons = boxes(phrase)
    assert sorted(found) == sorted(dogs(*numbers)), (found, reasons)
    assert not reasons


@pytest.mark.parametrize(
    ("phrase", "box"),
    [
        ("the cat on the bench", SCENE["cat"][0]),
        ("the bench under the cat", SCENE["bench"][0]),
        ("the ball between the trees", SCENE["ball"][0]),
        ("the ball between the two trees", SCENE["ball"][0]),
        ("the ball in the cage", SCENE["ball"][1]),
        ("the cage around here", None),
        ("the ball right of the right tree", SCENE["ball"][1]),
        ("the cat on the bench left of the biggest dog", SCENE["cat"][0]),
    ],
)
def test_other_relations_and_nested_ones(phrase, box):
    found, reasons = boxes(phrase)
    assert found == ([] if box is None else [box])
    assert bool(reasons) == (box is None)


KINDS = ["red circle", "blue square", "green triangle"]
ENDS = {
    "leftmost": lambda b: b[0] + b[2], "rightmost": lambda b: -b[0] - b[2], "topmost": lambda b: b[1] + b[3],
    "lowest": lambda b: -b[1] - b[3], "largest": lambda b: -(b[2] - b[0]) * (b[3] - b[1]),
    "smallest": lambda b: (b[2] - b[0]) * (b[3] - b[1]), "tallest": lambda b: b[1] - b[3],
    "widest": lambda b: b[0] - b[2],
}  # fmt: skip
BESIDE = {
    "left of": lambda a, b: a[0] < b[0] and a[2] < b[2], "to the right of": lambda a, b: a[0] > b[0] and a[2] > b[2],
    "above": lambda a, b: a[1] < b[1] and a[3] < b[3], "under": lambda a, b: a[1] > b[1] and a[3] > b[3],
}  # fmt: skip


@st.composite
def scenes(draw):
    """Things of three kinds in a row of cells, so that none hides another."""
    places = draw(st.permutations(range(24)))[: draw(st.integers(1, 12))]
    scene = {}
    for place in places:
        x, y = 50 * (place % 6) + draw(st.integers(0, 9)), 50 * (place // 6) + draw(st.integers(0, 9))
        width, height = draw(st.integers(8, 40)), draw(st.integers(8, 40))
        scene.setdefault(draw(st.sampled_from(KINDS)), []).append((x, y, x + width, y + height))
    return scene


@settings(derandomize=True, deadline=None, max_examples=150)
@given(scenes(), st.sampled_from(KINDS), st.sampled_from(KINDS), st.data())
def test_in_generated_scenes_what_is_found_is_what_plain_arithmetic_says(scene, kind, other, data):
    def found(text):
        answer = refer_regions(text, lambda words: see(words, scene=scene), SIZE)
        assert bool(answer.regions) or bool(answer.reasons)
        return [tuple(region.mask.box) for region in answer.regions]

    things, anchors = scene.get(kind, []), scene.get(other, [])
    assert sorted(found(f"all {kind}s")) == sorted(things)
    end = data.draw(st.sampled_from(sorted(ENDS)))
    if things:
        best = min(map(ENDS[end], things))
        assert [ENDS[end](box) for box in found(f"the {end} {kind}")] == [best]
        others = found(f"all {kind}s except the {end} one")
        assert len(others) == len(things) - 1
        assert set(others) < set(things)
    rank = data.draw(st.integers(1, 3))
    counted = found(f"the {['first', 'second', 'third'][rank - 1]} {kind} from the left")
    places = sorted(map(ENDS["leftmost"], things))
    assert [ENDS["leftmost"](box) for box in counted] == places[rank - 1 : rank]
    how = data.draw(st.sampled_from(sorted(BESIDE)))
    related = [a for a in things if any(a != b and BESIDE[how](a, b) for b in anchors)]
    assert sorted(found(f"all {kind}s {how} all {other}s")) == sorted(related)


def test_the_middle_one_has_as_many_on_both_sides():
    scene = {"dog": [(10, 10, 20, 20), (30, 10, 40, 20), (250, 10, 260, 20)]}
    answer = refer_regions("the middle dog", lambda words: see(words, scene=scene), SIZE)
    assert [tuple(region.mask.box) for region in answer.regions] == [(30, 10, 40, 20)]


def test_several_phrases_give_several_regions_in_their_order_and_none_twice():
    found, reasons = boxes("the cat; the biggest dog\nthe cat and the bench")
    assert found == [SCENE["cat"][0], SCENE["dog"][2], SCENE["bench"][0]]
    assert not reasons


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("the elephant", "nothing was found that looks like"),
        ("the dog next to the elephant", "so nothing can be next to it"),
        ("the cat in the cage", "none in 'cage'"),
        ("fifth dog from the left", "only 4 'dog' found"),
        ("all cats except the left one", "excluded"),
        ("the left one", "choose a class"),
        ("trees on the right", "none at the right"),
    ],
)
def test_nothing_is_found_where_nothing_is_and_the_reason_is_told(phrase, reason):
    found, reasons = boxes(phrase)
    assert not found
    assert reasons[0].startswith(repr(phrase))
    assert reason in reasons[0]


def test_fewer_than_asked_for_are_given_and_the_rest_is_told():
    found, reasons = boxes("three trees")
    assert len(found) == 2
    assert "only 2" in reasons[0]


def test_the_chosen_class_is_what_one_stands_for_and_labels_the_regions():
    answer = refer_regions("the left one", see, SIZE, label="animal", also=("dog",), model_version="v1")
    region = answer.regions[0]
    assert tuple(region.mask.box) == SCENE["dog"][0]
    assert (region.label, region.provenance.source, region.provenance.model_version) == ("animal", "interactive", "v1")


def test_attributes_are_not_drowned_by_the_words_of_the_chosen_class():
    scene = {"car": [(10, 10, 60, 40), (100, 10, 150, 40)], "red car": [(100, 10, 150, 40)]}

    def find(words):
        return [
            Found(Mask.from_box(box, SIZE), 0.9) for word in words for box in scene.get(word.removeprefix("the "), [])
        ]

    def found(text, also):
        return [tuple(region.mask.box) for region in refer_regions(text, find, SIZE, also=also).regions]

    assert found("the red car", ("car", "automobile")) == scene["red car"]
    assert found("all cars except the red car", ("car", "automobile")) == scene["car"][:1]
    assert found("automobiles", ("car", "automobile")) == scene["car"]
    assert found("the red one", ("automobile", "car")) == scene["red car"]
    assert found("all cars except the red one", ("car",)) == scene["car"][:1]
    assert found("all but the red one", ("car",)) == scene["car"][:1]
    assert found("all but the blue one", ("car",)) == scene["car"]
    assert found("the automobile", ("car", "automobile")) == scene["car"][:1]
    assert found("all shiny cars", ("car",)) == scene["car"], "better than nothing"
    assert found("all cars except the vans", ("car",)) == scene["car"]


def test_the_anchor_that_is_meant_need_not_be_the_surest_of_its_kind():
    scene = {"bench": [(10, 10, 40, 30), (240, 160, 280, 190)], "dog": [(200, 170, 230, 190)]}

    def find(words):
        return [
            Found(Mask.from_box(box, SIZE), 0.9 - 0.1 * number)
            for word in words
            for number, box in enumerate(scene.get(word, []))
        ]

    for text in ("the dog next to the bench", "dog beside a bench"):
        assert len(refer_regions(text, find, SIZE).regions) == 1
    assert not refer_regions("the dog next to the left bench", find, SIZE).regions


def test_unlikely_things_are_not_counted():
    def find(words):
        return [*see(words), Found(Mask.from_box((0, 0, 5, 5), SIZE), 0.2)]

    answer = refer_regions("the left dog", find, SIZE)
    assert tuple(answer.regions[0].mask.box) == SCENE["dog"][0]


def test_an_empty_text_is_refused():
    with pytest.raises(InvalidInput, match="empty"):
        refer_regions(" ;\n", see, SIZE)


class Scripted:
    """A language model that says one thing, and remembers what it was asked."""

    name = version = "scripted"

    def __init__(self, answer):
        self.answer_, self.asked = answer, []

    def answer(self, messages, schema):
        self.asked.append((messages, schema))
        if isinstance(self.answer_, Exception):
            raise self.answer_
        assert find_fault(self.answer_, schema) is None
        return self.answer_


def part(noun, **other):
    plain = {"noun": noun, "count": 1, "order": None, "rank": 1, "relation": None, "anchors": [], "excluded": []}
    return {**plain, **other}


def test_a_language_model_reads_what_the_grammar_cannot():
    anchor = {"noun": "cat", "count": 1, "order": None, "rank": 1}
    model = Scripted({"regions": [part("bench", relation="below", anchors=[anchor])]})
    found, reasons = boxes("what the cat would sit on; the cat", language=model)
    assert found == [SCENE["bench"][0], SCENE["cat"][0]]
    assert not reasons
    ((messages, _),) = model.asked
    assert read_data(messages)["phrase"] == "what the cat would sit on"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, "'behind'"),
        (Scripted(ModelUnavailable("it is down")), "it is down"),
        (Scripted({"regions": [part("dog", relation="on", anchors=[{**part("a"), "x": 0}] * 2)]}), "makes no sense"),
    ],
)
def test_without_an_answer_the_phrase_is_a_name_and_the_problem_is_told(model, reason):
    if model is not None and isinstance(model.answer_, dict):
        keep = ("noun", "count", "order", "rank")
        for anchor in model.answer_["regions"]:
            anchor["anchors"] = [{key: one[key] for key in keep} for one in anchor["anchors"]]
    (reading,) = read_phrases("dog behind the bench", language=model)
    assert [one.noun for one in reading.expressions] == ["dog behind the bench"]
    assert reason in reading.problems[0]


def test_a_language_model_may_say_that_nothing_is_meant():
    found, reasons = boxes("what is this", language=Scripted({"regions": []}))
    assert not found
    assert "nothing in it" in reasons[0]


def test_the_prompt_offers_every_order_and_relation_of_the_grammar():
    region = templates()[PROMPT].schema["properties"]["regions"]["items"]["properties"]
    assert region["order"]["enum"] == [*PLACES, *EXTREMES, None]
    assert region["relation"]["enum"] == [*RELATIONS, None]
    inner = [region[kind]["items"]["properties"]["order"] for kind in ("anchors", "excluded")]
    assert json.dumps(inner) == json.dumps([region["order"]] * 2)


class BoxSegmenter:
    """The mask of a box is its ellipse."""

    name = version = embedding_version = "boxes"
    embedding_nbytes = 0

    def encode(self, images):
        return [ImageEmbedding({}, image.shape[:2], image.shape[:2], "boxes") for image in images]

    def decode(self, embedding, prompts, *, multimask_output=False):
        masks = []
        for prompt in prompts:
            x0, y0, x1, y1 = prompt.box
            mask = Mask.from_ellipse((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, 0, SIZE)
            masks.append(np.where(mask.to_array(), 4, -4).astype(np.float32)[None])
        return Candidates(np.stack(masks), np.full((len(masks), 1), 0.8, np.float32))

    def upsample(self, embedding, low_res_logits):
        return Mask.from_array(low_res_logits > 0)


class SceneDetector:
    name = version = "scene"

    def detect(self, image, phrases):
        rows = [(box, index) for index, phrase in enumerate(phrases) for box in SCENE.get(phrase, [])]
        beyond = [((-20, 190, 400, 260), 0), ((-9, -9, -2, -2), 0)] if "carpet" in phrases else []
        found = [*rows, *beyond]
        return Detections(
            np.array([box for box, _ in found], dtype=np.float32).reshape(-1, 4),
            np.full(len(found), 0.5, np.float32),
            np.array([index for _, index in found], dtype=np.int64),
        )


def test_a_detectors_boxes_become_masks_whatever_they_are_called():
    pixels = np.zeros((*SIZE, 3), np.uint8)
    image = Image(pixels, "0" * 64, "0" * 64)
    segmenter = BoxSegmenter()
    embedding = segmenter.encode([pixels])[0]
    find = finder_by_detector(
        image, detector=SceneDetector(), segmenter=segmenter, encode=lambda window: embedding, tile_size=2048
    )
    answer = refer_regions("the dogs next to the bench", find, SIZE, also=("dog",))
    assert len(answer.regions) == 2
    assert all(region.score == pytest.approx(0.4) for region in answer.regions)
    carpet = refer_regions("carpet", find, SIZE).regions
    assert [tuple(region.mask.box) for region in carpet] == [(1, 190, 299, 200)]
    assert not refer_regions("whale", find, SIZE).regions
    with pytest.raises(InvalidInput, match="at most 100 pixels"):
        finder_by_detector(
            image, detector=SceneDetector(), segmenter=segmenter, encode=lambda window: embedding, tile_size=100
        )
