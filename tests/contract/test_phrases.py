"""What people type into a text area: phrases, several at once, and wishes for more of what is drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.services import Services
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.masks import Mask
from maskwright.masks.grids import grid_of_layers
from maskwright.masks.text import to_text
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import Candidates, Detections, ImageEmbedding
from maskwright.models.stages import StageDescription, Stages
from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.settings import Settings
from maskwright.store.corrections import Stored, TaskState
from maskwright_label_studio.brush import encode_brush
from maskwright_label_studio.platform import PLATFORM
from maskwright_label_studio.results import results_to_regions

from .conftest import TOKEN, png

SIZE = (160, 240)
CELL = 8
LABELS = '<Label value="Bolt"/><Label value="Nut"/>'
CONFIG = f"""<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false">{LABELS}</BrushLabels>
<TextArea name="phrase" toName="image" smart="true"/></View>"""
KINDS = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=np.float32)


def thing(x: int, y: int) -> Mask:
    return Mask.from_box((x, y, x + 40, y + 48), SIZE)


LEFT, RIGHT, NUT = thing(16, 16), thing(160, 80), thing(80, 96)
THINGS = ((1, LEFT), (1, RIGHT), (2, NUT))
BOXES = {"bolt": [LEFT.box, RIGHT.box], "bolts": [LEFT.box, RIGHT.box], "nut": [NUT.box], "Nut": [NUT.box]}
"""What the detector knows; it is asked in the words of the phrase and of its class."""


def scene() -> np.ndarray:
    """Red is the number of a thing, as the segmenter sees it, green its kind, as dense features do."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for number, (kind, mask) in enumerate(THINGS, start=1):
        pixels[mask.to_array()] = (number, kind, 0)
    return pixels


class Painted:
    """Answers with the thing under the first click on it, else with the one that fills most of the box."""

    name = version = embedding_version = "painted"
    embedding_nbytes = 1 << 16

    def encode(self, images: Any) -> list[ImageEmbedding]:
        return [ImageEmbedding({"things": i[..., 0].copy()}, i.shape[:2], i.shape[:2], "painted") for i in images]

    def decode(self, embedding: ImageEmbedding, prompts: Any, *, multimask_output: bool = False) -> Candidates:
        things, masks, sure = embedding.arrays["things"], [], []
        for prompt in prompts:
            clicks = prompt.point_coords[prompt.point_labels == 1].astype(int)
            if len(clicks):
                number = things[clicks[0][1], clicks[0][0]]
            else:
                x0, y0, x1, y1 = (int(side) for side in prompt.box)
                number = int(np.bincount(things[y0:y1, x0:x1].ravel(), minlength=9)[1:].argmax()) + 1
            mask = np.where((things == number) & (number > 0), 8.0, -8.0).astype(np.float32)
            masks.append([mask] * (3 if multimask_output else 1))
            sure.append([0.95 if number else 0.1] * (3 if multimask_output else 1))
        return Candidates(np.array(masks), np.array(sure, np.float32))

    def upsample(self, embedding: ImageEmbedding, low_res_logits: np.ndarray) -> Mask:
        return Mask.from_array(low_res_logits > 0)


class OneSegmenter:
    """A registry that has one."""

    load_count = 1

    def __init__(self) -> None:
        self._segmenter = Painted()

    def segmenter(self, uri: str | None = None) -> Painted:
        return self._segmenter

    def describe(self, uri: str | None = None) -> Any:
        return StageDescription("painted", "painted-1")

    def loaded(self) -> tuple[ModelDescription, ...]:
        return ()


class Boxes:
    name = version = "boxes"

    def for_recall(self) -> Boxes:
        return self

    def detect(self, image: Any, phrases: Any) -> Detections:
        rows = [(box, index) for index, phrase in enumerate(phrases) for box in BOXES.get(phrase, [])]
        return Detections(
            np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
            np.full(len(rows), 0.9, np.float32),
            np.array([index for _, index in rows], np.int64),
        )


