"""A class that words suggest survives only if pixels support it."""

import numpy as np
import pytest

from maskwright.assist.suggestion.places import ClassPlaces
from maskwright.assist.suggestion.support import Found, check_support
from maskwright.assist.suggestion.thresholds import CONFIRMED, ClassThresholds, Threshold
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask

SIZE = (40, 60)
PIXELS = np.zeros((*SIZE, 3), dtype=np.uint8)
LABELS = LabelSet.of(["background", "dog", "cat", "road"])
LEFT, RIGHT = Mask.from_box((0, 0, 30, 40), SIZE), Mask.from_box((30, 0, 60, 40), SIZE)
VECTORS = {"dog": 0, "cat": 1, "road": 2, "shadow": 3}


class PlantedFeatures:
    """The left half is a dog, the right half nothing that has a name."""

    name = version = "planted"

    def __init__(self, left="dog", right=None):
        self._halves = left, right

    def features(self, image):
        made = np.zeros((4, 6, 5), dtype=np.float32)
        for columns, word in zip((slice(0, 3), slice(3, 6)), self._halves, strict=True):
            made[:, columns, VECTORS.get(word, 4)] = 1
        return made

    def text(self, phrases):
        return np.eye(5, dtype=np.float32)[[VECTORS.get(phrase, 4) for phrase in phrases]]


class Wordless(PlantedFeatures):
    def text(self, phrases):
        raise InvalidInput("this family knows no language")


class PlantedClassifier:
    name = version = "planted-regions"

    def __init__(self, **shares):
        self._shares = shares
        self.asked = []

    def classify(self, image, masks, phrases):
        self.asked = [list(group) for group in phrases]
        return np.array([[self._shares.get(g[0], 0.0) for g in phrases] for _ in masks], np.float32).reshape(
            len(masks), len(phrases)
        )


def suggestion(label, implied=False, known=True):
    return Suggestion(label, "plausible", 0.8, (Source("tag", label, 0.8),), implied, known)


def check(suggestions, found, labels=LABELS, dense=None, domain="general", **options):
    places = None if dense is None else ClassPlaces(dense, labels, StageOptions(domain=domain))
    return check_support(PIXELS, suggestions, found, labels, places=places, domain=domain, **options)


def statuses(result):
    return {one.label: one.status for one in result.suggestions}


def test_a_found_object_that_looks_like_its_class_is_confirmed_with_the_evidence_of_the_pixels():
    result = check([suggestion("dog")], [Found("dog", "a dog", 0.5, LEFT)], dense=PlantedFeatures())
    (dog,) = result.suggestions
    assert dog.status == "confirmed"
    assert {(one.kind, one.text) for one in dog.sources} == {
        ("tag", "dog"),
        ("detector", "a dog"),
        ("region", "planted"),
    }
    assert dog.confidence == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert result.kept == (True,)
    assert result.class_scores[0]["dog"] == pytest.approx(1, abs=1e-3)


def test_a_detector_that_fires_on_anything_is_not_believed():
    """The published pipeline fails so: an absent class is suggested, and something has a score above 0.18."""
    result = check([suggestion("cat")], [Found("cat", "cat", 0.3, RIGHT)], dense=PlantedFeatures())
    assert statuses(result) == {"cat": "rejected"}
    assert result.kept == (False,)


def test_a_model_that_says_yes_to_everything_gets_no_absent_class_through():
    found = [Found("dog", "dog", 0.6, LEFT)]
    result = check([suggestion(name) for name in ("dog", "cat", "road")], found, dense=PlantedFeatures())
    assert statuses(result) == {"dog": "confirmed", "cat": "rejected", "road": "rejected"}


def test_each_region_is_judged_and_the_best_speaks_for_its_class():
    found = [Found("dog", "dog", 0.3, RIGHT), Found("dog", "dog", 0.3, LEFT)]
    result = check([suggestion("dog")], found, dense=PlantedFeatures())
    assert statuses(result) == {"dog": "confirmed"}
    assert result.kept == (False, True)
    assert result.support[0] < 0.05 < result.support[1]


def test_words_of_the_domain_compete_with_the_classes_but_not_with_themselves():
    found, features = [Found("dog", "dog", 0.6, LEFT)], PlantedFeatures(left="shadow")
    assert statuses(check([suggestion("dog")], found, dense=features, domain="driving")) == {"dog": "rejected"}
    labels = LabelSet.of(["dog", "Shadow"])
    own = check([suggestion("Shadow")], [Found("Shadow", "shadow", 0.6, LEFT)], labels, dense=PlantedFeatures("Shadow"))
    assert set(own.class_scores[0]) == {"dog", "Shadow"}


def test_implied_classes_need_more():
    found = [Found("dog", "dog", CONFIRMED + 0.01, LEFT)]
    assert statuses(check([suggestion("dog")], found)) == {"dog": "confirmed"}
    assert statuses(check([suggestion("dog", implied=True)], found)) == {"dog": "plausible"}


