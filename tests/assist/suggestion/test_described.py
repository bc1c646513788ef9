"""Descriptors and scales in staged pre-annotation: they decide, and whatever fails about them costs no mask."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.suggestion.boxes import Search
from maskwright.assist.suggestion.context import Context, staged_version
from maskwright.assist.suggestion.described import AGAIN, NOBODY, DescriptorMemo, described_phrases
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import Cancelled, InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.detectors.embedded import EmbeddedDetector
from maskwright.models.language.matcher import SentenceMatcher
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Detections, Tag

SIZE = (64, 64)
LEFT, RIGHT = Mask.from_box((4, 4, 28, 60), SIZE), Mask.from_box((36, 4, 60, 60), SIZE)
NAMELESS = LabelSet.of(["type a", "type b"])
SAID = {"type a": "a type a of copper", "type b": "a type b of jade"}
HINTED = LabelSet(tuple(replace(item, descriptors=(SAID[item.name],)) for item in NAMELESS))
LIMITS, USUAL = PreannotationOptions(min_area=1), StageOptions()
AXES = {"ground": 0, "copper": 1, "jade": 2}


class Materials:
    """Sees what is painted, averaged over cells of 8 pixels; of a phrase it knows the last word."""

    name, version = "materials", "materials-1"

    def __init__(self) -> None:
        self.looks = 0

    def features(self, image):
        self.looks += 1
        seen = np.eye(4, dtype=np.float32)[image[..., 0]]
        height, width = (side // 8 for side in image.shape[:2])
        cells = seen[: height * 8, : width * 8].reshape(height, 8, width, 8, 4).mean(axis=(1, 3))
        return cells / np.linalg.norm(cells, axis=-1, keepdims=True)

    def text(self, phrases):
        return np.eye(4, dtype=np.float32)[[AXES.get(phrase.split()[-1], 3) for phrase in phrases]]


class Describes:
    """A language model that says of each class what the table has; it names no classes of images."""

    name, version = "describes", "describes-1"

    def __init__(self, table=SAID) -> None:
        self.table, self.asked = table, []

    def answer(self, messages, schema):
        if "descriptors" not in schema["properties"]:
            return {"labels": []}
        system, user = messages[0].content, messages[-1].content
        name = re.search(r'phrases for the class "?([\w ]+)', system)[1]
        self.asked.append((name, "a yard" in user))
        if isinstance(self.table[name], Exception):
            raise self.table[name]
        return {"class": name, "descriptors": [{"text": self.table[name], "kind": "material"}]}


class Says:
    name, version = "says", "says-1"

    def __init__(self, *words: str, caption: str = "") -> None:
        self.words, self.caption = words, caption

    def tags(self, images, *, top=10):
        return [[Tag(word, 0.9) for word in self.words] for _ in images]

    def captions(self, images):
        return [self.caption for _ in images]


class Finds:
    """A detector with a box for each phrase of a table."""

    name, version = "finds", "finds-1"

    def __init__(self, table) -> None:
        self.table, self.asked = table, ()

    def detect(self, image, phrases):
        self.asked = tuple(phrases)
        rows = [(self.table[phrase], number) for number, phrase in enumerate(phrases) if phrase in self.table]
        return Detections(
            np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4),
            np.full(len(rows), 0.8, dtype=np.float32),
            np.array([number for _, number in rows], dtype=np.int64),
        )


@pytest.fixture
def run(oracle, box_oracle, painted):
    """Pre-annotates a picture of painted objects; 1 is copper, 2 is jade."""

    def of(options=USUAL, labels=NAMELESS, masks=(LEFT, RIGHT), limits=LIMITS, models=None, **more):
        models = StageModels(**(models or {}))
        segmenter = oracle if models.detector is None else box_oracle()
        pixels = painted(SIZE, *masks)
        context = Context(
            models,
            segmenter,
            lambda window: segmenter.encode([pixels])[0],
            **{"memo": PhraseMemo(), "model_version": "v1", **more},
        )
        return preannotate_in_stages(Image(pixels, "0" * 64, "0" * 64), labels, limits, options, context)

    return of


def labelled(answer) -> dict[str, Mask]:
    return {region.label: region.mask for region in answer.regions}


def box(mask: Mask) -> tuple[float, ...]:
    return tuple(float(side) for side in mask.box)


# --- descriptors decide ------------------------------------------------------------------------------------------


def test_a_descriptor_decides_between_classes_whose_names_say_nothing(run):
    described = run(labels=HINTED, models={"dense": Materials()})
    assert labelled(described) == {"type a": LEFT, "type b": RIGHT}
    assert {one.label: one.status for one in described.suggestions} == {"type a": "confirmed", "type b": "confirmed"}
    named = run(StageOptions(descriptors="none"), labels=HINTED, models={"dense": Materials()})
    assert named.regions == run(models={"dense": Materials()}).regions
    assert len(labelled(named)) < 2


@pytest.mark.parametrize("output", ["regions", "semantic"])
def test_an_image_is_looked_at_once_whoever_asks(run, output):
    dense = Materials()
    run(StageOptions(output=output), labels=HINTED, models={"dense": dense})
    assert dense.looks == 1
    dense = Materials()
    run(StageOptions(output=output, multi_scale=True), labels=HINTED, models={"dense": dense})
    assert dense.looks == 5


def test_a_described_phrase_finds_what_the_name_alone_does_not(run):
    detector = Finds({"type a": box(LEFT), "a type b of jade": box(RIGHT)})
    options = StageOptions(check_pixels=False)
    found = run(options, labels=HINTED, models={"detector": detector})
    assert labelled(found) == {"type a": LEFT, "type b": RIGHT}
    assert {source.text for one in found.suggestions for source in one.sources} == {"type a", "a type b of jade"}
    named = run(replace(options, descriptors="none"), labels=HINTED, models={"detector": detector})
    assert labelled(named) == {"type a": LEFT}
    assert detector.asked == ("type a", "type b")


def test_a_small_object_is_found_at_two_scales_that_one_does_not_see(run):
    small = Mask.from_box((24, 8, 32, 16), SIZE)
    labels = LabelSet((LabelClass("thing", descriptors=("a thing of copper",)), LabelClass("ground")))
    models = {"detector": Finds({"thing": box(small)}), "tagger": Says("thing")}

    class Tiles(Materials):
        """Sees four cells a side, however large the picture is."""

        def features(self, image):
            self.looks += 1
            seen = np.eye(4, dtype=np.float32)[image[..., 0]]
            height, width = (side // 4 for side in image.shape[:2])
            cells = seen.reshape(4, height, 4, width, 4).mean(axis=(1, 3))
            return cells / np.linalg.norm(cells, axis=-1, keepdims=True)

    def status(**options):
        found = run(StageOptions(**options), labels, (small,), models=models | {"dense": Tiles()})
        return [one.status for one in found.suggestions if one.label == "thing"], labelled(found)

    assert status() == (["rejected"], {})
    assert status(multi_scale=True)[1] == {"thing": small}


# --- what a detector is asked for --------------------------------------------------------------------------------


def test_a_detector_is_asked_for_names_with_at_most_three_descriptors_that_it_can_read():
    long = "seen " * 13
    labels = LabelSet(
        (
            LabelClass("horse", ("pony",), (long, "a brown pony", " ", "four legs", "long mane", "hooves")),
            LabelClass("cow", descriptors=("a brown pony",)),
        )
    )
    phrases = described_phrases(labels, Finds({}))
    assert phrases == {
        "a brown pony": "horse", "pony, four legs": "horse", "pony, long mane": "horse", "cow, a brown pony": "cow",
    }  # fmt: skip
    assert Search(labels, ("cow", "tail"), phrases).phrases == ("pony", "cow", *phrases, "tail")


def test_the_embedded_detector_is_asked_for_names_since_its_phrases_compete():
    assert described_phrases(HINTED, EmbeddedDetector()) == {}


# --- a language model describes ----------------------------------------------------------------------------------


def test_one_question_for_each_class_describes_twenty_images(run):
    language, memo = Describes(), DescriptorMemo()
    models = {"language": language, "dense": Materials(), "tagger": Says("type a", "type b")}
    for _ in range(20):
        found = run(StageOptions(descriptors="classes"), models=models, descriptors=memo)
        assert labelled(found) == {"type a": LEFT, "type b": RIGHT}
        assert (found.problems, found.is_degraded) == ((), False)
    assert language.asked == [("type a", False), ("type b", False)]


def test_images_in_flight_at_once_ask_once_together():
    entered, go_on, language = threading.Event(), threading.Event(), Describes()
    answer = language.answer

    def slow(messages, schema):
        entered.set()
        assert go_on.wait(20)
        return answer(messages, schema)

    language.answer = slow
    memo, options = DescriptorMemo(), StageOptions(descriptors="classes")
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(memo.described, NAMELESS, language, PromptSet(), options) for _ in range(4)]
        assert entered.wait(20)
        go_on.set()
        assert {one.result().labels for one in answers} == {HINTED}
    assert len(language.asked) == 2


def test_with_images_only_what_is_suggested_is_described_in_the_captions_words(run):
    language = Describes()
    says = Says("type b", caption="a yard")
    models = {"language": language, "dense": Materials(), "tagger": says, "captioner": says}
    for _ in range(2):
        found = run(StageOptions(descriptors="image"), models=models)
        assert labelled(found) == {"type b": RIGHT}
    assert language.asked == [("type b", True)] * 2


def test_an_image_without_a_caption_is_described_like_any_other(run):
    language, memo = Describes(), DescriptorMemo()
    for _ in range(3):
        run(StageOptions(descriptors="image"), models={"language": language, "dense": Materials()}, descriptors=memo)
    assert language.asked == [("type a", False), ("type b", False)]


def test_what_a_person_wrote_is_not_asked_for(run):
    language = Describes()
    labels = LabelSet((HINTED.classes[0], NAMELESS.classes[1]))
    found = run(StageOptions(descriptors="classes"), labels, models={"language": language, "dense": Materials()})
    assert labelled(found) == {"type a": LEFT, "type b": RIGHT}
    assert [name for name, _ in language.asked] == ["type b"]


# --- what fails --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classes", "image"])
def test_a_language_model_that_is_down_leaves_the_names_a_sentence_and_all_masks(run, kind):
    down = ModelUnavailable("the server cannot be reached")
    language, says = Describes({"type a": down, "type b": down}), Says("type a", "type b", caption="a yard")
    models = {"language": language, "tagger": says, "captioner": says}
    models["detector"] = Finds({"type a": box(LEFT), "type b": box(RIGHT)})
    found = run(StageOptions(descriptors=kind, check_pixels=False), models=models)
    assert labelled(found) == {"type a": LEFT, "type b": RIGHT}
    assert found.is_degraded
    assert any("no descriptors of 'type a': the server cannot be reached" in one for one in found.problems)


def test_what_was_not_answered_is_asked_again_after_a_while_and_only_that():
    now, language = [0.0], Describes(dict(SAID, **{"type b": ModelUnavailable("busy")}))
    memo, options = DescriptorMemo(clock=lambda: now[0]), StageOptions(descriptors="classes")

    def described():
        found = memo.described(NAMELESS, language, PromptSet(), options)
        return [bool(item.descriptors) for item in found.labels], found.is_degraded

    assert described() == described() == ([True, False], True)
    assert len(language.asked) == 2
    now[0], language.table = AGAIN, SAID
    assert described() == described() == ([True, True], False)
    assert [name for name, _ in language.asked] == ["type a", "type b", "type b"]


def test_describing_stops_when_its_own_time_is_spent_and_the_image_keeps_its_own(run):
    now = [0.0]

    class Slow(Describes):
        def answer(self, messages, schema):
            now[0] += 15
            return super().answer(messages, schema)

    labels = LabelSet.of([f"type {number}" for number in range(20)])
    language = Slow({item.name: f"a {item.name} of jade" for item in labels})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maskwright.models.language.budget.time.monotonic", lambda: now[0])
        found = DescriptorMemo().described(labels, language, PromptSet(), StageOptions())
    assert len(language.asked) == 8  # 120 seconds
    assert found.is_degraded
    assert any("is spent" in problem for problem in found.problems)


def test_whoever_waits_for_a_question_that_is_cancelled_asks_it():
    entered, go_on, calls = threading.Event(), threading.Event(), []
    language = Describes()
    answer = language.answer

    def first_is_cancelled(messages, schema):
        calls.append(1)
        if len(calls) == 1:
            entered.set()
            assert go_on.wait(20)
            raise Cancelled("this image was withdrawn")
        return answer(messages, schema)

    language.answer = first_is_cancelled
    memo = DescriptorMemo()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(memo.described, NAMELESS, language, PromptSet(), StageOptions())
        assert entered.wait(20)
        second = pool.submit(memo.described, NAMELESS, language, PromptSet(), StageOptions())
        go_on.set()
        assert second.result().labels == HINTED
        with pytest.raises(Cancelled):
            first.result()


def test_answers_that_the_model_keeps_are_kept_nowhere_else():
    language, memo = Describes(), DescriptorMemo()
    language.keeps_answers = True
    for _ in range(2):
        memo.described(NAMELESS, language, PromptSet(), StageOptions())
    assert len(language.asked) == 4


def test_only_some_label_sets_are_remembered():
    language, memo = Describes(), DescriptorMemo(size=1)
    for labels in (NAMELESS, LabelSet(NAMELESS.classes[:1]), NAMELESS):
        memo.described(labels, language, PromptSet(), StageOptions())
    assert len(language.asked) == 5
    with pytest.raises(InvalidInput, match="at least 1"):
        DescriptorMemo(size=0)


@pytest.mark.parametrize("language", [None, SentenceMatcher()])
def test_where_nobody_can_describe_a_sentence_says_so(run, language):
    models = {"language": language, "dense": Materials()}
    assert NOBODY in run(StageOptions(descriptors="classes"), models=models).problems
    assert run(StageOptions(descriptors="classes"), HINTED, models=models).problems == ()


def test_the_version_names_descriptors_and_scales():
    kinds = [StageOptions(descriptors=kind) for kind in ("none", "written", "classes", "image")]
    versions = {staged_version("sam-1", [], options) for options in (*kinds, StageOptions(multi_scale=True))}
    assert len(versions) == 5
