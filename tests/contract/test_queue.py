"""A project's queue at a stand-in for Label Studio that does what was recorded of the real one; the models are real."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from typer.testing import CliRunner

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.services import Services
from maskwright.errors import Cancelled, NotFound, Unreachable
from maskwright.learn.rounds.workshop import MACHINE
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region
from maskwright.settings import Settings
from maskwright.store.faults import StoreUnavailable
from maskwright.store.priorities import PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright_label_studio import refresh as refresh_module
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.commands import app
from maskwright_label_studio.machine import is_trusted
from maskwright_label_studio.modes import Modes, is_reviewed
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.pace import QUIET_S, Pace
from maskwright_label_studio.projects import MAX_PROJECTS, Project, ProjectMemory
from maskwright_label_studio.refresh import POLL_S, QueueRefresher, refresher
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.transports import ApiError

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"><Label value="{}"/>'
    "</BrushLabels></View>"
)
SERVER = "http://label-studio.test"
NUMBER, KEY = 7, "7.1795229145"
TASKS = 6


class Platform:
    """A transport with Label Studio's memory: tasks, predictions, annotations, one connection."""

    def __init__(self, images: dict[int, str]) -> None:
        self.project = {"id": NUMBER, "label_config": CONFIG.format("Cell"), "model_version": "assistant"}
        self.connection = {"id": 1, "url": "http://backend", "title": "assistant"}
        self.backend_version: Callable[[], str] = str
        self.images = images
        self.predictions: dict[int, dict[str, Any]] = {}
        self.annotations: dict[int, dict[str, Any]] = {}
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.sent: list[tuple[str, str]] = []
        self._numbers = itertools.count(100)

    def send(self, method: str, path: str, params: Any, payload: Any) -> Any:
        self.before(method, path)
        self.sent.append((method, path))
        number = int(found[1]) if (found := re.search(r"/(\d+)/(annotations/)?$", path)) else 0
        match method, path.replace(str(number), "N", 1) if number else path:
            case "GET", "/api/projects/N/":
                skipped = sum(a["was_cancelled"] for a in self.annotations.values())
                counts = {"task_number": len(self.images), "total_predictions_number": len(self.predictions)}
                counts |= {"skipped_annotations_number": skipped}
                return self.project | counts | {"total_annotations_number": len(self.annotations) - skipped}
            case "PATCH", "/api/projects/N/":
                self.project |= payload
                return self.project
            case "GET", "/api/ml/":
                return [self.connection | {"model_version": self.backend_version()}]
            case "PATCH", "/api/ml/1":
                assert payload["auth_method"] == "NONE"
                if self.project["model_version"] == self.connection["title"]:
                    self.project["model_version"] = payload["title"]
                self.connection["title"] = payload["title"]
                return self.connection
            case "GET", "/api/tasks":
                return {"tasks": self._tasks(orjson.loads(params["query"])["filters"]["items"], "fields" in params)}
            case "POST", "/api/predictions/":
                made = next(self._numbers)
                self.predictions[made] = {"id": made, **payload}
                return self.predictions[made]
            case "PATCH", "/api/predictions/N/":
                self.predictions[number] |= payload
                return self.predictions[number]
            case "POST", "/api/tasks/N/annotations/":
                return self.annotate(number, **payload)
        raise NotFound(f"{method} {path}")

    def fetch(self, path: str, params: Any) -> bytes:
        raise NotFound(path)

    def annotate(self, task: int, **fields: Any) -> dict[str, Any]:
        made = next(self._numbers)
        self.annotations[made] = {"id": made, "task": task, "was_cancelled": False, "parent_prediction": None, **fields}
        return self.annotations[made]

    def of(self, version: str) -> list[dict[str, Any]]:
        """Predictions of a version in the order in which they were stored."""
        return [p for p in self.predictions.values() if p["model_version"] == version]

    def _tasks(self, conditions: list[dict[str, Any]], whole: bool) -> list[dict[str, Any]]:
        return [found for n in sorted(self.images) if _fits(found := self._task(n), conditions, whole)]

    def _task(self, number: int) -> dict[str, Any]:
        left = [a for a in self.annotations.values() if a["task"] == number]
        skipped = sum(a["was_cancelled"] for a in left)
        return {
            "id": number,
            "data": {"image": self.images[number]},
            "annotations": left,
            "total_annotations": len(left) - skipped,
            "cancelled_annotations": skipped,
            "predictions": [p for p in self.predictions.values() if p["task"] == number],
            "draft_exists": False,
        }