@pytest.mark.parametrize(("needed", "status"), [(0.5, "confirmed"), (0.8, "plausible"), (1.0, "rejected")])
def test_each_class_has_its_own_thresholds(needed, status):
    thresholds = ClassThresholds(by_class={"dog": Threshold(needed, max(0.1, 3 * needed - 2))})
    result = check([suggestion("dog")], [Found("dog", "dog", 0.6, LEFT)], thresholds=thresholds)
    assert statuses(result) == {"dog": status}


def test_where_nobody_looked_a_class_stays_plausible():
    assert statuses(check([suggestion("dog")], [], searched=False)) == {"dog": "plausible"}
    result = check([suggestion("dog")], [Found("dog", "", None, LEFT)], searched=False)
    assert (statuses(result), result.support, result.kept) == ({"dog": "plausible"}, (0.0,), (True,))
    assert result.suggestions[0].confidence == 0.8


def test_searched_in_vain_is_rejected_unless_the_features_show_it_somewhere():
    assert statuses(check([suggestion("dog")], [])) == {"dog": "rejected"}
    shown = check([suggestion("dog"), suggestion("cat")], [], dense=PlantedFeatures())
    assert statuses(shown) == {"dog": "plausible", "cat": "rejected"}
    assert ("region", "planted") in {(one.kind, one.text) for one in shown.suggestions[0].sources}


def test_rejected_ones_are_shown_and_those_that_nothing_spoke_for_are_not():
    every = Suggestion("cat", "plausible", 0.0, ())
    result = check([suggestion("dog"), every], [])
    assert statuses(result) == {"dog": "rejected"}
    found = check([every], [Found("cat", "cat", 0.9, LEFT)])
    assert statuses(found) == {"cat": "confirmed"}


def test_suggestions_outside_the_set_are_left_alone():
    other = suggestion("bird", known=False)
    assert check([other], []).suggestions == (other,)


def test_regions_are_classified_where_features_know_no_language():
    classifier = PlantedClassifier(dog=0.9)
    found = [Found("dog", "dog", 0.6, LEFT)]
    result = check([suggestion("dog")], found, dense=Wordless(), classifier=classifier)
    assert statuses(result) == {"dog": "confirmed"}
    assert classifier.asked[:3] == [["dog"], ["cat"], ["road"]]
    assert ("region", "planted-regions") in {(one.kind, one.text) for one in result.suggestions[0].sources}
    alone = check([suggestion("dog")], found, dense=Wordless())
    assert (statuses(alone), alone.class_scores, alone.problems) == ({"dog": "confirmed"}, ({},), ())


def test_words_for_what_is_none_of_the_classes_compete_in_a_classifier_too():
    class Sharing(PlantedClassifier):
        """Divides certainty among what it was asked about."""

        def classify(self, image, masks, phrases):
            shares = super().classify(image, masks, phrases)
            return shares / shares.sum(axis=1, keepdims=True)

    class Shadows(Sharing):
        def classify(self, image, masks, phrases):
            rows = super().classify(image, masks, phrases)
            rows[:, [index for index, group in enumerate(phrases) if "shadow" in group]] = 99
            return rows / rows.sum(axis=1, keepdims=True)

    found = [Found("dog", "dog", 0.3, LEFT)]
    for kind, status in ((Sharing, "confirmed"), (Shadows, "rejected")):
        result = check([suggestion("dog")], found, classifier=kind(dog=0.1), domain="driving")
        assert statuses(result) == {"dog": status}
        assert set(result.class_scores[0]) == {"dog", "cat", "road"}


def test_a_single_class_is_looked_at_too():
    labels, classifier = LabelSet((LabelClass("dog", ("hound", "puppy")),)), PlantedClassifier(hound=0.01)
    result = check([suggestion("dog")], [Found("dog", "hound", 0.6, LEFT)], labels, classifier=classifier)
    assert classifier.asked[0] == ["hound", "puppy"]
    assert "background" in classifier.asked[1]
    assert statuses(result) == {"dog": "rejected"}


@pytest.mark.parametrize(
    "failure",
    [
        ModelUnavailable("the weights are damaged"),
        RuntimeError("CUDA"),
    ],
)
def test_without_a_look_at_regions_the_detector_speaks_and_the_reason_is_kept(failure):
    class Broken(PlantedClassifier):
        def classify(self, image, masks, phrases):
            raise failure

    result = check([suggestion("dog")], [Found("dog", "dog", 0.6, LEFT)], classifier=Broken())
    assert statuses(result) == {"dog": "confirmed"}
    assert result.problems[0].startswith("regions were not checked: ")
    assert "CUDA" not in result.problems[0]


def test_a_classifier_whose_answers_are_no_numbers_has_not_looked():
    result = check(
        [suggestion("dog")], [Found("dog", "dog", 0.6, LEFT)], classifier=PlantedClassifier(dog=float("nan"))
    )
    assert statuses(result) == {"dog": "confirmed"}
    assert result.kept == (True,)
    assert "no number" in result.problems[0]