class Places:
    """Dense features that know the kinds."""

    name = version = "places"

    def features(self, image: np.ndarray) -> np.ndarray:
        return KINDS[image[CELL // 2 :: CELL, CELL // 2 :: CELL, 1]]

    def text(self, phrases: Any) -> np.ndarray:
        raise InvalidInput("no language")


class Reader:
    """A language model that sees the picture and writes the grid that it is asked for."""

    name = version = "reader"

    def answer(self, messages: Any, schema: Any) -> dict[str, Any]:
        side = int(re.search(r"The grid has (\d+) rows", messages[-1].content)[1])
        (name,) = json.loads(re.search(r"JSON array: (\[.*\])", messages[0].content)[1])
        masks = [mask for kind, mask in THINGS if kind == 1 + (name.casefold() == "nut")]
        rows = to_text(grid_of_layers([(name, mask) for mask in masks], side)).strip("\n").split("\n")
        return {"rows": [row.strip() for row in rows]}


class NoWords:
    name = version = "no-words"

    def tags(self, images: Any, *, top: int = 10) -> list[list[Any]]:
        return [[] for _ in images]


class Parts(Stages):
    """Scripted models; what is called "broken" cannot be had."""

    def describe(self, role: Any, uri: str) -> StageDescription:
        return StageDescription(uri, uri)

    def model(self, role: Any, uri: str) -> Any:
        if "broken" in uri:
            raise ModelUnavailable(f"weights of {uri} are not on this machine")
        if (role, uri) == ("detector", "embedded"):
            return Nothing()
        return {"tagger": NoWords, "detector": Boxes, "dense": Places, "language": Reader}[role]()


class Nothing(Boxes):
    def detect(self, image: Any, phrases: Any) -> Detections:
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


DETECTOR = {"detector": "grounding-dino:some/detector"}
DENSE = {"dense": "dinov2:some/features"}


@pytest.fixture
def typing(tmp_path, label_studio, payload) -> Iterator[Callable[..., Any]]:
    """``typing(text, drafts=..., extra_params)``: the answer to a text that somebody types on an image."""
    label_studio.image = png(scene())
    settings = Settings(
        _env_file=None, home=tmp_path, model="classical", offline=True, label_studio_url=label_studio.url,
        label_studio_api_key=TOKEN, disk_cache_bytes=0,
    )  # fmt: skip
    assistant = Assistant(settings, registry=OneSegmenter(), stages=Parts(settings))
    jobs, metrics = BackgroundJobs(), Metrics()
    services = Services(settings, assistant, jobs, metrics.observe)
    app = create_app(services, metrics, [PLATFORM])
    http = app.test_client()

    def answer(text: Any, *, config: str = CONFIG, region: str = "typed", beside: Any = (), **extra: Any) -> Any:
        kept = {key: extra.pop(key) for key in ("drafts", "annotations", "predictions") if key in extra}
        body = payload("predict-interactive-ui-keypoint-1") | {"label_config": config}
        setup = {"project": body["project"], "schema": config, "extra_params": extra}
        assert http.post("/setup", json=setup).status_code == 200
        body["tasks"][0] |= kept
        typed = {"id": region, "from_name": "phrase", "to_name": "image", "type": "textarea", "value": {"text": text}}
        body["params"]["context"] = {"result": [*beside, typed]}
        return http.post("/predict", json=body)

    answer.http, answer.services = http, services
    yield answer
    app.blueprints["label_studio"].close()
    jobs.close()
    assistant.close()


def regions(answer: Any) -> list[tuple[str, Mask]]:
    assert answer.status_code == 200, answer.data
    return [(region.label, region.mask) for region in results_to_regions(answer.json["results"][0]["result"])]


def brush(mask: Mask, label: str, number: str = "drawn") -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_brush(mask).tolist(), "brushlabels": [label]}
    return {
        "id": number, "from_name": "brush", "to_name": "image", "type": "brushlabels", "value": value,
        "original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0,
    }  # fmt: skip


def draft(*items: dict[str, Any], at: str = "2026-11-21T03:03:10Z") -> dict[str, Any]:
    return {"id": 1, "result": list(items), "updated_at": at}


def test_several_phrases_are_several_regions_each_with_its_class_and_an_id_of_its_own(typing):
    answer = typing(["the left bolt; nut"], **DETECTOR)
    assert regions(answer) == [("Bolt", LEFT), ("Nut", NUT)]
    (prediction,) = answer.json["results"]
    ids = [item["id"] for item in prediction["result"]]
    assert len({*ids, "typed"}) == 3
    assert prediction["score"] == min(item["score"] for item in prediction["result"]) > 0


@pytest.mark.parametrize("text", ["bolts", ["bolts"], "the left bolt\nthe right bolt"])
def test_things_that_one_text_names_come_one_by_one(typing, text):
    assert set(regions(typing(text, **DETECTOR))) == {("Bolt", LEFT), ("Bolt", RIGHT)}


def test_a_phrase_is_of_the_class_of_its_noun_whatever_stands_beside_the_thing(typing):
    config = CONFIG.replace(LABELS, '<Label value="Nut"/><Label value="Bolt"/>')
    assert regions(typing("the bolt left of the nut", config=config, **DETECTOR)) == [("Bolt", LEFT)]


def test_what_is_not_found_is_an_empty_answer_and_the_reason_is_in_the_log(typing, caplog):
    caplog.set_level("INFO")
    answer = typing("the third bolt from the left", **DETECTOR)
    assert regions(answer) == []
    assert answer.json["results"][0]["score"] == 0
    assert "only 2 'bolt' found" in caplog.text


def test_a_phrase_of_no_class_is_refused_alone_and_told_beside_others(typing, caplog):
    caplog.set_level("INFO")
    alone = typing("the dog", **DETECTOR)
    assert alone.status_code == 400
    assert "'the dog' names no label" in alone.status
    assert regions(typing("the dog\nthe right bolt", **DETECTOR)) == [("Bolt", RIGHT)]
    assert "'the dog' names no label" in caplog.text


def test_an_emptied_text_asks_for_nothing(typing):
    assert regions(typing([" "], **DETECTOR)) == []


def test_a_detector_that_cannot_be_had_leaves_phrases_to_the_classifier_and_says_so(typing, caplog):
    caplog.set_level("INFO")
    answer = typing("the nut", detector="grounding-dino:broken/detector")
    assert answer.status_code == 200
    assert "without the detector" in caplog.text


def test_a_language_model_that_reads_pictures_finds_what_a_phrase_names(typing):
    found = regions(typing("the left bolt; nut", phrases="text4seg", language="hf:some/reader"))
    assert found == [("Bolt", LEFT), ("Nut", NUT)]


def test_without_a_language_model_there_is_nobody_to_describe_a_picture(typing):
    answer = typing("bolts", phrases="text4seg")
    assert answer.status_code == 400
    assert "none is set" in answer.status


@pytest.mark.parametrize("text", ["similar", "find similar ones", "Similar: bolts", "more like this"])
def test_similar_finds_what_looks_like_the_regions_in_the_draft(typing, text):
    answer = typing(text, drafts=[draft(brush(NUT, "Nut"), brush(LEFT, "Bolt"))], **DENSE)
    assert regions(answer) == [("Bolt", RIGHT)]
    assert answer.json["results"][0]["result"][0]["id"] not in ("typed", "drawn")


def test_similar_means_what_is_on_the_screen_the_newest_draft_before_annotations_before_predictions(typing, caplog):
    caplog.set_level("INFO")
    newest = draft(brush(RIGHT, "Bolt"), at="2026-11-21T04:00:00Z")
    other = {"id": 2, "result": [brush(NUT, "Nut")], "updated_at": "2026-11-21T05:00:00Z"}
    both = typing("similar", drafts=[newest, draft(brush(LEFT, "Bolt"))], annotations=[other], **DENSE)
    assert regions(both) == [("Bolt", LEFT)]
    assert regions(typing("similar", predictions=[{"id": 3, "result": [brush(LEFT, "Bolt")]}], **DENSE)) == [
        ("Bolt", RIGHT)
    ]
    assert regions(typing("similar", annotations=[other | {"was_cancelled": True}], **DENSE)) == []
    assert "nothing is drawn on this image yet" in caplog.text


def test_a_text_for_one_region_means_that_region(typing):
    drawn = draft(brush(LEFT, "Bolt", "first"), brush(NUT, "Nut", "second"))
    assert regions(typing("similar", drafts=[drawn], region="first", **DENSE)) == [("Bolt", RIGHT)]
    # The editor sends what has the id of a text for a region: the region too, before any draft is saved.
    assert regions(typing("similar", beside=[brush(LEFT, "Bolt", "first")], region="first", **DENSE)) == [
        ("Bolt", RIGHT)
    ]


def test_likes_of_a_class_that_is_not_drawn_are_not_looked_for(typing, caplog):
    caplog.set_level("INFO")
    assert regions(typing("similar nut", drafts=[draft(brush(LEFT, "Bolt"))], **DENSE)) == []
    assert "nothing of the label 'Nut' is drawn" in caplog.text


def test_a_wish_for_another_class_than_the_chosen_one_is_of_the_class_that_it_names(typing):
    typed = {"id": "typed", "from_name": "brush", "to_name": "image", "type": "labels", "value": {"labels": ["Nut"]}}
    answer = typing("similar bolts", beside=[typed], drafts=[draft(brush(LEFT, "Bolt"))], **DENSE)
    assert regions(answer) == [("Bolt", RIGHT)]


def test_likes_and_phrases_may_be_asked_for_at_once(typing):
    found = regions(typing("nut; similar bolts", drafts=[draft(brush(LEFT, "Bolt"))], **DENSE, **DETECTOR))
    assert found == [("Nut", NUT), ("Bolt", RIGHT)]


def test_large_requests_whose_run_lengths_are_not_read_hold_examples_too(typing):
    many = [brush(NUT, "Nut", f"r{number}") for number in range(60)]
    assert regions(typing("similar", drafts=[draft(*many, brush(LEFT, "Bolt"))], **DENSE)) == [("Bolt", RIGHT)]


def test_a_like_that_is_drawn_already_under_another_class_is_not_proposed_again(typing):
    drawn = draft(brush(RIGHT, "Nut", "second"), brush(LEFT, "Bolt", "first"))
    assert regions(typing("similar", drafts=[drawn], **DENSE)) == []


def corrected(typing: Any, server: str, *items: dict[str, Any], number: int = 5) -> None:
    store = typing.services.store()
    project = store.project("label-studio", server, 17).id
    document = orjson.dumps({"id": number, "result": list(items), "task": number})
    drawn = Stored(number, "submitted", "1", "2026-11-21T03:00:00Z", "2026-11-21T03:00:00Z", document, 9.0)
    data = orjson.dumps({"image": f"/data/upload/17/{number}.png"})
    store.put_tasks(project, [TaskState(number, data, "2026-11-21T03:00:00Z", (drawn,))])


def predicted(typing: Any, payload: Any, config: str = CONFIG, **extra: Any) -> tuple[str, dict[str, Any]]:
    body = payload("predict-interactive-ui-keypoint-1") | {"label_config": config}
    setup = {"project": body["project"], "schema": config, "extra_params": extra}
    version = typing.http.post("/setup", json=setup).json["model_version"]
    body["params"]["context"] = None
    answer = typing.http.post("/predict", json=body)
    assert answer.status_code == 200, answer.data
    (prediction,) = answer.json["results"]
    return version, prediction


def test_the_next_tasks_show_what_looks_like_the_regions_corrected_last(typing, payload, label_studio):
    corrected(typing, label_studio.url, brush(LEFT, "Bolt"))
    version, prediction = predicted(typing, payload, find_similar=True, **DENSE)
    assert version == prediction["model_version"]
    assert "+similar-" in version
    assert [(r.label, r.mask) for r in results_to_regions(prediction["result"])] == [("Bolt", RIGHT)]
    without, nothing = predicted(typing, payload, **DENSE)
    assert without == version.replace("+similar", "")
    assert nothing["result"] == []


def test_without_corrections_the_next_tasks_are_as_before(typing, payload):
    _, prediction = predicted(typing, payload, find_similar=True, **DENSE)
    assert prediction["result"] == []


def test_examples_that_cannot_be_used_cost_no_prediction(typing, payload, label_studio, caplog):
    of_another_size = {"original_width": 10, "original_height": 10, "type": "rectanglelabels", "from_name": "rect"}
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["Nut"]}
    corrected(
        typing, label_studio.url, brush(LEFT, "Bolt"), brush(NUT, "Nut", "other") | of_another_size | {"value": value}
    )
    config = CONFIG.replace("</View>", f'<RectangleLabels name="rect" toName="image">{LABELS}</RectangleLabels></View>')
    _, prediction = predicted(typing, payload, config=config, find_similar=True, **DENSE)
    assert [(r.label, r.mask) for r in results_to_regions(prediction["result"])] == [("Bolt", RIGHT)]
    assert "likes of corrected 'Nut' were not looked for" in caplog.text


