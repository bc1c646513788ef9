from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.preannotate import CLASSIFIED, PreannotationOptions, preannotate
from maskwright.assist.thresholds import SEGMENT_ANYTHING, family_defaults
from maskwright.errors import Cancelled, InvalidInput
from maskwright.images import Image
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.protocols import Proposals

SIZE = (120, 160)


def image_of(pixels: np.ndarray) -> Image:
    return Image(pixels=pixels, sha256="0" * 64, key="0" * 64)


def boxes(*xyxy) -> list[Mask]:
    return [Mask.from_box(box, SIZE) for box in xyxy]


class ByNumber:
    """Gives each region the probabilities listed for its object's number."""

    name = version = "by-number"

    def __init__(self, table: dict[int, list[float]]) -> None:
        self.table = table
        self.phrases = None

    def classify(self, image, masks, phrases):
        self.phrases = phrases
        rows = [self.table[int(image[..., 0][mask.to_array()].max())] for mask in masks]
        return np.array(rows, dtype=np.float32)


@pytest.fixture
def run(oracle, windows, painted):
    def of(masks, labels, options=None, classifier=None, **more):
        pixels = painted(SIZE, *masks)
        return preannotate(
            image_of(pixels),
            labels,
            options or PreannotationOptions(points_per_side=16),
            segmenter=oracle,
            encode=windows(oracle, pixels),
            classifier=classifier,
            model_version="v1",
            **more,
        )

    return of


TWO = boxes((10, 10, 50, 50), (70, 20, 130, 100))
CAT_DOG = LabelSet.of(["cat", "dog"])


def test_regions_carry_class_confidence_and_provenance(run):
    answer = run(TWO, CAT_DOG, classifier=ByNumber({1: [0.9, 0.1], 2: [0.2, 0.8]}))
    assert [(r.label, r.mask) for r in answer.regions] == [("cat", TWO[0]), ("dog", TWO[1])]
    assert [r.score for r in answer.regions] == pytest.approx([0.97 * 0.9, 0.97 * 0.8])
    assert answer.regions[0].class_scores == pytest.approx({"cat": 0.9, "dog": 0.1})
    assert {r.provenance.model_version for r in answer.regions} == {"v1"}
    assert {r.provenance.source for r in answer.regions} == {"preannotation"}
    assert answer.model_version == "v1"
    assert answer.score == pytest.approx(0.97 * 0.85)


def test_one_class_needs_no_classifier(run):
    answer = run(TWO, LabelSet.of(["thing"]))
    assert [r.label for r in answer.regions] == ["thing", "thing"]
    assert [r.score for r in answer.regions] == pytest.approx([0.97, 0.97])


def test_several_classes_without_a_classifier_are_refused(run):
    with pytest.raises(InvalidInput, match="classifier"):
        run(TWO, CAT_DOG)


def test_the_classifier_is_asked_with_the_aliases(run):
    labels = LabelSet((LabelClass("Katze", aliases=("cat", "kitten")), LabelClass("dog")))
    classifier = ByNumber({1: [1, 0], 2: [0, 1]})
    run(TWO, labels, classifier=classifier)
    assert [list(words) for words in classifier.phrases] == [["cat", "kitten"], ["dog"]]


def test_each_class_has_its_own_threshold(run):
    classifier = ByNumber({1: [0.6, 0.0], 2: [0.0, 0.6]})
    options = PreannotationOptions(points_per_side=16, score_threshold=0.1, class_thresholds={"cat": 0.9})
    assert [r.label for r in run(TWO, CAT_DOG, options, classifier).regions] == ["dog"]


def test_the_best_regions_stay_when_there_are_too_many(run):
    classifier = ByNumber({1: [0.5, 0.0], 2: [0.0, 0.8]})
    options = PreannotationOptions(points_per_side=16, max_regions=1)
    assert [r.label for r in run(TWO, CAT_DOG, options, classifier).regions] == ["dog"]