def _fits(task: dict[str, Any], conditions: list[dict[str, Any]], whole: bool) -> bool:
    for condition in conditions:
        column, wanted = condition["filter"].rpartition(":")[2], condition["value"]
        if column == "predictions_model_versions":
            if any(p["model_version"] in wanted for p in task["predictions"]):
                return False
        elif not {"greater": int.__gt__, "equal": int.__eq__}[condition["operator"]](task[column], wanted):
            return False
    if not whole:
        del task["annotations"], task["predictions"]
    return True


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Pictures with some disks each, as data URIs."""
    import base64

    found = {}
    for number in range(1, TASKS + 1):
        rng = np.random.default_rng(number)
        pixels = rng.integers(20, 20 + 10 * number, (48, 64, 3)).astype(np.uint8)
        for _ in range(number):
            centre = (int(rng.integers(8, 56)), int(rng.integers(8, 40)))
            cv2.circle(pixels, centre, 6, (200, 180, 40), -1)
        file = tmp_path_factory.mktemp("images") / "image.png"
        PillowImage.fromarray(pixels).save(file)
        found[number] = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    return found


@pytest.fixture
def platform(images: dict[int, str]) -> Platform:
    return Platform(dict(images))


class Room:
    """A process that refreshes queues, as often as a test starts it anew."""

    def __init__(self, home: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(_env_file=None, home=home, model="classical")
        self.platform = platform
        self.services = Services(self.settings, Assistant(self.settings), BackgroundJobs(), lambda *observed: None)
        ProjectMemory(home / "label-studio" / "projects.json").remember(Project(KEY, hostname=SERVER))
        monkeypatch.setattr(Access, "client", lambda *of: LabelStudioClient(platform))
        self.id = self.services.store().project("label-studio", SERVER, NUMBER).id
        self.database = self.services.store().database
        self.notes = ProjectNotes(self.database)
        self.project = Project(KEY, hostname=SERVER)
        self.restart()

    def restart(self) -> None:
        self.refresher: QueueRefresher = refresher(self.services)
        self.platform.backend_version = lambda: self.version

    @property
    def version(self) -> str:
        from maskwright_label_studio.config import parse_config

        labels = parse_config(self.platform.project["label_config"]).labels_on()
        return self.services.assistant.model_version(labels)

    def refresh(self) -> Any:
        """A pass, however short ago the last one was."""
        self.refresher._rests.clear()
        return self.refresher.refresh(self.project)

    def learn(self, **settings: Any) -> None:
        self.notes.put(self.id, "learning", {"acquisition": "entropy", **settings})

    def trust(self) -> None:
        """Let the last verdict be one that promoted what is served."""
        rounds = RoundStore(self.database)
        rounds.queue(self.id, trigger="test", base="classical", config={})
        claimed = rounds.claim("test", 60)
        rounds.advance(claimed.id, "test", RoundState.TRAINING, served_before=None)
        rounds.advance(claimed.id, "test", RoundState.EVALUATING)
        rounds.promote(claimed.id, "test", reason="test", verdict={"outcome": "promote"}, metrics={})


@pytest.fixture
def room(tmp_path: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    made = Room(tmp_path, platform, monkeypatch)
    made.learn()
    yield made
    made.services.assistant.close()
    made.services.store.close()


def test_predictions_come_in_the_order_in_which_tasks_are_to_be_labelled(room: Room, platform: Platform) -> None:
    report = room.refresh()
    stored = platform.of(room.version)
    assert [p["score"] for p in stored] == [place / (TASKS - 1) for place in range(TASKS)]
    assert {p["task"] for p in stored} == set(platform.images)
    assert all(p["result"] for p in stored)
    doubts = {row.task_number: row.signals["entropy"] for row in PriorityStore(room.database).list(room.id)}
    assert [p["task"] for p in stored] == sorted(doubts, key=doubts.__getitem__, reverse=True)
    assert (report.waiting, report.measured, report.stored, report.follows) == (TASKS, TASKS, TASKS, True)


def test_a_live_project_stays_live_under_the_new_version(room: Room, platform: Platform) -> None:
    room.refresh()
    assert platform.project["model_version"] == platform.connection["title"] == room.version


def test_a_project_that_shows_an_earlier_version_of_the_model_is_moved(room: Room, platform: Platform) -> None:
    platform.project["model_version"] = "classical-0123abcd"
    room.refresh()
    assert platform.project["model_version"] == room.version
    assert platform.connection["title"] == "assistant"


@pytest.mark.parametrize("shown", ["of-somebody-else", ""])
def test_what_a_person_chose_to_be_shown_stands(room: Room, platform: Platform, shown: str | None) -> None:
    platform.project["model_version"] = shown
    assert not room.refresh().follows
    assert platform.project["model_version"] == shown
    assert len(platform.of(room.version)) == TASKS


def test_the_project_is_moved_only_once_predictions_are_stored(room: Room, platform: Platform) -> None:
    def look(method: str, path: str) -> None:
        if method == "PATCH" and path == "/api/ml/1":
            assert platform.of(room.version)

    platform.before = look
    room.refresh()
    assert ("PATCH", "/api/ml/1") in platform.sent


def test_nothing_is_done_twice(room: Room, platform: Platform) -> None:
    room.refresh()
    assert room.refresh() is None
    room.restart()
    platform.sent.clear()
    report = room.refresh()
    assert (report.measured, report.stored, report.rescored) == (0, 0, 0)
    assert all(method == "GET" for method, _ in platform.sent)


@pytest.mark.parametrize("survived", [0, 3, 6])
def test_a_pass_that_was_cut_short_goes_on_where_it_was(room: Room, platform: Platform, survived: int) -> None:
    calls = itertools.count()

    def fail(method: str, path: str) -> None:
        if method != "GET" and next(calls) == survived:
            raise Unreachable("gone")

    platform.before = fail
    with pytest.raises(Unreachable):
        room.refresh()
    platform.before = lambda method, path: None
    before = len(platform.of(room.version))
    room.restart()
    assert room.refresh().measured <= TASKS - before + 1, "only an answer that got lost is asked for again"
    stored = platform.of(room.version)
    assert sorted(p["task"] for p in stored) == sorted(platform.images)
    assert sorted(p["score"] for p in stored) == [place / (TASKS - 1) for place in range(TASKS)]
    assert platform.project["model_version"] == room.version


def test_annotated_and_skipped_tasks_get_no_prediction_even_while_it_is_made(room: Room, platform: Platform) -> None:
    platform.annotate(1)
    platform.annotate(2, was_cancelled=True)

    def meanwhile(method: str, path: str) -> None:
        if method == "POST" and not any(a["task"] == 3 for a in platform.annotations.values()):
            platform.annotate(3)

    platform.before = meanwhile
    room.refresh()
    assert {p["task"] for p in platform.of(room.version)} - {3} == {4, 5, 6}
    platform.before = lambda method, path: None
    room.refresh()
    queue = [row.task_number for row in PriorityStore(room.database).list(room.id)]
    assert sorted(queue) == [4, 5, 6], "what is labelled waits no longer"


def test_a_new_version_replaces_the_order_and_keeps_old_predictions(room: Room, platform: Platform) -> None:
    room.refresh()
    old, before = room.version, {p["id"]: dict(p) for p in platform.predictions.values()}
    platform.project["label_config"] = CONFIG.format("Nucleus")
    room.refresh()
    assert room.version != old
    assert {number: platform.predictions[number] for number in before} == before
    assert [p["score"] for p in platform.of(room.version)] == [place / (TASKS - 1) for place in range(TASKS)]
    assert platform.project["model_version"] == room.version


def test_a_task_that_was_predicted_as_it_was_opened_gets_its_place_afterwards(room: Room, platform: Platform) -> None:
    room.refresh()
    platform.images[7] = platform.images[1]
    platform.send(
        "POST", "/api/predictions/", {}, {"task": 7, "model_version": room.version, "score": 2.0, "result": []}
    )
    report = room.refresh()
    (late,) = [p for p in platform.of(room.version) if p["task"] == 7]
    assert 0 <= late["score"] <= 1
    assert report.measured == 1
    assert late["result"] == [], "only its place was wanting"


def test_predictions_that_a_person_deleted_come_back(room: Room, platform: Platform) -> None:
    room.refresh()
    platform.predictions.clear()
    room.refresh()
    assert {p["task"] for p in platform.of(room.version)} == set(platform.images)


def test_labelling_changes_the_order_without_measuring_anything_again(room: Room, platform: Platform) -> None:
    room.learn(acquisition="core-set")
    room.refresh()
    first = min(platform.of(room.version), key=lambda p: p["score"])["task"]
    platform.annotate(first)
    report = room.refresh()
    assert report.measured == 0
    left = [p for p in platform.of(room.version) if p["task"] != first]
    assert sorted(p["score"] for p in left) == [place / (TASKS - 2) for place in range(TASKS - 1)]


def test_an_image_that_cannot_be_had_costs_only_its_own_place(room: Room, platform: Platform) -> None:
    platform.images[2] = "data:image/png;base64,AAAA"
    report = room.refresh()
    assert report.failed == 1
    assert {p["task"] for p in platform.of(room.version)} == set(platform.images) - {2}


def test_an_image_that_cannot_be_had_is_not_asked_for_in_every_pass(room: Room, platform: Platform) -> None:
    whole, platform.images[2] = platform.images[2], "data:image/png;base64,AAAA"
    room.refresh()
    platform.annotate(1)
    assert room.refresh().failed == 0
    platform.images[2] = whole
    platform.annotate(3)
    room.restart()
    assert room.refresh().measured == 1, "another process tries again"


def test_semi_automatic_mode_shows_only_regions_beyond_doubt(room: Room, platform: Platform) -> None:
    room.refresh()
    everything = {p["task"]: p["result"] for p in platform.of(room.version)}
    scores = sorted(item["score"] for result in everything.values() for item in result)
    threshold = scores[len(scores) // 2]
    room.learn(mode="semi-automatic", accept_threshold=threshold)
    room.restart()
    room.refresh()
    shown = {p["task"]: p["result"] for p in platform.of(room.version)}
    assert {task: len(result) for task, result in shown.items()} == {
        task: sum(item["score"] >= threshold for item in result) for task, result in everything.items()
    }
    room.learn()
    room.restart()
    room.refresh()
    back = {p["task"]: len(p["result"]) for p in platform.of(room.version)}
    assert back == {task: len(result) for task, result in everything.items()}


class Words:
    """Stands between the assistant and its answers: without words, half of each is missing and marked so."""

    def __init__(self, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
        self.silent, self.asked, whole = True, 0, room.services.assistant.preannotate

        def preannotate(*about: Any, **more: Any) -> Any:
            self.asked += 1
            found = whole(*about, **more)
            return replace(found, regions=found.regions[:1], is_degraded=True) if self.silent else found

        monkeypatch.setattr(room.services.assistant, "preannotate", preannotate)


def test_predictions_without_the_language_model_are_shown_and_made_again_once_it_answers(
    room: Room, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskwright_label_studio.queue_rows.DEGRADED_REST_S", 0.0)
    words = Words(room, monkeypatch)
    room.refresh()
    before = {p["task"]: p["result"] for p in platform.of(room.version)}
    assert set(before) == set(platform.images)
    room.refresh()
    assert words.asked == 2 * TASKS
    words.silent = False
    room.restart()
    room.refresh()
    after = {p["task"]: p["result"] for p in platform.of(room.version)}
    assert len(platform.predictions) == TASKS, "made again in place"
    assert sum(map(len, after.values())) > sum(map(len, before.values()))
    room.refresh()
    assert words.asked == 3 * TASKS, "and then they are whole"


def test_a_language_model_that_is_down_for_long_is_tried_ever_less(
    room: Room, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, now = Words(room, monkeypatch), [1e9]
    monkeypatch.setattr("maskwright_label_studio.queue_rows.time.time", lambda: now[0])
    tried = []
    for minute in range(0, 80, 5):
        now[0] = 1e9 + 60 * minute
        before = words.asked
        room.refresh()
        if words.asked > before:
            tried.append(minute)
    assert tried == [0, 10, 30, 70]


def test_the_machine_leaves_tasks_without_the_language_model_to_people(
    room: Room, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    Words(room, monkeypatch)
    room.trust()
    room.learn(mode="automatic", accept_threshold=0.0, review_share=0.0)
    room.refresh()
    assert platform.of(room.version)
    assert not platform.annotations


def test_strangers_names_of_projects_cost_no_memory(room: Room) -> None:
    modes = Modes(room.services.store, Servers(room.settings, Access(room.settings), ProjectMemory()))
    for number in range(MAX_PROJECTS + 50):
        modes.shown(Project(f"nobody's-{number}"))
    assert len(modes._known) == MAX_PROJECTS


def test_a_task_that_is_opened_shows_what_the_mode_shows(room: Room) -> None:
    def shown(score: float) -> bool:
        servers = Servers(room.settings, Access(room.settings), ProjectMemory())
        region = Region(Mask.full((4, 4)), "Cell", score, Provenance("preannotation"))
        return Modes(room.services.store, servers).shown(room.project)(region)

    room.learn(accept_threshold=0.7)
    assert shown(0.1)
    room.learn(mode="semi-automatic", accept_threshold=0.7)
    assert not shown(0.69)
    assert shown(0.71)
    room.notes.put(room.id, "calibration", {"predicted": [0.0, 1.0], "expected": [0.0, 0.5]})
    assert not shown(1.0), "corrections taught that such confidence means half of it"


def test_the_command_shows_the_queue_and_can_make_it(
    room: Room, platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("MASKWRIGHT_MODEL", "classical")
    runner = CliRunner()
    empty = runner.invoke(app, ["queue", "--project", str(NUMBER)])
    assert "nothing is ordered yet" in empty.output
    made = runner.invoke(app, ["queue", "--project", str(NUMBER), "--refresh", "--json"])
    assert made.exit_code == 0, made.output
    listed = orjson.loads(made.stdout)["tasks"]
    assert [one["task"] for one in listed] == [p["task"] for p in platform.of(room.version)]
    assert [one["place"] for one in listed] == list(range(1, TASKS + 1))
    assert all(one["signals"] and one["model_version"] == room.version for one in listed)
    shown = runner.invoke(app, ["queue", "--project", str(NUMBER), "--limit", "2"])
    assert [line.split()[2] for line in shown.stdout.splitlines()] == [str(one["task"]) for one in listed[:2]]
    unknown = runner.invoke(app, ["queue", "--project", "99"])
    assert isinstance(unknown.exception, NotFound)


def automatic(room: Room) -> set[int]:
    """Let the room annotate all but the sample by itself; the tasks outside it."""
    room.learn(mode="automatic", accept_threshold=0.0, review_share=0.5)
    room.trust()
    return {task for task in room.platform.images if not is_reviewed(KEY, task, 0.5)}


def test_automatic_mode_annotates_all_but_the_sample(room: Room, platform: Platform) -> None:
    alone = automatic(room)
    room.refresh()
    assert 0 < len(alone) < TASKS
    assert {a["task"] for a in platform.annotations.values()} == alone
    assert room.notes.get(room.id, MACHINE) == {str(a["task"]): a["id"] for a in platform.annotations.values()}
    for annotation in platform.annotations.values():
        prediction = platform.predictions[annotation["parent_prediction"]]
        assert len(annotation["result"]) == len(prediction["result"])
        assert not any("score" in item for item in annotation["result"])
    room.refresh()
    assert len(platform.annotations) == len(alone)


def test_no_task_is_annotated_before_a_round_was_promoted(room: Room, platform: Platform) -> None:
    room.learn(mode="automatic", accept_threshold=0.0, review_share=0.0)
    room.refresh()
    assert not platform.annotations
    assert not is_trusted(room.database, room.id, "classical")


def test_trust_ends_with_a_rollback(room: Room) -> None:
    room.trust()
    assert is_trusted(room.database, room.id, "classical")
    ServedRegister(room.database).put(room.id, "classical", None, None, round_number=None, reason="rolled back")
    assert not is_trusted(room.database, room.id, "classical")


def test_trust_is_in_what_was_promoted_and_not_in_what_an_owner_named(room: Room) -> None:
    room.trust()
    assert not is_trusted(room.database, room.id, "classical+adapter:" + "a" * 32)


@pytest.mark.parametrize("change", ["mode", "share", "rollback"])
def test_the_machine_annotates_no_further_task_once_it_may_not(room: Room, platform: Platform, change: str) -> None:
    def forbid(method: str, path: str) -> None:
        if method != "POST" or not path.endswith("/annotations/"):
            return
        if change == "rollback":
            ServedRegister(room.database).put(room.id, "classical", None, None, round_number=None, reason="rolled back")
        else:
            room.learn(mode="assisted" if change == "mode" else "automatic", accept_threshold=0.0, review_share=1.0)

    room.learn(mode="automatic", accept_threshold=0.0, review_share=0.0)
    room.trust()
    platform.before = forbid
    room.refresh()
    assert len(platform.annotations) == 1, "the one that was under way"
    room.refresh()
    assert len(platform.annotations) == 1


def test_doubtful_tasks_are_left_to_people(room: Room, platform: Platform) -> None:
    room.learn(mode="automatic", accept_threshold=1.0, review_share=0.0)
    room.trust()
    room.refresh()
    assert not platform.annotations


def test_a_crash_never_leads_to_a_second_annotation(room: Room, platform: Platform) -> None:
    alone = automatic(room)
    calls = itertools.count()

    def fail(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/annotations/") and next(calls) == 0:
            platform.annotate(int(path.split("/")[3]), parent_prediction=1, lead_time=0, result=[])
            raise Unreachable("the answer got lost")

    platform.before = fail
    with pytest.raises(Unreachable):
        room.refresh()
    assert list(room.notes.get(room.id, MACHINE).values()) == [None]
    platform.before = lambda method, path: None
    room.restart()
    room.refresh()
    assert sorted(a["task"] for a in platform.annotations.values()) == sorted(alone)
    assert all(room.notes.get(room.id, MACHINE).values())


def test_what_a_person_deleted_after_a_crash_is_not_annotated_again(room: Room, platform: Platform) -> None:
    def crash(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/annotations/"):
            raise Unreachable("the answer got lost")

    alone = automatic(room)
    platform.before = crash
    with pytest.raises(Unreachable):
        room.refresh()
    (left,) = room.notes.get(room.id, MACHINE)
    platform.before = lambda method, path: None
    room.restart()
    room.refresh()
    assert {a["task"] for a in platform.annotations.values()} == alone - {int(left)}
    del platform.images[int(left)]
    room.refresh()
    assert left not in room.notes.get(room.id, MACHINE), "a task that is gone is forgotten"


def test_an_annotation_that_is_refused_costs_the_others_nothing(room: Room, platform: Platform) -> None:
    calls = itertools.count()

    def refuse(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/annotations/") and next(calls) == 0:
            raise ApiError("refused", 400, "")

    alone = automatic(room)
    platform.before = refuse
    room.refresh()
    assert len(platform.annotations) == len(alone) - 1
    room.refresh()
    assert len(platform.annotations) == len(alone) - 1, "it is left to people"


@pytest.mark.parametrize("status", [403, 502])
def test_a_server_that_refuses_everything_ends_the_pass(room: Room, platform: Platform, status: int) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/annotations/"):
            raise ApiError("refused", status, "")

    automatic(room)
    platform.before = refuse
    with pytest.raises(ApiError):
        room.refresh()
    noted = room.notes.get(room.id, MACHINE)
    assert list(noted.values()) == ([None] if status >= 500 else []), "only what may have been made is left to people"


def test_what_a_person_deleted_is_not_annotated_again(room: Room, platform: Platform) -> None:
    automatic(room)
    room.refresh()
    platform.annotations.clear()
    room.restart()
    room.refresh()
    assert not platform.annotations


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_the_thread_notices_by_itself_that_a_version_is_served_and_stops(room: Room, platform: Platform) -> None:
    room.refresher.start()
    time.sleep(1.5)
    assert not platform.sent, "a project that never learnt is left alone"
    room.trust()
    until(lambda: room.refresher.state()["passes"] == 1)
    assert len(platform.of(room.version)) == TASKS
    room.refresher.stop()
    assert not room.refresher.state()["running"]


def test_a_server_that_is_not_there_is_asked_less_and_less(room: Room, platform: Platform) -> None:
    def gone(method: str, path: str) -> None:
        raise Unreachable("not there")

    platform.before = gone
    room.trust()
    room.refresher.start()
    until(lambda: room.refresher.state()["failing"])
    platform.before = lambda method, path: None
    until(lambda: room.refresher.state()["passes"] == 1)
    room.refresher.stop()


def test_work_for_a_version_ends_when_another_one_is_served(room: Room, platform: Platform) -> None:
    def serve_other(method: str, path: str) -> None:
        if method == "POST":
            time.sleep(POLL_S)
            serves.append(replace(room.project, options=ProjectOptions(model="embedded")))

    serves = [room.project]
    room.refresher._door.served = lambda project: serves[-1]  # type: ignore[method-assign]
    platform.before = serve_other
    with pytest.raises(Cancelled):
        room.refresh()
    assert 1 <= len(platform.predictions) < TASKS


def during_the_first_prediction(platform: Platform, work: Callable[[], object]) -> None:
    def once(method: str, path: str) -> None:
        if method == "POST" and not platform.predictions:
            time.sleep(POLL_S)
            work()

    platform.before = once


def test_work_ends_when_the_owner_changes_the_projects_options(room: Room, platform: Platform) -> None:
    changed = replace(room.project, options=ProjectOptions(preannotate=False))
    during_the_first_prediction(platform, lambda: room.refresher._projects.remember(changed))
    with pytest.raises(Cancelled):
        room.refresh()
    assert len(platform.predictions) < TASKS


def test_a_large_project_makes_way_for_one_that_serves_something_new(room: Room, platform: Platform) -> None:
    other = room.services.store().project("label-studio", SERVER, NUMBER + 1).id
    promote = partial(ServedRegister(room.database).put, other, "classical", None, None, round_number=1, reason="test")
    during_the_first_prediction(platform, promote)
    room.trust()
    began: list[int] = []
    refresh = room.refresher.refresh
    room.refresher.refresh = lambda project: began.append(project.id) or refresh(project)  # type: ignore[method-assign]
    room.refresher._projects.remember(Project(f"{NUMBER + 1}.1", hostname=SERVER))
    room.refresher._projects.remember(room.project)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            LabelStudioClient,
            "project",
            lambda self, number: platform.send("GET", f"/api/projects/{NUMBER}/", {}, None),
        )
        room.refresher._turn()
        room.refresher._turn()
    assert began[0] == NUMBER
    assert began[1] == NUMBER + 1


def test_a_store_that_is_gone_is_asked_less_and_less(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        calls.append(0)
        raise StoreUnavailable("the disk is gone")

    calls: list[int] = []
    monkeypatch.setattr(refresh_module, "POLL_S", 0.01)
    monkeypatch.setattr(room.refresher, "_turn", gone)
    room.refresher.start()
    until(lambda: calls)
    time.sleep(0.5)
    room.refresher.stop()
    assert len(calls) < 10


def test_background_work_rests_while_people_click_and_ends_at_once_when_told() -> None:
    began = time.monotonic()
    Pace(last_click=lambda: began).check()
    assert time.monotonic() - began >= QUIET_S
    Pace().check()
    with pytest.raises(Cancelled):
        Pace(lambda: True, lambda: float("inf")).check()


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_sample_holds_every_smaller_one(task: int, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    assert is_reviewed(KEY, task, larger) >= is_reviewed(KEY, task, smaller)
    assert is_reviewed(KEY, task, 1.0)
    assert not is_reviewed(KEY, task, 0.0)


def test_the_sample_has_the_size_that_was_asked_for() -> None:
    assert sum(is_reviewed(KEY, task, 0.1) for task in range(10_000)) == pytest.approx(1000, rel=0.1)
