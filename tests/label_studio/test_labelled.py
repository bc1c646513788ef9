"""Vectors of labelled images: kept, bounded, and never mixed with those of another encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskwright.store.corrections import open_store
from maskwright.store.project_notes import ProjectNotes
from maskwright_label_studio.labelled import LOOKS, LabelledFeatures


@pytest.fixture
def project(tmp_path: Path):
    store = open_store(tmp_path)
    yield ProjectNotes(store.database), store.project("label-studio", "http://server", 1).id
    store.close()


def look(number: int) -> np.ndarray:
    return np.full(3, number / 8, dtype=np.float32)


def held(*of: object) -> list[float]:
    return sorted(LabelledFeatures(*of).array()[:, 0].tolist())  # type: ignore[arg-type]


def test_what_was_measured_while_a_task_waited_is_not_looked_at_again(project):
    kept = LabelledFeatures(*project, "encoder-1")
    kept.update([1, 2], {1: look(1)}, lambda number: look(number) if number == 2 else pytest.fail("looked at"))
    assert held(*project, "encoder-1") == [1 / 8, 2 / 8]
    LabelledFeatures(*project, "encoder-1").update([1, 2], {}, lambda number: pytest.fail("looked at"))


def test_tasks_that_are_labelled_no_more_are_forgotten(project):
    LabelledFeatures(*project, "encoder-1").update([1, 2], {}, look)
    LabelledFeatures(*project, "encoder-1").update([2], {}, look)
    assert held(*project, "encoder-1") == [2 / 8]


def test_vectors_of_another_encoder_do_not_count(project):
    LabelledFeatures(*project, "encoder-1").update([1], {}, look)
    assert LabelledFeatures(*project, "encoder-2").array().size == 0


def test_an_image_that_cannot_be_had_is_left_out(project):
    LabelledFeatures(*project, "encoder-1").update([1, 2], {}, lambda number: look(number) if number == 2 else None)
    assert held(*project, "encoder-1") == [2 / 8]


def test_many_labelled_tasks_do_not_keep_waiting_ones_waiting(project):
    seen: list[int] = []
    for _ in range(2):
        LabelledFeatures(*project, "encoder-1").update(range(100), {}, lambda n: seen.append(n) or look(n))
    assert sorted(seen) == list(range(100 - 2 * LOOKS, 100))


def test_what_was_seen_before_an_interruption_stays(project):
    def interrupted(number: int) -> np.ndarray:
        if number == 1:
            raise KeyboardInterrupt
        return look(number)

    with pytest.raises(KeyboardInterrupt):
        LabelledFeatures(*project, "encoder-1").update([1, 2], {}, interrupted)
    assert held(*project, "encoder-1") == [2 / 8]
