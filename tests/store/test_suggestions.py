"""What was suggested of tasks' images is kept with them, and goes with them."""

from __future__ import annotations

import pytest

from maskwright.errors import InvalidInput, NotFound, TooLarge
from maskwright.store.corrections import TaskState
from maskwright.store.purge import purge_image
from maskwright.store.suggestions import MOST_BYTES, Suggestions

PEAR = {"label": "pear", "status": "confirmed"}


def test_the_last_prediction_of_a_task_counts(database, project):
    kept = Suggestions(database)
    kept.put(project, 7, "m-1", [PEAR], ["no caption: too slow"], support_version="s-1")
    kept.put(project, 3, "m-1", [])
    kept.put(project, 7, "m-2", [PEAR, {"label": "ä"}], support_version="s-2")
    first, second = kept.list(project)
    assert (first.task_number, first.suggestions, first.problems, first.support_version) == (3, [], [], "")
    assert (second.task_number, second.model_version, second.support_version) == (7, "m-2", "s-2")
    assert (second.suggestions, second.problems) == ([PEAR, {"label": "ä"}], [])
    assert second.created_at
    assert list(kept.list(project + 1)) == []


def test_a_project_of_many_tasks_is_read_in_order(database, project):
    kept = Suggestions(database)
    for number in range(1100, 0, -1) if database.is_sqlite else range(501, 0, -1):
        kept.put(project, number, "m", [])
    numbers = [one.task_number for one in kept.list(project)]
    assert numbers == sorted(numbers)
    assert len(numbers) in (1100, 501)


def test_whoever_names_tasks_that_are_not_there_cannot_fill_the_table(database, store, project, state, monkeypatch):
    monkeypatch.setattr("maskwright.store.suggestions.MOST_UNKNOWN", 3)
    kept, other = Suggestions(database), store.project("label-studio", "http://elsewhere", 8).id
    store.put_tasks(project, [state(1), state(2)])
    kept.put(other, 50, "m", [])
    for number in (1, *range(10, 20), 2):
        kept.put(project, number, "m", [PEAR])
    assert [one.task_number for one in kept.list(project)] == [1, 2, 17, 18, 19]
    assert [one.task_number for one in kept.list(other)] == [50]
    store.put_tasks(project, [state(17)])  # heard of in the meantime
    for number in range(30, 33):
        kept.put(project, number, "m", [PEAR])
    assert [one.task_number for one in kept.list(project)] == [1, 2, 17, 30, 31, 32]


def test_what_was_suggested_of_a_deleted_task_is_not_counted(database, store, project, state):
    kept = Suggestions(database)
    store.put_tasks(project, [state(1), state(2)])
    kept.put(project, 1, "m", [PEAR])
    kept.put(project, 2, "m", [PEAR])
    kept.put(project, 3, "m", [PEAR])  # the store has not heard of it yet
    store.bury_task(project, 2, "2027-01-01")
    assert [one.task_number for one in kept.list(project)] == [1, 3]


def test_an_erased_image_takes_its_suggestions_along_and_gets_no_others(database, store, project, state):
    kept = Suggestions(database)
    store.put_tasks(project, [state(1), state(2)])
    for number in (1, 2):
        kept.put(project, number, "m", [PEAR])
    purge_image(database, "/data/upload/7/1.png")
    kept.put(project, 1, "late", [PEAR])
    assert [one.task_number for one in kept.list(project)] == [2]
    # Something new under the number of what was erased has suggestions of its own.
    again = TaskState(1, b'{"image": "new.png"}', "2099-01-01", created_at="2099-01-01")
    store.put_tasks(project, [again], seen_at="2099-01-02")
    kept.put(project, 1, "m", [PEAR])
    assert [one.task_number for one in kept.list(project)] == [1, 2]


def test_what_no_database_can_keep_is_refused(database, project):
    kept = Suggestions(database)
    with pytest.raises(NotFound):
        kept.put(project + 1, 1, "m", [])
    with pytest.raises(InvalidInput, match="task"):
        kept.put(project, -1, "m", [])
    with pytest.raises(TooLarge, match="suggestions"):
        kept.put(project, 1, "m", [{"label": "x" * MOST_BYTES}])
    with pytest.raises(TooLarge, match="bytes"):
        kept.put(project, 1, "m", [], ["\u00e4" * (MOST_BYTES // 2)])
    kept.put(project, 1, "m", [{"label": "a\0b"}])
    assert next(kept.list(project)).suggestions == [{"label": "a\0b"}]
