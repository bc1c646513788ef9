"""Examples for likes: read only when people corrected something, and each by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from maskwright.assist.encode_queue import Priority
from maskwright.assist.fewshot import Similar
from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.stager import NO_STAGES
from maskwright.errors import Busy, NotFound
from maskwright.images import Image
from maskwright.learn.rounds.workshop import MACHINE
from maskwright.masks import Mask
from maskwright.store.corrections import CorrectionsStore, Stored, TaskState, open_store
from maskwright.store.project_notes import ProjectNotes
from maskwright_label_studio import corrected
from maskwright_label_studio.brush import encode_brush
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.corrected import CorrectedExamples
from maskwright_label_studio.projects import Project
from maskwright_label_studio.tasks import Task

SIZE = (20, 30)
CONFIG = parse_config("""<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Bolt"/></BrushLabels></View>""")
PROJECT = Project("7.1")
NEW = Image(np.zeros((*SIZE, 3), np.uint8), "0" * 64, "new")


def outlined(number: int, day: int = 1, lead_time: float | None = 9.0) -> TaskState:
    """A finished task, whose region lies at the number's column."""
    value = {"format": "rle", "rle": encode_brush(Mask.from_box((number, 2, number + 3, 8), SIZE)).tolist()}
    item = {
        "id": "r", "from_name": "brush", "to_name": "image", "type": "brushlabels", "original_width": SIZE[1],
        "original_height": SIZE[0], "value": value | {"brushlabels": ["Bolt"]},
    }  # fmt: skip
    at = f"2026-11-{day:02}T03:00:00Z"
    document = orjson.dumps({"id": number, "result": [item], "task": number})
    drawn = Stored(number, "submitted", "1", at, at, document, lead_time)
    return TaskState(number, orjson.dumps({"image": f"{number}.png"}), at, (drawn,))


class Asked:
    """Finds nothing, and remembers which examples it was shown."""

    def __init__(self) -> None:
        self.finding, self.shown = self, []
        self.error: Exception | None = None

    def by_example(self, image: Image, supports: Any, **more: Any) -> Similar:
        if self.error is not None:
            raise self.error
        self.shown.append([one.image.key for one in supports])
        return Similar((), ())


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path)
    opened.project("label-studio", "http://server", 7)
    yield opened
    opened.close()


@pytest.fixture
def ask(store, monkeypatch):
    """``ask()``: the problems of a pre-annotation with likes; ``ask.asked`` was shown the examples."""
    asked, missing = Asked(), set()
    monkeypatch.setattr(corrected, "KNOWN_FOR_S", 0.0)
    servers: Any = SimpleNamespace(of=lambda project: "http://server")
    examples = CorrectedExamples(lambda: store, servers, asked)  # type: ignore[arg-type]

    def load(project: Project, task: Task, source: str) -> Image:
        if source in missing:
            raise missing_error[0]
        return Image(NEW.pixels, "0" * 64, source)

    missing_error: list[Exception] = [NotFound("the picture is gone")]

    def added() -> tuple[str, ...]:
        return examples.added(
            Preannotation((), 0.0, "m-1"), NEW, CONFIG.labels_on("image"), PreannotationOptions(), tag="image",
            config=CONFIG, project=PROJECT, load=load, stages=NO_STAGES, priority=Priority.BACKGROUND,
            cancelled=lambda: False,
        ).problems  # fmt: skip

    added.asked, added.missing, added.missing_error = asked, missing, missing_error  # type: ignore[attr-defined]
    return added


def put(store: CorrectionsStore, *states: TaskState) -> None:
    store.put_tasks(1, list(states))


def test_the_newest_examples_are_shown_as_soon_as_somebody_corrects_something(ask, store):
    put(store, *(outlined(number, day=number) for number in (1, 2, 3, 4)))
    assert ask() == ()
    assert ask.asked.shown == [["4.png", "3.png", "2.png"]]
    put(store, outlined(5, day=6))
    ask()
    assert ask.asked.shown[-1] == ["5.png", "4.png", "3.png"]


def test_documents_are_read_again_only_if_something_was_corrected(ask, store, monkeypatch):
    read = []
    documents = CorrectionsStore.task_documents
    monkeypatch.setattr(
        CorrectionsStore, "task_documents", lambda self, *of: (read.append(of[-1]), documents(self, *of))[1]
    )
    put(store, outlined(1), outlined(2, day=2))
    for _ in range(5):
        ask()
    assert len(read) == 2
    put(store, outlined(1, day=3))
    ask()
    assert len(read) == 4
    monkeypatch.setattr(corrected, "READ_AGAIN_S", 0.0)
    put(store, outlined(1, day=4))
    for _ in range(2):
        ask()
    assert len(read) == 8, "what is old is read again: a picture may have been replaced"


def test_a_long_history_is_not_read_to_find_what_is_new(ask, store, monkeypatch):
    monkeypatch.setattr(corrected, "LOOKS", 2)
    monkeypatch.setattr("maskwright.store.reading._HEADS_PER_PAGE", 2)
    put(store, *(outlined(number, day=number) for number in range(1, 10)))
    heads = []
    newest = CorrectionsStore.newest_heads
    monkeypatch.setattr(
        CorrectionsStore, "newest_heads", lambda *of, **more: (heads.append(h) or h for h in newest(*of, **more))
    )
    ask()
    assert [head.task_number for head in heads] == [9, 8]


def test_what_the_machine_annotated_is_not_read_without_end_for_what_people_did_before(ask, store, monkeypatch):
    put(store, outlined(1), *(outlined(number, day=number, lead_time=0) for number in (2, 3, 4, 5)))
    ProjectNotes(store.database).put(1, MACHINE, {str(number): number for number in (2, 3, 4, 5)})
    ask()
    assert ask.asked.shown == [["1.png"]]
    put(store, outlined(6, day=6, lead_time=0))
    ProjectNotes(store.database).put(1, MACHINE, {str(number): number for number in (2, 3, 4, 5, 6)})
    monkeypatch.setattr(corrected, "MOST_HEADS", 5)
    assert ask() == ()
    assert len(ask.asked.shown) == 1


def test_an_example_whose_picture_is_missing_costs_that_example_alone(ask, store):
    put(store, outlined(1), outlined(2, day=2))
    ask.missing.add("2.png")
    assert ask() == ("an example of 'Bolt' was left out: task 2: the picture is gone",)
    assert ask.asked.shown == [["1.png"]]
    ask.missing.add("1.png")
    assert "likes of corrected 'Bolt' were not looked for: no example of it can be used" in ask()
    assert len(ask.asked.shown) == 1


def test_who_is_busy_is_asked_again_instead_of_being_told_of_as_a_problem(ask, store):
    put(store, outlined(1))
    ask.asked.error = Busy("too many images wait")
    with pytest.raises(Busy):
        ask()
    ask.asked.error = None
    ask.missing.add("1.png")
    ask.missing_error[0] = Busy("too many downloads")
    with pytest.raises(Busy):
        ask()
