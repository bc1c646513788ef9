"""What annotators are told of why a class was proposed, and that nobody takes it for an answer."""

from __future__ import annotations

from types import SimpleNamespace

import orjson
import pytest

from maskwright.assist.preannotate import Preannotation
from maskwright.assist.suggestion.values import Source, Suggestion
from maskwright.learn.settings import LearningSettings
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region
from maskwright.store.priorities import Priority
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.context import prompt_group
from maskwright_label_studio.machine import MachineAnnotator
from maskwright_label_studio.modes import Mode
from maskwright_label_studio.pace import Pace
from maskwright_label_studio.queue_looks import CONFIDENCE
from maskwright_label_studio.reader import LabelStudioReader
from maskwright_label_studio.remarks import (
    MOST_LINES,
    remark_lines,
    remark_of,
    remarks_item,
    with_remark,
    without_remarks,
)
from maskwright_label_studio.results import results_to_regions

CONFIG = parse_config(
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image"><Label value="person"/>'
    '</BrushLabels><TextArea name="suggestions" toName="image"/><TextArea name="phrase" toName="image"/></View>'
)
PERSON = Suggestion(
    "person",
    "confirmed",
    0.74,
    (Source("tag", "man", 0.82), Source("region", "clip", 0.79), Source("detector", "person", 0.61)),
)
TRACK = Suggestion("track", "plausible", 0.9, (Source("tag", "track", 0.9),), is_known=False)
DOG = Suggestion("dog", "rejected", 0.1, (Source("language", "tiny", 0.25),), implied=True)


def region(label="person", **scores):
    return Region(Mask.from_box((1, 1, 5, 5), (8, 9)), label, 0.5, Provenance("preannotation", "v"), scores)


def found(*suggestions, problems=()):
    return Preannotation((region(),), 0.5, "v", suggestions, tuple(problems))


def test_a_region_tells_what_speaks_for_its_class():
    words = "person: tag 'man' 0.82; detector 0.61; pixels confirm 0.74"
    assert remark_of(region(person=0.74), [TRACK, PERSON]) == words


def test_what_pixels_say_of_a_region_is_told_however_many_words_speak_for_it():
    tags = tuple(Source("tag", f"word {n}", 0.9) for n in range(8))
    many = Suggestion("person", "confirmed", 0.7, (*tags, Source("region", "clip", 0.7)))
    assert remark_of(region(person=0.74), [many]).endswith("tag 'word 5' 0.90; pixels confirm 0.74")


def test_no_database_refuses_a_line_for_what_a_model_wrote_into_it():
    other = Suggestion("a\x00\ud800 dog\x1b", "plausible", 0.5, (), is_known=False)
    assert remark_lines(found(other, problems=["bad\x00\nanswer"])) == [
        "a dog: outside of the label set 0.50", "problem: bad answer",
    ]  # fmt: skip


def test_words_of_a_caption_and_a_phrase_of_another_name_are_quoted():
    rider = Suggestion("person", "plausible", 0.5, (Source("caption", "a rider"), Source("detector", "rider", 1.0)))
    assert remark_of(region(), [rider]) == "person: caption 'a rider'; detector 'rider' 1.00"


def test_a_region_of_a_class_that_nobody_suggested_tells_nothing():
    assert remark_of(region("cat"), [PERSON]) is None
    assert remark_of(region("track"), [TRACK]) is None
    assert remark_of(region(), []) is None


def test_the_image_tells_every_class_and_every_problem():
    assert remark_lines(found(TRACK, PERSON, DOG, problems=["the language model\nis down"])) == [
        "person: confirmed 0.74 (tag 'man' 0.82; pixels confirm 0.79; detector 0.61)",
        "dog: rejected 0.10 (the language model infers it from the scene)",
        "track: outside of the label set 0.90 (tag 'track' 0.90)",
        "problem: the language model is down",
    ]


def test_lines_are_few_and_short_whatever_was_suggested():
    many = [Suggestion("x" * 1000, "plausible", 1.0, ())] * 500
    lines = remark_lines(found(*many, problems=["p" * 1000] * 500))
    assert len(lines) == MOST_LINES
    assert max(map(len, lines)) <= 300
    assert any(line.startswith("problem") for line in lines)