def test_an_unsure_picture_scores_lower_than_a_sure_one(run):
    sure = run(TWO, CAT_DOG, classifier=ByNumber({1: [0.9, 0.1], 2: [0.0, 1.0]}))
    unsure = run(TWO, CAT_DOG, classifier=ByNumber({1: [0.5, 0.5], 2: [0.4, 0.6]}))
    assert 0 <= unsure.score < sure.score <= 1


def test_an_empty_picture_scores_the_certainty_that_nothing_is_there(run):
    nothing = run([], CAT_DOG, classifier=ByNumber({}))
    almost = run(TWO, CAT_DOG, classifier=ByNumber({1: [0.25, 0.0], 2: [0.1, 0.0]}))
    assert nothing.regions == almost.regions == ()
    assert nothing.score == 1.0
    assert almost.score == pytest.approx(1 - 0.97 * 0.25)


def test_a_project_may_switch_it_off(run, oracle):
    answer = run(TWO, CAT_DOG, PreannotationOptions(enabled=False))
    assert (answer.regions, answer.score) == ((), 0.0)
    assert oracle.calls == []
    assert run(TWO, LabelSet(())).regions == ()


def test_a_part_of_the_same_class_goes_and_one_of_another_class_stays(run):
    part, whole = boxes((20, 20, 40, 40), (10, 10, 100, 100))
    same = run([whole, part], CAT_DOG, classifier=ByNumber({1: [0.9, 0.0], 2: [0.8, 0.0]}))
    assert len(same.regions) == 2  # the painter cut a hole, so these do not overlap
    assert {r.mask.area for r in same.regions} == {part.area, whole.area - part.area}


def test_stages_are_observed_and_cancelling_stops(run):
    seen = []
    run(TWO, LabelSet.of(["thing"]), observe=lambda stage, seconds: seen.append((stage, seconds >= 0)))
    assert seen == [("propose", True), ("classify", True)]
    with pytest.raises(Cancelled):
        run(TWO, LabelSet.of(["thing"]), cancelled=lambda: True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": 1.5},
        {"class_thresholds": {"cat": -0.1}},
        {"predicted_iou_threshold": 2.0},
        {"min_area": -1},
        {"points_per_side": 0},
    ],
)
def test_impossible_options_are_refused_by_name(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        PreannotationOptions(**wrong)


def test_each_family_has_thresholds_on_its_own_scale():
    assert family_defaults("sam-vit-base") == SEGMENT_ANYTHING
    for name in ("classical", "embedded", "embedded-no-nuclei", "embedded-mine"):
        assert family_defaults(name).predicted_iou < SEGMENT_ANYTHING.predicted_iou


def test_of_very_many_proposals_the_most_promising_are_classified(windows, painted, oracle):
    size = (200, 200)
    masks = tuple(
        Mask.from_box((x, y, x + 3 + (x + y) % 7, y + 5), size) for x in range(0, 190, 10) for y in range(0, 190, 10)
    )
    pixels = painted(size)

    class Proposing(type(oracle)):
        def propose(self, embedding):
            return Proposals(masks, np.linspace(0.9, 1, len(masks), dtype=np.float32), np.ones(len(masks), np.float32))

    class Counting:
        name = version = "counting"
        seen = 0

        def classify(self, image, masks, phrases):
            self.seen = len(masks)
            return np.full((len(masks), len(phrases)), 1 / len(phrases), dtype=np.float32)

    segmenter, classifier = Proposing(), Counting()
    answer = preannotate(
        image_of(pixels),
        CAT_DOG,
        PreannotationOptions(min_area=1, max_regions=5),
        segmenter=segmenter,
        encode=windows(segmenter, pixels),
        classifier=classifier,
        model_version="v1",
    )
    assert len(masks) > classifier.seen == CLASSIFIED
    assert len(answer.regions) == 5
