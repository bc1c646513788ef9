"""Words and examples find regions with whatever models are set, and models are asked for no earlier than needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maskwright.assist.encoding import EmbeddingService
from maskwright.assist.fewshot import Support
from maskwright.assist.finding import LEARNT_BYTES, Finding, Wanted
from maskwright.assist.suggestion.stager import ProjectStages, Stager
from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.language.budget import Usage
from maskwright.models.protocols import Detections
from maskwright.models.stages import Stages
from maskwright.regions import Provenance, Region
from maskwright.settings import Settings

SIZE = (40, 60)
ONE, TWO = (4, 4, 16, 20), (36, 12, 48, 28)


class Boxes:
    name = version = "boxes"

    def detect(self, image: Any, phrases: Any) -> Detections:
        boxes = [ONE, TWO] if "bolt" in phrases else []
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(len(boxes), 0.9, np.float32),
            np.zeros(len(boxes), np.int64),
        )


class Colours:
    """Regions as their mean colours; counts how often it looks."""

    version = "colours"

    def __init__(self) -> None:
        self.looks = 0

    def describe(self, image: np.ndarray, masks: Any) -> np.ndarray:
        self.looks += 1
        rows = [image[mask.to_array()].mean(axis=0) for mask in masks]
        return np.array(rows, np.float32).reshape(-1, 3)


class Parts(Stages):
    def __init__(self, settings: Settings, **made: Any) -> None:
        super().__init__(settings)
        self.made, self.loaded = made, []

    def model(self, role: Any, uri: str) -> Any:
        self.loaded.append(role)
        if role not in self.made:
            raise ModelUnavailable(f"weights of {uri} are not on this machine")
        return self.made[role]


@pytest.fixture
def make(tmp_path, counting):
    made = []

    def of(**parts: Any) -> tuple[Finding, Parts, Colours]:
        annotated, classifier = parts.pop("annotated", lambda *asked: ()), parts.pop("classifier", object())
        settings = Settings(_env_file=None, home=tmp_path)
        stages, colours = Parts(settings, **parts), Colours()
        embeddings = EmbeddingService(memory_bytes=1 << 20, store=None, queue_size=8, batch_size=1)
        made.append(embeddings)
        finding = Finding(
            embeddings,
            lambda uri: counting,
            classifier,
            colours,
            Stager(settings, stages),
            annotated,
            tile_size=64,
        )  # fmt: skip
        return finding, stages, colours

    yield of
    for embeddings in made:
        embeddings.close()


DETECTOR = ProjectStages({"detector": "grounding-dino:a/b", "language": "hf:a/b"})


def boxes(found: Any) -> list[tuple[int, ...]]:
    return [tuple(int(side) for side in region.mask.box) for region in found.regions]


def test_phrases_find_their_things_once_and_a_language_model_is_loaded_for_none_that_the_grammar_knows(
    make, picture, scripted
):
    finding, stages, _ = make(detector=Boxes(), language=scripted({"regions": []}))
    wanted = [Wanted("the left bolt", "Bolt"), Wanted("bolts", "Screw")]
    found = finding.by_words(picture(1, ONE, TWO), wanted, stages=DETECTOR, model_version="v")
    assert boxes(found) == [ONE, TWO]
    assert [region.label for region in found.regions] == ["Bolt", "Screw"]
    assert {region.provenance.model_version for region in found.regions} == {"v"}
    assert stages.loaded == ["detector"]


def test_what_the_grammar_does_not_know_is_read_by_the_language_model(make, picture, scripted):
    part = {"noun": "bolt", "count": 1, "order": "right", "rank": 1}
    language = scripted({"regions": [part]})
    finding, _, _ = make(detector=Boxes(), language=language)
    found = finding.by_words(picture(1, ONE, TWO), [Wanted("what you would turn first", "Bolt")], stages=DETECTOR)
    assert boxes(found) == [TWO]
    assert len(language.asked) == 1


def test_a_language_model_that_cannot_be_had_leaves_the_phrase_a_name_and_says_why(make, picture):
    finding, _, _ = make(detector=Boxes())
    found = finding.by_words(picture(1, ONE), [Wanted("what you would turn first", "Bolt")], stages=DETECTOR)
    assert not found.regions
    assert "weights of hf:a/b are not on this machine" in found.reasons[0]


def test_what_phrases_cost_is_bounded_as_what_images_cost(make, picture, scripted):
    class Metered:
        name = version = "metered"

        def __init__(self):
            self.asked = 0

        def ask(self, messages, schema, budgets=()):
            for budget in budgets:
                budget.check()
                budget.charge(Usage(100, 10), 0.1)
            self.asked += 1
            return {"regions": []}

        answer = ask

    language = Metered()
    finding, _, _ = make(detector=Boxes(), language=language)
    wanted = [Wanted(f"what you would turn {when}", "Bolt") for when in ("first", "then", "last")]
    stages = replace(DETECTOR, options=StageOptions(language_tokens=200))
    found = finding.by_words(picture(1, ONE, TWO), wanted, stages=stages)
    assert language.asked == 2
    assert any("220 of 200 tokens" in reason for reason in found.reasons)


def test_a_picture_is_described_by_a_language_model_or_not_at_all(make, picture):
    finding, _, _ = make()
    with pytest.raises(InvalidInput, match="none is set"):
        finding.by_words(picture(1, ONE), [Wanted("bolt", "Bolt")], described=True)
    with pytest.raises(ModelUnavailable, match="hf:a/b"):
        finding.by_words(picture(1, ONE), [Wanted("bolt", "Bolt")], stages=DETECTOR, described=True)


def test_what_examples_taught_is_remembered_without_their_pictures(make, picture):
    finding, _, colours = make()
    size = (2000, 12000)
    large = picture(1, ONE, size=size)
    assert large.nbytes > LEARNT_BYTES
    for _ in range(2):
        finding.by_example(picture(2, ONE), [Support(large, (Mask.from_box(ONE, size),))], label="Bolt")
        looks, colours.looks = colours.looks, 0
    assert looks == 2, "the regions and the tiles of the second picture; nothing of the example"


def test_without_dense_features_regions_are_compared_and_a_picture_is_looked_at_once_for_all_classes(make, picture):
    finding, _, colours = make()
    image, other = picture(1, ONE, TWO), picture(2, ONE)
    supports = [Support(image, (Mask.from_box(box, SIZE),)) for box in (ONE, TWO)]
    stages = ProjectStages({"dense": "dinov2:a/b"})
    found = finding.by_example(other, supports[:1], label="Bolt", stages=stages)
    assert "without dense features" in found.warnings[0]
    first = colours.looks
    again = finding.by_example(other, supports[:1], label="Bolt")
    assert colours.looks == first
    assert boxes(again) == boxes(found)
    finding.by_example(other, supports[1:], label="Nut")
    assert colours.looks == first + 1, "the other example itself"


class Shows:
    """Features of two directions: the left half of a picture shows bolts, the right half nuts."""

    name = version = "shows"

    def features(self, image: Any) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[[[0, 0, 1, 1]] * 3]

    def text(self, phrases: Any) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[[int(phrase in ("nut", "hexagon")) for phrase in phrases]]


class Attends(Shows):
    def text(self, phrases: Any) -> np.ndarray:
        raise InvalidInput("no words")

    def keys(self, image: Any) -> np.ndarray:
        return self.features(image)

    def attention(self, image: Any) -> np.ndarray:
        return np.array([[0.1, 0.3], [0.1, 0.1]], np.float32)


class Diffuses(Attends):
    def maps(self, image: Any, phrases: Any) -> np.ndarray:
        return np.stack([np.full((2, 2), 0.5), np.array([[0, 1], [0.5, 0]])], axis=-1).astype(np.float32)


WORDS = LabelSet((LabelClass("bolt"), LabelClass("nut", aliases=("hexagon",))))
DENSE = ProjectStages({"dense": "gem:a/b"})


def test_where_each_class_is_seen_is_shown_from_nothing_to_all(make, picture):
    finding, _, _ = make(dense=Shows())
    maps = finding.heat_maps(picture(1, ONE), WORDS, stages=DENSE)
    assert {name: found.tolist()[0] for name, found in maps.items()} == {"bolt": [1, 1, 0, 0], "nut": [0, 0, 1, 1]}


def test_features_without_words_show_where_they_attend(make, picture):
    finding, _, _ = make(dense=Attends())
    maps = finding.heat_maps(picture(1, ONE), WORDS, stages=DENSE)
    np.testing.assert_allclose(maps["attention"], [[0, 1], [0, 0]])


def test_a_diffusion_models_maps_are_shown(make, picture):
    finding, _, _ = make(dense=Diffuses())
    maps = finding.heat_maps(picture(1, ONE), WORDS, stages=DENSE)
    assert not maps["bolt"].any(), "a flat map shows nothing"
    np.testing.assert_allclose(maps["nut"], [[0, 1], [0.5, 0]])


def test_heat_maps_without_dense_features_are_refused(make, picture):
    finding, stages, _ = make()
    with pytest.raises(InvalidInput, match="MASKWRIGHT_DENSE"):
        finding.heat_maps(picture(1, ONE), WORDS)
    assert stages.loaded == []


class Locates:
    """Could find things by words, and is not asked."""

    name = version = "locates"

    def classify(self, image: Any, masks: Any, phrases: Any) -> Any:
        raise AssertionError("asked in vain")

    locate = classify


def test_what_was_seen_of_a_picture_is_forgotten_when_other_classes_come_into_service(make, picture):
    made_by, image = Provenance("preannotation", "v"), picture(1, ONE, TWO)
    seen = {"sam": ONE, "sam+classes:r2": TWO}
    finding, _, _ = make(
        classifier=Locates(),
        annotated=lambda image, labels, model: [Region(Mask.from_box(seen[model], SIZE), "bolt", 0.9, made_by)],
    )
    labels = LabelSet.of(["bolt", "nut"])
    for model in (*seen, "sam"):
        found = finding.by_words(image, [Wanted("the bolt", "bolt")], labels=labels, model=model)
        assert boxes(found) == [seen[model]]