def test_the_text_area_of_that_name_gets_one_item():
    (item,) = remarks_item(found(PERSON), CONFIG, "image", None)
    assert (item["from_name"], item["to_name"], item["type"]) == ("suggestions", "image", "textarea")
    assert item["value"]["text"] == remark_lines(found(PERSON))
    (listed,) = remarks_item(found(PERSON), CONFIG, "image", 2)
    assert listed["item_index"] == 2


@pytest.mark.parametrize("tag", ["", '<TextArea name="suggestions" toName="other"/>', '<Labels name="suggestions"/>'])
def test_without_such_a_text_area_on_the_image_there_is_none(tag):
    config = parse_config(
        '<View><Image name="image" value="$image"/><Image name="other" value="$o"/><BrushLabels name="mask" '
        f'toName="image"><Label value="person"/></BrushLabels>{tag}</View>'
    )
    assert remarks_item(found(PERSON), config, "image", None) == []


def test_where_nothing_was_suggested_nothing_is_said():
    assert remarks_item(found(), CONFIG, "image", None) == []


def test_what_is_shown_is_neither_a_region_nor_a_prompt():
    items = remarks_item(found(PERSON, problems=["down"]), CONFIG, "image", None)
    assert results_to_regions(items) == []
    assert prompt_group({"result": items}, CONFIG) is None
    assert without_remarks(items) == []
    phrase = items[0] | {"from_name": "phrase"}
    assert prompt_group({"result": [phrase, *items]}, CONFIG).control.name == "phrase"
    assert without_remarks([phrase]) == [phrase]


def test_a_task_with_remarks_is_read_back_as_one_without():
    size = {"original_width": 100, "original_height": 50, "image_rotation": 0}
    drawn = {
        "id": "r", "type": "rectanglelabels", "from_name": "box", "to_name": "image", **size,
        "value": {"x": 10, "y": 10, "width": 20, "height": 30, "rotation": 0, "rectanglelabels": ["person"]},
    }  # fmt: skip

    def read(*items):
        annotation = {"id": 7, "completed_by": 3, "was_cancelled": False, "result": list(items)}
        task = {"id": 5, "project": 2, "data": {"image": "/data/upload/2/a.png"}, "annotations": [annotation]}
        return LabelStudioReader('<View><Image name="image" value="$image"/></View>')(orjson.dumps(task))

    (remarked,) = with_remark([drawn], region(person=0.7), [PERSON])
    assert remarked["meta"]["text"]
    shown = remarks_item(found(PERSON), CONFIG, "image", None)
    plain, told = (one.annotations[0] for one in (read(drawn), read(remarked, *shown)))
    assert [(r.key, r.label, r.mask) for r in told.regions[0]] == [(r.key, r.label, r.mask) for r in plain.regions[0]]
    assert (list(told.regions), told.problems) == ([0], ())


class LabelStudio:
    """A task with one prediction; takes annotations."""

    def __init__(self, result):
        self.result, self.annotations = result, []

    def whole_task(self, project, number):
        prediction = {"id": 9, "model_version": "v", "result": self.result}
        return {"id": number, "data": {}, "predictions": [prediction], "annotations": []}

    def create_annotation(self, task, **fields):
        self.annotations.append(fields)
        return 1


def test_the_machine_annotates_with_regions_alone_and_is_as_sure_as_they_are():
    box = {"id": "r", "type": "rectanglelabels", "score": 0.99, "from_name": "box", "to_name": "image", "value": {}}
    result = [*with_remark([box], region(person=0.7), [PERSON]), *remarks_item(found(PERSON), CONFIG, "image", None)]
    platform = LabelStudio(result)
    mode = Mode(LearningSettings(mode="automatic", accept_threshold=0.9, review_share=0.0))
    place = SimpleNamespace(client=platform, number=1, id=1, project=SimpleNamespace(key="1.1"), mode=mode)
    notes = SimpleNamespace(get=lambda *where: {}, put=lambda *what: None)
    row = Priority(5, 0.5, {CONFIDENCE: 0.99}, model_version="v")
    assert MachineAnnotator(place, notes, "v", Pace()).run([row]) == 1
    (annotation,) = platform.annotations
    assert [item["id"] for item in annotation["result"]] == ["r"]
    assert "score" not in annotation["result"][0]
