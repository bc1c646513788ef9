"""What proposals of the whole image add to the embedded detector, which sees crowds as one box and tags only."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.preannotate import PreannotationOptions
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.thresholds import ClassThresholds, Threshold
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import Busy, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.detectors.embedded import EmbeddedDetector
from maskwright.models.protocols import Detections, Tag

SIZE = (60, 120)
COINS = [Mask.from_ellipse(x, 30, 14, 20, 0, SIZE) for x in (20, 60, 100)]
DOG = Mask.from_box((40, 5, 80, 55), SIZE)
CROWD = (4, 8, 116, 52)
LIMITS = PreannotationOptions(points_per_side=16, min_area=1)
LABELS = LabelSet.of(["coin", "dog"])
USUAL = StageOptions()


class Tags:
    name, version = "tags", "tags-1"

    def __init__(self, *said: str, knows: tuple[str, ...] = ("coin", "dog")) -> None:
        self.said, self.vocabulary = said, knows

    def tags(self, images, *, top=10):
        return [[Tag(word, 0.9) for word in self.said] for _ in images]


class Peaks(EmbeddedDetector):
    """The embedded detector with a script for what it finds."""

    def __init__(self, **boxes) -> None:
        self.boxes = boxes

    def detect(self, image, phrases):
        rows = [(self.boxes[phrase], i) for i, phrase in enumerate(phrases) if phrase in self.boxes]
        return Detections(
            np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4),
            np.full(len(rows), 0.8, dtype=np.float32),
            np.array([index for _, index in rows], dtype=np.int64),
        )


class Foreign(Peaks):
    """Another detector, which needs no help."""

    def __new__(cls, **boxes):
        other = type("Other", (), {"name": "other", "version": "other-1", "detect": Peaks.detect})()
        other.boxes = boxes
        return other


class Kinds:
    """Gives each painted number its class."""

    name, version = "kinds", "kinds-1"

    def __init__(self, *kinds: str, probability: float = 0.9) -> None:
        self.kinds, self.probability = kinds, probability

    def classify(self, image, masks, phrases):
        rows = np.zeros((len(masks), len(phrases)), dtype=np.float32)
        for row, mask in zip(rows, masks, strict=True):
            inside = image[..., 0][mask.to_array()]
            number = int(np.bincount(inside[inside > 0]).argmax()) if (inside > 0).any() else 0
            for index, words in enumerate(phrases):
                row[index] = self.probability if number and words[0] == self.kinds[number - 1] else 0
        return rows


@pytest.fixture
def found(box_oracle, painted):
    def of(*masks, detector, tags, classifier, labels=LABELS, options=USUAL, dense=None, **more):
        segmenter, pixels = box_oracle(), painted(SIZE, *masks)
        context = Context(
            StageModels(tagger=tags, detector=detector, dense=dense), segmenter,
            lambda window: segmenter.encode([pixels])[0],
            memo=PhraseMemo(), model_version="v1", classifier=classifier, **more,
        )  # fmt: skip
        return preannotate_in_stages(Image(pixels, "0" * 64, "0" * 64), labels, LIMITS, options, context)

    return of


def masks_of(answer) -> set[Mask]:
    return {region.mask for region in answer.regions}


def test_every_member_of_a_crowd_is_proposed_where_the_detector_sees_one_box(found):
    scene = {"detector": Peaks(coin=CROWD), "tags": Tags("coin"), "classifier": Kinds("coin", "coin", "coin")}
    assert masks_of(found(*COINS, **scene)) == set(COINS)
    alone = found(*COINS, **scene, options=StageOptions(proposals=False))
    assert len(alone.regions) == 1, "the switch leaves it to the detector"


def test_what_no_word_suggests_is_proposed_where_pixels_speak_for_it(found):
    answer = found(*COINS, detector=Peaks(), tags=Tags(), classifier=Kinds("coin", "coin", "coin"))
    assert masks_of(answer) == set(COINS)
    (coin,) = answer.suggestions
    assert (coin.label, coin.status) == ("coin", "confirmed")
    assert [(one.kind, one.text) for one in coin.sources] == [("region", "kinds")]


def test_what_pixels_hardly_show_is_not_proposed(found):
    weak = {"detector": Peaks(), "tags": Tags(), "classifier": Kinds("coin", "coin", "coin", probability=0.5)}
    strict = ClassThresholds(usual=Threshold(confirmed=0.9, rejected=0.6))
    assert found(*COINS, **weak).regions
    answer = found(*COINS, **weak, thresholds=strict)
    assert (answer.regions, answer.suggestions) == ((), ())


def test_parts_of_what_the_detector_found_are_not_added(found):
    nose = Mask.from_box((55, 25, 62, 32), SIZE)
    answer = found(
        DOG, nose, detector=Peaks(dog=(40, 5, 80, 55)), tags=Tags("dog"), classifier=Kinds("", "dog"),
        options=StageOptions(point_rule="none", check_pixels=False),
    )  # fmt: skip
    (region,) = answer.regions
    assert region.mask.iou(DOG) > 0.99


def test_a_class_that_both_see_is_one_suggestion_with_both_as_evidence(found):
    answer = found(DOG, detector=Peaks(dog=(40, 5, 80, 55)), tags=Tags("dog"), classifier=Kinds("dog"))
    assert masks_of(answer) == {DOG}
    (dog,) = answer.suggestions
    assert sorted(one.kind for one in dog.sources) == ["detector", "region", "tag"]


def test_another_detector_is_taken_at_its_word(found):
    answer = found(*COINS, detector=Foreign(), tags=Tags("coin"), classifier=Kinds("coin", "coin", "coin"))
    assert answer.regions == ()


@pytest.mark.parametrize(("knows", "count"), [(("coin",), 0), (("petri dish",), 3)], ids=["in words", "in none"])
def test_the_only_class_of_a_project_takes_everything_only_where_no_tag_could_name_it(found, knows, count):
    labels = LabelSet.of(["coin"])
    answer = found(*COINS, detector=Peaks(), tags=Tags(knows=knows), classifier=None, labels=labels)
    assert len(answer.regions) == count


def test_members_that_pixels_do_not_support_drive_nothing_out(found):
    members = Kinds("coin", "coin", "coin", probability=0.5)
    strict = ClassThresholds(usual=Threshold(confirmed=0.9, rejected=0.6))
    scene = {"detector": Peaks(coin=CROWD), "tags": Tags("coin"), "classifier": members, "thresholds": strict}
    alone = masks_of(found(*COINS, **scene, options=StageOptions(proposals=False)))
    assert len(alone) == 1, "with the detector's score the crowd is supported"
    assert masks_of(found(*COINS, **scene)) == alone


class Broken(Kinds):
    """Runs out of memory, or whatever else may happen."""

    def classify(self, image, masks, phrases):
        raise ModelUnavailable("the device ran out of memory")


def test_whoever_cannot_classify_proposals_costs_nothing_that_was_found(found):
    answer = found(DOG, detector=Peaks(dog=(40, 5, 80, 55)), tags=Tags("dog"), classifier=Broken())
    assert masks_of(answer) == {DOG}
    assert "nothing was added to what was found: the device ran out of memory" in answer.problems


def test_several_classes_that_nothing_tells_apart_are_left_to_the_detector(found):
    answer = found(DOG, detector=Peaks(dog=(40, 5, 80, 55)), tags=Tags(knows=("petri dish",)), classifier=None)
    assert masks_of(answer) == {DOG}
    assert answer.problems == ()


def test_an_image_that_cannot_be_encoded_now_is_not_kept_without_its_proposals(found):
    class Full(Kinds):
        def classify(self, image, masks, phrases):
            raise Busy("too many images wait")

    with pytest.raises(Busy):
        found(DOG, detector=Peaks(dog=(40, 5, 80, 55)), tags=Tags("dog"), classifier=Full())


class Overflowing:
    """Dense features whose precision does not hold what they compute."""

    name, version = "overflowing", "overflowing-1"

    def features(self, image):
        return np.full((6, 12, 2), np.nan, dtype=np.float32)

    def text(self, phrases):
        return np.ones((len(phrases), 2), dtype=np.float32)


def test_what_is_no_number_becomes_no_score(found):
    answer = found(
        DOG, *COINS[:1], detector=Peaks(dog=(40, 5, 80, 55)), tags=Tags("dog"), classifier=None, dense=Overflowing()
    )
    (region,) = answer.regions
    assert (region.mask, np.isfinite(region.score)) == (DOG, True)
    assert any("no number" in words for words in answer.problems)
