"""What models propose beside what people left, as a round reports it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from maskwright.labels import LabelSet
from maskwright.learn.rounds.proposals import Proposed, confusion
from maskwright.learn.training.records import TrainingObject
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

MASK = Mask.from_box((0, 0, 5, 5), (9, 9))


def proposed(drawn: list[str], guessed: list[str]) -> Proposed:
    """As many pairs as there are guesses; what else was drawn nobody proposed."""
    objects = tuple(TrainingObject(MASK, label) for label in drawn)
    regions = tuple(Region(MASK, label, 0.5, Provenance("preannotation")) for label in guessed)
    image = cast(Any, SimpleNamespace(correction=SimpleNamespace(objects=objects)))
    pairs = tuple((n, n, 1.0) for n in range(min(len(drawn), len(guessed))))
    return Proposed(image, regions, pairs)


def test_the_confusion_of_a_thousand_classes_is_as_large_as_those_that_were_met() -> None:
    labels = LabelSet.of([f"c{number}" for number in range(1000)])
    found = confusion([proposed(["c7", "c3", "c7"], ["c7", "elsewhere"])], labels)
    assert found["classes"] == ["c3", "c7", "elsewhere", "(missed)"]
    assert found["rows"] == [[0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
