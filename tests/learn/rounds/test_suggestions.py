"""What people made of suggested classes is learnt, once something has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maskwright.assist.preannotate import Preannotation
from maskwright.assist.suggestion.learnt import THRESHOLDS, keep_suggestions, learnt_thresholds, support_version
from maskwright.assist.suggestion.thresholds import USUAL
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.labels import LabelSet
from maskwright.learn.rounds import suggestions as lessons
from maskwright.learn.rounds.suggestions import RATES, learn_from_suggestions, learn_suggestions, read_lesson
from maskwright.learn.rounds.workshop import MACHINE, Workshop
from maskwright.masks import Mask
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings
from maskwright.store.corrections import open_store
from maskwright.store.suggestions import Suggestions
from maskwright_label_studio.reader import LabelStudioReader

from .conftest import CONFIG, NUMBER, PLATFORM, SERVER, task

MASK = Mask.from_box((2, 2, 9, 9), (12, 16))
SUPPORT = support_version("d-1", None, "c-1")


@pytest.fixture
def workshop(tmp_path):
    settings = Settings(home=tmp_path, device="cpu", cpu_threads=1)
    store = open_store(tmp_path)
    yield Workshop(
        settings, store, ModelRegistry(settings),
        reader=lambda project: LabelStudioReader(CONFIG), images=lambda project: None,
        labels=lambda project: LabelSet.of(["thing"]),
    )  # fmt: skip
    store.close()


@pytest.fixture
def row(workshop):
    return workshop.store.project(PLATFORM, SERVER, NUMBER, label_config=CONFIG)


@pytest.fixture
def suggest(workshop, row):
    def put(number, support, status="plausible", label="thing", version=SUPPORT):
        seen = Suggestion(label, status, support, (Source("detector", label, support),))
        keep_suggestions(workshop.store.database, row.id, number, Preannotation((), 0.0, "m-1", (seen,)), version)

    return put


def test_a_class_that_people_keep_deleting_needs_more_support_afterwards(workshop, row, suggest):
    assert not learn_suggestions(workshop, row)
    for number in range(1, 31):
        suggest(number, 0.3)
        workshop.store.put_tasks(row.id, [task(number, [])])  # submitted without a region
    assert learn_suggestions(workshop, row)
    learnt = learnt_thresholds(workshop.notes, row.id, SUPPORT)
    assert learnt.of("thing").rejected > USUAL.of("thing").rejected
    assert learnt.of("thing").confirmed > USUAL.of("thing").confirmed
    assert learnt.examples == {"thing": 30}
    # Of other models nothing is known.
    assert learnt_thresholds(workshop.notes, row.id, "other").of("thing") == USUAL.of("thing")
    told = workshop.notes.get(row.id, RATES)
    assert (told["images"], told["looked_at"]) == (30, 30)
    assert told["classes"][0]["accepted"]["count"] == 0


def test_it_is_learnt_anew_only_when_something_has_changed(workshop, row, suggest, monkeypatch):
    monkeypatch.setattr(lessons, "SHARE", 1e9)
    suggest(1, 0.3)
    workshop.store.put_tasks(row.id, [task(1, [MASK])])
    assert learn_suggestions(workshop, row)
    assert not learn_suggestions(workshop, row)
    workshop.store.put_tasks(row.id, [task(2, [MASK])])
    assert learn_suggestions(workshop, row)
    suggest(2, 0.9, "confirmed")
    assert learn_suggestions(workshop, row)
    assert workshop.notes.get(row.id, RATES)["classes"][0]["accepted"]["count"] == 2
    monkeypatch.setattr(lessons, "SHARE", 1e-9)
    suggest(3, 0.9)
    assert not learn_suggestions(workshop, row), "a lesson that takes long is not repeated at once"


def test_rates_tell_what_was_missed_and_what_nobody_has_looked_at(workshop, row, suggest):
    suggest(1, 0.6, "confirmed")
    suggest(2, 0.1, "rejected")
    suggest(3, 0.5, label="ghost")
    suggest(4, 0.6, "confirmed")
    workshop.store.put_tasks(row.id, [task(1, [MASK]), task(2, [MASK]), task(3, [MASK])])
    workshop.store.put_tasks(row.id, [task(4, [MASK])])
    workshop.notes.put(row.id, MACHINE, {"4": 104})
    lesson = read_lesson(workshop, row)
    thing, ghost = lesson.rates
    assert (lesson.images, lesson.looked_at) == (4, 4), "a person took time over what the machine had annotated"
    assert (thing.label, thing.suggested.count, thing.supported.count, thing.wrongly_rejected.count) == (
        "thing",
        3,
        2,
        1,
    )
    assert (thing.missed.count, thing.missed.of) == (1, 4)
    assert (ghost.accepted.count, ghost.accepted.of) == (0, 1)
    assert lesson.skew > 0
    assert lesson.to_json()["classes"][1]["label"] == "ghost"


def test_only_what_the_latest_models_measured_moves_thresholds(workshop, row, suggest):
    for number in range(1, 21):
        suggest(number, 0.3, version="old" if number <= 15 else SUPPORT)
        workshop.store.put_tasks(row.id, [task(number, [])])
    lesson = read_lesson(workshop, row)
    assert (lesson.images, lesson.thresholds.examples, lesson.thresholds.version) == (20, {"thing": 5}, SUPPORT)


def test_what_is_no_class_of_the_project_makes_no_rates(workshop, row):
    found = Preannotation((), 0.0, "m", (Suggestion("moon", "plausible", 0.5, (), is_known=False),))
    keep_suggestions(workshop.store.database, row.id, 1, found)
    lesson = read_lesson(workshop, row)
    assert (lesson.images, lesson.rates) == (1, ())


def test_damaged_suggestions_and_notes_cost_only_themselves(workshop, row, suggest, caplog):
    suggest(1, 0.5)
    Suggestions(workshop.store.database).put(row.id, 2, "m", [{"label": 7}], support_version=SUPPORT)
    learn_from_suggestions(workshop)
    assert "task 2 of project 7" in caplog.text
    assert workshop.notes.get(row.id, RATES)["images"] == 1
    workshop.notes.put(row.id, THRESHOLDS, {"version": SUPPORT, "usual": "x"})
    assert learnt_thresholds(workshop.notes, row.id, SUPPORT).of("thing") == USUAL.of("thing")


def test_a_project_whose_tasks_cannot_be_read_does_not_stop_the_others(workshop, row, suggest, caplog):
    def reader(project):
        if project.id == row.id:
            raise ZeroDivisionError
        return LabelStudioReader(CONFIG)

    suggest(1, 0.5)
    other = workshop.store.project(PLATFORM, SERVER, NUMBER + 1, label_config=CONFIG)
    keep_suggestions(workshop.store.database, other.id, 1, Preannotation((), 0.0, "m", ()))
    learn_from_suggestions(replace(workshop, reader=reader), stopping=lambda: True)
    assert workshop.notes.get(other.id, RATES) is None
    learn_from_suggestions(replace(workshop, reader=reader))
    assert "project 7: nothing was learnt" in caplog.text
    assert workshop.notes.get(other.id, RATES)["images"] == 1


def test_support_of_other_models_has_another_version():
    versions = {
        support_version("d", None, "c"), support_version("e", None, "c"), support_version("d", None, "b"),
        support_version("d", "f", "c"), support_version("d", None, "c", StageOptions(domain="driving")),
        support_version("d", None, "c", StageOptions(descriptors="none")),
        support_version("d", None, "c", StageOptions(multi_scale=True)),
    }  # fmt: skip
    assert len(versions) == 7
    assert support_version("d", "f", "c") == support_version("d", "f", "b"), "dense features look in its place"
