"""A language model that writes grids draws: what it writes is read with tolerance, and a segmenter makes it sharp."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from maskwright.assist.draft_masks import Refinement
from maskwright.assist.refer import refer_regions
from maskwright.assist.text4seg import describe_regions, finder_by_text
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.masks.grids import grid_of_layers, with_instances
from maskwright.masks.text import to_text
from maskwright.models.protocols import Candidates, ImageEmbedding, Segmenter
from maskwright.models.text4seg import TextSegmenter
from maskwright.prompts import Prompt

SIZE = (240, 320)
DOG = Mask.from_ellipse(90, 120, 60, 70, 20, SIZE)
CAT = Mask.from_ellipse(240, 80, 50, 40, 0, SIZE)
SECOND = Mask.from_ellipse(230, 190, 45, 35, 0, SIZE)
LABELS = LabelSet((LabelClass("cat", ("kitten",)), LabelClass("dog")))


class Painter:
    """A language model that sees everything and writes the grid it is asked for, by default row by row."""

    name, version = "painter", "painter-1"

    def __init__(self, layers, spoil=lambda rows: rows):
        self.layers, self.spoil, self.asked = layers, spoil, []

    def answer(self, messages, schema):
        self.asked.append((messages, schema))
        side = int(re.search(r"The grid has (\d+) rows", messages[-1].content)[1])
        wanted = json.loads(re.search(r"JSON array: (\[.*\])", messages[0].content)[1])
        layers = [(name, mask) for name, mask in self.layers if {name, name.split("#")[0]} & {*wanted}]
        rows = [row.strip() for row in to_text(grid_of_layers(layers, side)).strip("\n").split("\n")]
        answer = {"rows": self.spoil(rows)}
        Draft202012Validator(schema).validate(answer)
        return answer


class Oracle:
    """Knows every object: answers with the one that shares most with the box."""

    name = version = embedding_version = "oracle"
    embedding_nbytes = 0

    def __init__(self, *truths):
        self.truths, self.asked = truths, 0

    def encode(self, images):
        return [ImageEmbedding({}, image.shape[:2], image.shape[:2], "oracle") for image in images]

    def decode(self, embedding, prompts, *, multimask_output=False):
        self.asked += len(prompts)
        masks = []
        for prompt in prompts:
            best = max(self.truths, key=lambda mask: mask.iou(Mask.from_box(prompt.box, SIZE)))
            masks.append(np.where(best.to_array(), 9.0, -9.0).astype(np.float32)[None])
        return Candidates(np.stack(masks), np.ones((len(prompts), 1), np.float32))

    def upsample(self, embedding, low_res_logits):
        return Mask.from_array(low_res_logits > 0)


@pytest.fixture
def image():
    return Image(np.zeros((*SIZE, 3), np.uint8), "0" * 64, "0" * 64)


def described(image, painter, *truths, side=16, **options):
    oracle = Oracle(*truths)
    embedding = oracle.encode([image.pixels])[0]
    reader = TextSegmenter(painter, side=side, constrained=options.pop("constrained", False))
    return describe_regions(image, LABELS, reader, segmenter=oracle, encode=lambda window: embedding, **options)


@pytest.mark.parametrize("side", [16, 24, 32])
@pytest.mark.parametrize("constrained", [False, True])
def test_a_model_that_sees_and_a_segmenter_that_knows_give_every_object_whole(image, side, constrained):
    painter = Painter([("dog", DOG), ("cat", CAT)])
    found = described(image, painter, DOG, CAT, side=side, constrained=constrained, model_version="v1")
    assert [(region.label, region.mask) for region in found.regions] == [("cat", CAT), ("dog", DOG)]
    assert all(region.score == 1 and region.provenance.model_version == "v1" for region in found.regions)
    assert not found.warnings
    ((messages, _),) = painter.asked
    assert [len(message.images) for message in messages] == [0, 1]
    assert messages[1].images[0].startswith(b"\xff\xd8")


def test_a_constrained_model_cannot_write_a_bad_row(image):
    painter = Painter([("dog", DOG)])
    described(image, painter, DOG, constrained=True)
    validator = Draft202012Validator(painter.asked[0][1])
    rows = ["others *16"] * 16
    assert validator.is_valid({"rows": rows})
    for bad in ("others *17", "bird *16", "others 16", "", "others *16|", "so: others *16"):
        assert not validator.is_valid({"rows": [*rows[1:], bad]}), bad
    assert not validator.is_valid({"rows": rows[1:]})


def test_objects_of_a_class_are_apart_where_their_cells_are_or_where_they_are_numbered(image):
    touching = Mask.from_ellipse(130, 60, 50, 40, 0, SIZE) - DOG
    apart = described(image, Painter([("cat", CAT), ("cat", DOG)]), CAT, DOG)
    assert {region.mask for region in apart.regions} == {CAT, DOG}
    numbered = with_instances([("cat", touching), ("cat", DOG)])
    found = described(image, Painter(numbered), touching, DOG)
    assert [region.label for region in found.regions] == ["cat", "cat"]
    assert {region.mask for region in found.regions} == {touching, DOG}


def test_a_class_whose_name_ends_in_a_number_is_that_class(image):
    oracle, labels = Oracle(DOG, CAT), LabelSet.of(["bolt #2", "C#"])
    reader = TextSegmenter(Painter([("bolt #2", DOG), ("C#", CAT)]))
    found = describe_regions(
        image, labels, reader, segmenter=oracle, encode=lambda window: oracle.encode([image.pixels])[0]
    )
    assert [(region.label, region.mask) for region in found.regions] == [("bolt #2", DOG), ("C#", CAT)]


def test_what_was_guessed_lowers_the_score_of_the_objects_in_these_rows_only(image):
    def spoil(rows):
        return [*rows[:13], rows[13].replace("*", "* about "), *rows[14:]]

    layers = [("cat", CAT), ("dog", SECOND)]
    found = described(image, Painter(layers, spoil), CAT, SECOND)
    scores = {region.label: region.score for region in found.regions}
    assert scores["cat"] == 1
    assert scores["dog"] < 1
    assert found.warnings


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows[:9],
        lambda rows: [*rows, "others *3"],
        lambda rows: ["<seg>" + "\n ".join(rows) + "\n</seg>"],
        lambda rows: [row.replace("dog", "Dog").replace(" *", "* ") for row in rows],
        lambda rows: [],
        lambda rows: ["I see a dog."],
        lambda rows: ["dog *999999999"] * 512,
    ],
    ids=["few rows", "many rows", "a block", "sloppy", "nothing", "prose", "bomb"],
)
def test_whatever_the_model_writes_there_is_an_answer(image, spoil):
    found = described(image, Painter([("dog", DOG)], spoil), DOG)
    assert all(region.mask.size == SIZE and 0 <= region.score <= 1 for region in found.regions)


def test_nobody_is_asked_to_refine_nothing(image):
    def refuse(window):
        raise AssertionError("nothing to encode")

    reader = TextSegmenter(Painter([]))
    assert not describe_regions(image, LABELS, reader, segmenter=Oracle(), encode=refuse).regions


def test_a_phrase_is_found_through_its_grid(image):
    oracle = Oracle(CAT, SECOND)
    embedding = oracle.encode([image.pixels])[0]
    reader = TextSegmenter(Painter([("cat", CAT), ("cat", SECOND)]))
    find = finder_by_text(image, reader, segmenter=oracle, encode=lambda window: embedding, how=Refinement())
    answer = refer_regions("the cat at the bottom; others", find, SIZE)
    assert [region.mask for region in answer.regions] == [SECOND]


def test_it_is_a_segmenter_by_words(image):
    reader = TextSegmenter(Painter([("dog", DOG)]), side=32)
    assert isinstance(reader, Segmenter)
    embedding = reader.encode([image.pixels])[0]
    assert embedding.nbytes <= reader.embedding_nbytes
    answer = reader.decode(embedding, [Prompt(phrase="dog"), Prompt(phrase="unicorn")])
    assert answer.low_res_logits.shape == (2, 1, 32, 32)
    assert reader.upsample(embedding, answer.low_res_logits[0, 0]).iou(DOG) > 0.85
    assert reader.upsample(embedding, answer.low_res_logits[1, 0]).is_empty
    for prompt in (Prompt.from_points([(5, 5, 1)]), Prompt(phrase="others")):
        with pytest.raises(InvalidInput, match="by words"):
            reader.decode(embedding, [prompt])
    with pytest.raises(InvalidInput, match="embedding"):
        reader.decode(Oracle().encode([image.pixels])[0], [Prompt(phrase="dog")])


def test_versions_follow_everything_that_changes_answers():
    painter = Painter([])
    versions = {
        TextSegmenter(painter).version,
        TextSegmenter(painter, side=24).version,
        TextSegmenter(painter, constrained=True).version,
    }
    assert len(versions) == 3


def test_a_model_that_is_down_is_told(image):
    class Down:
        name = version = "down"

        def answer(self, messages, schema):
            raise ModelUnavailable("it is down")

    with pytest.raises(ModelUnavailable, match="down"):
        described(image, Down())


def test_without_a_class_there_is_nothing_to_ask(image):
    reader = TextSegmenter(Painter([]))
    with pytest.raises(InvalidInput, match="class to look for"):
        reader.read(reader.encode([image.pixels])[0], LabelSet.of(["others"]))
