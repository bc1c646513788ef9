"""Objects, areas of classes and both, from one look, where the truth is painted."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.assist.suggestion.whole_picture import NO_MAPS
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.protocols import Detections, Tag

SIZE = (60, 100)
SKY, ROAD = Mask.from_box((0, 0, 100, 30), SIZE), Mask.from_box((0, 30, 100, 60), SIZE)
CAR, OTHER = Mask.from_box((10, 34, 30, 50), SIZE), Mask.from_box((60, 36, 84, 54), SIZE)
PAINTED = {"sky": 1, "road": 2, "car": 3, "lorry": 4}
LABELS = LabelSet.of(["sky", "road", "car", "lorry"])
LIMITS = PreannotationOptions(min_area=1, points_per_side=10)


class Sees:
    """Shows each class where its number is painted; the lorry looks like a car."""

    name, version = "sees", "sees-1"

    def __init__(self) -> None:
        self.looks = 0

    def features(self, image):
        self.looks += 1
        numbers = image[::2, ::2, 0].astype(int)
        return np.eye(6, dtype=np.float32)[np.where(numbers == 4, 3, numbers)]

    def text(self, phrases):
        return np.eye(6, dtype=np.float32)[[PAINTED.get(phrase, 5) for phrase in phrases]]


class Wordless(Sees):
    def text(self, phrases):
        raise InvalidInput("no words")


class Down(Sees):
    def features(self, image):
        raise ModelUnavailable("out of memory")


class Finds:
    """A detector that finds one of the two vehicles."""

    name, version = "finds", "finds-1"

    def detect(self, image, phrases):
        rows = [number for number, phrase in enumerate(phrases) if phrase == "car"]
        return Detections(
            np.array([(10, 34, 30, 50)] * len(rows), dtype=np.float32).reshape(-1, 4),
            np.full(len(rows), 0.8, dtype=np.float32),
            np.array(rows, dtype=np.int64),
        )


class Says:
    name, version = "says", "says-1"

    def __init__(self, *words: str) -> None:
        self.words = words

    def tags(self, images, *, top=10):
        return [[Tag(word, 0.9) for word in self.words] for _ in images]


@pytest.fixture
def street(oracle, box_oracle, painted):
    """Pre-annotates a street with two cars, of which the detector finds one."""
    pixels = painted(SIZE, SKY, ROAD, CAR)
    pixels[OTHER.to_array()] = 3
    pixels[OTHER.to_array(), 1] = 9  # another object of the same class

    class Both(box_oracle):
        """Boxes as one oracle has it, clicks as the other."""

        def encode(self, images):
            whole = [np.where(image[..., 1:2] == 9, 7, image[..., :1]).astype(np.uint8) for image in images]
            return super().encode(whole)

        def decode(self, embedding, prompts, *, multimask_output=False):
            chosen = oracle.decode if multimask_output else super().decode
            return chosen(embedding, prompts, multimask_output=multimask_output)

    def of(output, words=("sky", "road", "car"), dense="sees", detector="finds", labels=LABELS, **options):
        seen = {"sees": Sees, "wordless": Wordless, "down": Down, "none": lambda: None}[dense]()
        segmenter = Both()
        models = StageModels(tagger=Says(*words), detector=Finds() if detector else None, dense=seen)
        context = Context(models, segmenter, lambda window: segmenter.encode([pixels])[0], PhraseMemo(), "v1")
        image = Image(pixels, "0" * 64, "0" * 64)
        found = preannotate_in_stages(image, labels, LIMITS, StageOptions(output=output, **options), context)
        of.looks = getattr(seen, "looks", 0)
        return found

    return of


def shown(found) -> dict[str, list[Mask]]:
    by_label: dict[str, list[Mask]] = {}
    for region in sorted(found.regions, key=lambda region: region.mask.box):
        by_label.setdefault(region.label, []).append(region.mask)
    return by_label


def test_panoptic_has_each_object_and_one_region_for_each_area_and_shares_no_pixel(street):
    found = street("panoptic")
    assert street.looks == 1, "the picture is looked at once"
    assert set(shown(found)) == {"sky", "road", "car"}
    assert shown(found)["car"] == [CAR, OTHER]
    (sky,), (road,) = shown(found)["sky"], shown(found)["road"]
    assert sky.iou(SKY) > 0.97
    assert road.iou(ROAD - CAR - OTHER) > 0.95
    assert (
        sum(region.mask.area for region in found.regions)
        == Mask.empty(SIZE).union(*(region.mask for region in found.regions)).area
    )
    assert {one.label: one.status for one in found.suggestions} == {
        "car": "confirmed", "sky": "plausible", "road": "plausible"
    }  # fmt: skip
    assert found.problems == ()
    scores = [region.score for region in found.regions]
    assert scores == sorted(scores, reverse=True)
    assert all(region.class_scores and region.provenance.source == "preannotation" for region in found.regions)


def test_semantic_has_one_region_for_each_class(street):
    found = street("semantic")
    assert {name: len(masks) for name, masks in shown(found).items()} == {"sky": 1, "road": 1, "car": 1}
    assert shown(found)["car"] == [CAR | OTHER]
    assert sum(region.mask.area for region in found.regions) <= 60 * 100


def test_instance_has_the_countable_objects_only(street):
    assert shown(street("instance")) == {"car": [CAR, OTHER]}


def test_which_classes_are_countable_is_the_projects_to_say(street):
    found = street("panoptic", stuff=("car", "glass"))
    assert shown(found)["car"] == [CAR | OTHER]
    assert any("'glass'" in words for words in found.problems)
    assert len(shown(street("instance", stuff=()))["sky"]) == 1


def test_what_nothing_suggests_is_not_shown(street):
    assert set(shown(street("panoptic", words=("car",)))) == {"car"}
    assert street("panoptic", words=("tree",)).regions == ()


def test_without_a_detector_the_segmenters_proposals_are_the_objects(street):
    found = street("panoptic", detector=None)
    assert shown(found)["car"] == [CAR, OTHER]
    assert shown(found)["sky"][0].iou(SKY) > 0.97


@pytest.mark.parametrize("dense", ["wordless", "none"])
def test_without_features_that_know_words_what_was_found_is_put_together(street, dense):
    found = street("semantic", dense=dense, check_pixels=False)
    assert shown(found) == {"car": [CAR]}
    assert found.problems == (NO_MAPS,)
    assert street("instance", dense=dense, check_pixels=False).problems == ()


def test_features_that_fail_cost_the_areas_and_not_the_objects(street):
    found = street("panoptic", dense="down", check_pixels=False)
    assert shown(found) == {"car": [CAR]}
    assert found.problems == ("areas were not looked for: out of memory",)


def test_regions_are_what_they_were_where_nothing_else_is_asked_for(street):
    assert shown(street("regions")) == {"car": [CAR]}