def test_a_polygon_and_a_brush_stroke_are_prompts_that_a_click_answers(backend, payload):
    config = CONFIG.replace(
        "<TextArea",
        f"""<PolygonLabels name="poly" toName="image" smart="true" smartonly="true">{LABELS}</PolygonLabels>
<BrushLabels name="stroke" toName="image" smart="true" smartonly="true">{LABELS}</BrushLabels><TextArea""",
    )
    body = payload("predict-interactive-ui-keypoint-1") | {"label_config": config}
    points = [[20, 20], [60, 20], [60, 70], [20, 70]]
    sides = {"original_width": 320, "original_height": 240, "image_rotation": 0, "to_name": "image", "id": "prompt"}
    polygon = {"from_name": "poly", "type": "polygonlabels", "value": {"points": points, "polygonlabels": ["Bolt"]}}
    body["params"]["context"] = {"result": [sides | polygon]}
    (region,) = backend.results(body)[0]["result"]
    assert region["value"]["brushlabels"] == ["Bolt"]
    assert backend.oracle.prompts[-1].box == (64, 48, 192, 168)
    assert backend.oracle.prompts[-1].point_labels.tolist() == [1]
    assert backend.oracle.asked[-1]["outline"] == Mask.from_box((64, 48, 192, 168), (240, 320))
    line = np.zeros((240, 320), bool)
    line[100:106, 50:150] = True
    painted = {"rle": encode_brush(Mask.from_array(line)).tolist(), "brushlabels": ["Nut"]}
    stroke = {"from_name": "stroke", "type": "brushlabels", "value": painted}
    body["params"]["context"] = {"result": [sides | stroke]}
    (region,) = backend.results(body)[0]["result"]
    assert region["value"]["brushlabels"] == ["Nut"]
    assert backend.oracle.asked[-1]["outline"] is None
    (scribble,) = backend.oracle.prompts[-1].scribbles
    assert scribble.positive
    assert all(line[int(y), int(x)] for x, y in scribble.points)
