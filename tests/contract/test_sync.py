"""The corrections store beside a Label Studio that answers as recorded: after a comparison both hold the same."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import Cancelled, NotFound, Unreachable
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, Event, Stored, TaskState, open_store
from maskwright.store.purge import purge_image
from maskwright_label_studio.client import ApiError, ForeignNotFound, LabelStudioClient
from maskwright_label_studio.keeper import CorrectionsKeeper
from maskwright_label_studio.live_tasks import live_tasks
from maskwright_label_studio.projects import Project, ProjectMemory
from maskwright_label_studio.reader import LabelStudioReader
from maskwright_label_studio.stored_tasks import Documents
from maskwright_label_studio.sync import ProjectMissing, synchronise
from maskwright_label_studio.sync_pages import PAGE_BYTES

SERVER = "https://labels.example.org"
NUMBER = 7


class Platform:
    """Label Studio's API as 1.23.2 was seen to answer, numbers of SQLite coming back included."""

    def __init__(self) -> None:
        self.project: dict[str, Any] | None = {"id": NUMBER, "title": "stars", "label_config": "<View/>"}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.drafts: dict[int, dict[int, dict[str, Any]]] = {}
        self.broken: set[int] = set()
        self.down = False
        self.pages: list[list[int]] = []
        self.page_bytes: list[int] = []
        self.years = 0
        self._moments = itertools.count(1)

    def now(self) -> str:
        return f"{2026 + self.years}-11-21T10:00:00.{next(self._moments):06d}Z"

    def add_task(self, number: int | None = None) -> int:
        number = number or max(self.tasks, default=0) + 1
        self.tasks[number] = {
            "id": number, "data": {"image": f"/data/{number}-{next(self._moments)}.png"}, "annotations": [],
            "predictions": [], "created_at": self.now(), "updated_at": self.now(), "project": NUMBER,
        }  # fmt: skip
        return number

    def annotate(self, task: int, result: Any = None, person: int = 1, **fields: Any) -> int:
        taken = [a["id"] for t in self.tasks.values() for a in t["annotations"]]
        moment = self.now()
        made = {
            "id": max(taken, default=0) + 1, "result": result if result is not None else [], "completed_by": person,
            "was_cancelled": False, "created_at": moment, "updated_at": moment, "lead_time": 2.5,
            "parent_prediction": None, "created_username": "x, 1", "task": task, **fields,
        }  # fmt: skip
        self.tasks[task]["annotations"].append(made)
        self.touch(task)
        return int(made["id"])

    def annotation(self, number: int) -> dict[str, Any]:
        return next(a for t in self.tasks.values() for a in t["annotations"] if a["id"] == number)

    def edit(self, number: int, **fields: Any) -> None:
        found = self.annotation(number)
        found |= {"updated_at": self.now(), **fields}
        self.touch(found["task"])

    def remove(self, number: int) -> None:
        task = self.annotation(number)["task"]
        self.tasks[task]["annotations"] = [a for a in self.tasks[task]["annotations"] if a["id"] != number]
        self.touch(task)

    def move(self, number: int, task: int) -> None:
        """As Label Studio's removal of duplicate tasks does it: the annotation keeps its time."""
        found = self.annotation(number)
        self.tasks[found["task"]]["annotations"].remove(found)
        self.touch(found["task"])
        found["task"] = task
        self.tasks[task]["annotations"].append(found)
        self.touch(task)

    def rename_label(self, number: int, name: str) -> None:
        """As Label Studio's bulk renaming of labels does it: likewise."""
        found = self.annotation(number)
        found["result"] = [{"id": "r", "value": {"brushlabels": [name]}}]
        self.touch(found["task"])

    def remove_task(self, task: int) -> None:
        del self.tasks[task]
        self.drafts.pop(task, None)

    def draft(self, task: int, person: int, result: Any = None, number: int | None = None) -> int:
        """Does not touch the task, as measured."""
        number = number or max((n for of in self.drafts.values() for n in of), default=0) + 1
        moment = self.now()
        self.drafts.setdefault(task, {})[number] = {
            "id": number, "user": f"p{person}@example.org", "created_username": f"p{person}@example.org, {person}",
            "result": result or [], "created_at": moment, "updated_at": moment, "task": task, "annotation": None,
        }  # fmt: skip
        return number

    def touch(self, task: int) -> None:
        self.tasks[task]["updated_at"] = self.now()

    def client(self) -> LabelStudioClient:
        return LabelStudioClient(self)

    def refuse(self) -> bytes:
        raise Unreachable("Label Studio does not answer")

    def send(self, method: str, path: str, params: Mapping[str, Any], payload: Any) -> Any:
        assert method == "GET"
        return orjson.loads(self.fetch(path, params))

    def fetch(self, path: str, params: Mapping[str, Any]) -> bytes:
        if self.down:
            self.refuse()
        if path == "/api/version":
            return b'{"release": "1.23.2"}'
        if path == f"/api/projects/{NUMBER}/" and self.project is not None:
            return orjson.dumps(self.project | {"task_number": len(self.tasks)})
        if path.startswith("/api/tasks/") and path.endswith("/drafts"):
            drafts = self.drafts.get(int(path.split("/")[3]), {})
            return orjson.dumps(
                [draft | {"created_ago": f"{next(self._moments)} minutes"} for draft in drafts.values()]
            )
        if path == "/api/projects/":
            return orjson.dumps({"results": [] if self.project is None else [self.project]})
        if path == "/api/tasks" and self.project is not None:
            return orjson.dumps(self._page(params))
        raise NotFound(f"Label Studio has no {path}")

    def _page(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found = sorted(self.tasks)
        for item in orjson.loads(params["query"])["filters"]["items"]:
            kind = item["filter"].removeprefix("filter:tasks:"), item["operator"]
            found = [number for number in found if self._fits(number, kind, item["value"])]
        found = found[: params["page_size"]]
        if params.get("fields") != "all":
            return {"tasks": [self._mark(n) | {"id": n} for n in found]}
        if self.broken & set(found):
            raise ApiError("Label Studio answered GET /api/tasks with 500", 500, "")
        self.pages.append(found)
        page = {"tasks": [self._whole(n) for n in found]}
        self.page_bytes.append(len(orjson.dumps(page)))
        return page

    def _fits(self, number: int, kind: tuple[str, str], value: Any) -> bool:
        if kind == ("id", "greater"):
            return bool(number > value)
        if kind == ("id", "in_list"):
            return number in value
        assert kind == ("draft_exists", "equal")
        return bool(self.drafts.get(number)) is value

    def _mark(self, number: int) -> dict[str, Any]:
        cut = sum(a["was_cancelled"] for a in self.tasks[number]["annotations"])
        count = len(self.tasks[number]["annotations"]) - cut
        moment = self.tasks[number]["updated_at"]
        made = self.tasks[number]["created_at"]
        return {
            "created_at": made, "updated_at": moment, "total_annotations": count, "cancelled_annotations": cut
        }  # fmt: skip

    def _whole(self, number: int) -> dict[str, Any]:
        ago = {"created_ago": f"{next(self._moments)} minutes"}
        annotations = [a | ago for a in self.tasks[number]["annotations"]]
        shown = {"annotations": annotations, "drafts": [], "draft_exists": bool(self.drafts.get(number))}
        return self.tasks[number] | self._mark(number) | shown

    def everything(self) -> dict[tuple[bool, int], tuple[int, Any]]:
        shown = {
            (False, a["id"]): (n, {k: v for k, v in a.items() if k != "created_username"})
            for n, task in self.tasks.items() for a in task["annotations"]
        }  # fmt: skip
        return shown | {(True, k): (n, d) for n in self.tasks for k, d in self.drafts.get(n, {}).items()}


def everything(store: CorrectionsStore) -> dict[tuple[bool, int], tuple[int, Any]]:
    row = store.find_project("label-studio", SERVER, NUMBER)
    assert row is not None
    return {
        (head.stored.kind == "draft", head.stored.number): (head.task_number, orjson.loads(head.stored.document))
        for head in store.heads(row.id)
    }


def sync(platform: Platform, store: CorrectionsStore, **how: Any) -> Any:
    return synchronise(platform.client(), store, NUMBER, server=SERVER, **how)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def platform() -> Platform:
    made = Platform()
    for _ in range(25):
        made.annotate(made.add_task())
    return made


def test_the_first_comparison_fetches_everything_and_the_next_one_nothing(platform, store):
    report = sync(platform, store)
    assert (report.new, report.changed, report.deleted, report.tasks) == (25, 0, 0, 25)
    assert everything(store) == platform.everything()
    platform.pages.clear()
    report = sync(platform, store)
    assert (report.new, report.unchanged) == (0, 25)
    assert platform.pages == []


def test_only_tasks_that_changed_are_read_again(platform, store):
    sync(platform, store)
    platform.pages.clear()
    platform.edit(3, result=[{"id": "r"}])
    platform.annotate(9, person=2)
    platform.remove(5)
    report = sync(platform, store)
    assert (report.new, report.changed, report.deleted) == (1, 1, 1)
    assert sorted(itertools.chain(*platform.pages)) == [3, 5, 9]
    assert everything(store) == platform.everything()


def test_asked_for_a_full_comparison_every_task_is_read_again(platform, store):
    sync(platform, store)
    platform.pages.clear()
    assert sync(platform, store, full=True).unchanged == 25
    assert sorted(itertools.chain(*platform.pages)) == sorted(platform.tasks)


def test_what_is_deleted_on_the_platform_is_kept_as_deleted_and_may_come_back(platform, store):
    sync(platform, store)
    row = store.find_project("label-studio", SERVER, NUMBER)
    kept = platform.tasks.pop(4)
    report = sync(platform, store)
    assert report.deleted == 1
    assert everything(store) == platform.everything()
    assert len(store.history(row.id, 4)) == 1
    platform.tasks[4] = kept
    sync(platform, store)
    assert everything(store) == platform.everything()


def test_numbers_that_the_platform_gives_out_again_are_told_apart(platform, store):
    sync(platform, store)
    platform.tasks.pop(25)
    platform.annotate(platform.add_task())
    platform.remove(25)
    assert platform.annotate(1) == 25, "the number of a deleted annotation, in another task"
    sync(platform, store)
    assert everything(store) == platform.everything()
    row = store.find_project("label-studio", SERVER, NUMBER)
    assert [kept.created_at < kept.updated_at for kept in store.history(row.id, 25)] == [False, False]


def test_a_task_that_got_the_number_of_an_erased_one_is_kept_and_the_erased_one_is_not(platform, store):
    sync(platform, store)
    image = platform.tasks[25]["data"]["image"]
    purge_image(store.database, image)
    sync(platform, store)
    expected = platform.everything()
    del expected[False, 25]
    assert everything(store) == expected
    platform.remove_task(25)
    sync(platform, store)
    platform.years = 1  # the purge was made at the present time of this machine
    platform.annotate(platform.add_task())
    assert max(platform.tasks) == 25
    sync(platform, store)
    assert everything(store) == platform.everything()


def test_predictions_under_numbers_given_out_again_are_those_of_their_task(platform, store):
    platform.tasks[25]["predictions"] = [{"id": 90, "model_version": "a", "result": [{"id": "old"}]}]
    sync(platform, store)
    platform.remove_task(25)
    platform.add_task()
    sync(platform, store)
    row = store.find_project("label-studio", SERVER, NUMBER)
    (document,) = store.task_documents(row.id, [25])
    assert orjson.loads(document)["predictions"] == [], "of the task that had the number before"
    platform.tasks[25]["predictions"] = [{"id": 90, "model_version": "b", "result": [{"id": "new"}]}]
    platform.touch(25)
    sync(platform, store)
    (document,) = store.task_documents(row.id, [25])
    assert [one["result"] for one in orjson.loads(document)["predictions"]] == [[{"id": "new"}]]


def test_many_tasks_are_buried_with_one_write_and_can_be_interrupted(platform, store, monkeypatch):
    sync(platform, store)
    writes = []
    original = store.database.write
    monkeypatch.setattr(store.database, "write", lambda work, **how: (writes.append(1), original(work, **how))[1])
    for number in range(1, 21):
        platform.remove_task(number)
    asked = []
    with pytest.raises(Cancelled):
        sync(platform, store, cancelled=lambda: bool(asked.append(1)) or len(asked) > 2)
    assert len(asked) == 3, "also before pages of a listing"
    assert sync(platform, store).deleted == 20
    assert len(writes) <= 5
    assert everything(store) == platform.everything()


def test_drafts_of_everyone_are_kept_and_followed_although_they_leave_no_trace_on_the_task(platform, store):
    first, second = platform.draft(2, person=1), platform.draft(2, person=2)
    report = sync(platform, store)
    assert report.drafts == 2
    row = store.find_project("label-studio", SERVER, NUMBER)
    people = {h.stored.number: h.stored.person for h in store.heads(row.id, kinds=["draft"])}
    assert people == {first: "1", second: "2"}, "the number, as annotations name them"
    platform.draft(2, person=2, result=[{"id": "more"}], number=second)
    del platform.drafts[2][first]
    sync(platform, store)
    assert everything(store) == platform.everything()
    platform.drafts.clear()
    sync(platform, store)
    assert everything(store) == platform.everything()


def test_skipped_tasks_and_several_annotators_are_told_apart(platform, store):
    platform.annotate(6, person=2)
    platform.annotate(6, person=3, was_cancelled=True)
    sync(platform, store)
    row = store.find_project("label-studio", SERVER, NUMBER)
    kinds = [(h.stored.person, h.stored.kind) for h in store.heads(row.id, tasks_only=[6])]
    assert kinds == [("1", "submitted"), ("2", "submitted"), ("3", "skipped")]


def test_what_had_been_proposed_is_kept_with_its_model_version(platform, store):
    platform.tasks[3]["predictions"] = [{"id": 90, "model_version": "embedded-1", "result": [{"id": "p"}]}]
    number = platform.annotate(3, parent_prediction=90)
    sync(platform, store)
    row = store.find_project("label-studio", SERVER, NUMBER)
    (head,) = (h for h in store.heads(row.id) if h.stored.number == number)
    assert (head.stored.proposal_number, head.stored.model_version) == (90, "embedded-1")
    (document,) = store.task_documents(row.id, [3])
    assert orjson.loads(document)["predictions"][0]["result"] == [{"id": "p"}]


def test_a_task_that_cannot_be_read_is_named_and_costs_the_others_nothing(platform, store):
    platform.broken = {11}
    report = sync(platform, store)
    assert [number for number, _ in report.failures] == [11]
    assert "500" in report.failures[0][1]
    assert report.new == 24
    assert store.find_project("label-studio", SERVER, NUMBER).needs_full_sync
    platform.broken = set()
    assert sync(platform, store).new == 1
    assert everything(store) == platform.everything()


@pytest.mark.parametrize("depth", [300, 500, 2000])
def test_a_task_that_is_nested_too_deeply_is_named_and_costs_the_others_nothing(platform, store, depth):
    original = platform.fetch
    deep = b"[" * depth + b"]" * depth
    platform.edit(11, result=["DEEP", {"value": {"rle": [1] * 40_000}}])
    platform.fetch = lambda path, params: original(path, params).replace(b'"DEEP"', deep)  # type: ignore[method-assign]
    report = sync(platform, store)
    assert [number for number, _ in report.failures] == [11]
    assert report.new == 24


def test_pages_of_large_masks_become_small(store):
    platform = Platform()
    large = [{"id": "r", "value": {"format": "rle", "rle": [200, 13] * 400_000}}]
    for _ in range(24):
        platform.annotate(platform.add_task(), result=large)
    sync(platform, store)
    assert len(platform.pages[0]) == 10
    assert max(platform.page_bytes[1:]) < 2 * PAGE_BYTES
    assert everything(store) == platform.everything()


def test_an_interrupted_comparison_goes_on_where_it_ended(platform, store):
    with pytest.raises(Cancelled):
        sync(platform, store, cancelled=lambda: len(platform.pages) == 1)
    assert len(everything(store)) == 10
    platform.pages.clear()
    report = sync(platform, store)
    assert (report.new, report.unchanged) == (15, 10)
    assert everything(store) == platform.everything()


def test_a_platform_that_does_not_answer_buries_nothing(platform, store):
    sync(platform, store)
    platform.down = True
    with pytest.raises(Unreachable):
        sync(platform, store)
    assert everything(store) == platform.everything()


def test_a_deleted_project_is_kept_as_deleted_and_an_unknown_one_is_said_to_be(platform, store):
    platform.project, project = None, platform.project
    with pytest.raises(NotFound, match="has no project 7"):
        sync(platform, store, bury_missing=True)
    platform.project = project
    sync(platform, store)
    platform.project = None
    report = sync(platform, store, bury_missing=True)
    assert report.gone
    assert report.deleted == 25
    assert everything(store) == {}
    platform.project = project
    sync(platform, store)
    assert everything(store) == platform.everything()


def test_a_project_that_is_missing_for_the_first_time_is_told_and_not_buried(platform, store, caplog):
    sync(platform, store)
    kept, platform.project = platform.everything(), None
    with pytest.raises(ProjectMissing, match=r"no project 7 any more.*25 tasks will be recorded as deleted"):
        sync(platform, store)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert everything(store) == kept


def test_a_404_of_whatever_stands_before_the_platform_buries_nothing(platform, store):
    sync(platform, store)
    original = platform.fetch
    for broken in ("project", "list", "version"):

        def fetch(path: str, params: Mapping[str, Any], broken: str = broken) -> bytes:
            if path == f"/api/projects/{NUMBER}/":
                raise (ForeignNotFound if broken == "project" else NotFound)("nothing here")
            if path == "/api/projects/":
                return b'{"results": "hello"}' if broken == "list" else b'{"results": []}'
            if path == "/api/version" and broken == "version":
                raise Unreachable("no JSON came")
            return original(path, params)

        platform.fetch = fetch  # type: ignore[method-assign]
        with pytest.raises(Unreachable):
            sync(platform, store, bury_missing=True)
        assert everything(store) == platform.everything()


def test_a_project_that_is_still_listed_is_not_missing(platform, store):
    sync(platform, store)
    original = platform.fetch

    def hidden(path: str, params: Mapping[str, Any]) -> bytes:
        if path == f"/api/projects/{NUMBER}/":
            raise NotFound("nothing here")
        return original(path, params)

    platform.fetch = hidden  # type: ignore[method-assign]
    with pytest.raises(Unreachable, match="project 7 cannot be read"):
        sync(platform, store, bury_missing=True)
    assert everything(store) == platform.everything()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_people_do_between_comparisons_the_store_follows(tmp_path_factory, seed):
    random_, platform = random.Random(seed), Platform()
    store = open_store(tmp_path_factory.mktemp("store"))
    for _ in range(5):
        platform.add_task()
    for _ in range(40):
        numbers = [a["id"] for task in platform.tasks.values() for a in task["annotations"]]
        tasks = sorted(platform.tasks)
        actions: list[Any] = [platform.add_task]
        if tasks:
            task = random_.choice(tasks)
            actions += [
                partial(platform.annotate, task, person=random_.randrange(3)),
                partial(platform.annotate, task, was_cancelled=True),
                partial(platform.draft, task, person=1),
                partial(platform.drafts.pop, task, None),
                partial(platform.remove_task, task),
                partial(sync, platform, store),
                partial(sync, platform, store, tasks={task}),
            ]
        if numbers:
            number = random_.choice(numbers)
            changed = [{"id": str(random_.random())}]
            actions += [
                partial(platform.edit, number, result=changed),
                partial(platform.remove, number),
                partial(platform.rename_label, number, random_.choice(["Star", "Moon"])),
                partial(platform.move, number, task),
            ]
        random_.choice(actions)()
    sync(platform, store)
    assert everything(store) == platform.everything()
    store.close()


numbers_or_lists = st.integers(0, 300) | st.lists(st.integers(0, 255), max_size=8)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**53) | st.text(max_size=5) | st.just('"rle": [1]'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "rle", "value", "é"]), inner | numbers_or_lists, max_size=3)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["rle", "x", "y", "zz"]), documents | numbers_or_lists), st.booleans())
def test_documents_are_stored_as_they_came_whatever_stands_under_rle(document, spaced):
    document = document | {"long": "x" * 40_000}  # only long bodies are cut
    text = json.dumps(document, separators=(", ", " : ") if spaced else (",", ":")).encode()
    documents_ = Documents(text, "the document")
    assert orjson.loads(documents_.text(documents_.top)) == document


class OneServer:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def client(self, _project: Project) -> LabelStudioClient | None:
        return self.platform.client()


@pytest.fixture
def make_keeper(platform, store, tmp_path):
    made = []

    def make(interval: float = 0.0, access: Any = None, url: str = SERVER + "/", **options: Any) -> CorrectionsKeeper:
        memory = ProjectMemory()
        memory.remember(Project(f"{NUMBER}.1795229145"))
        settings_ = Settings(_env_file=None, home=tmp_path, label_studio_url=url, sync_interval_s=interval)
        made.append(CorrectionsKeeper(settings_, lambda: store, access or OneServer(platform), memory, **options))
        made[-1].memory = memory  # type: ignore[attr-defined]
        return made[-1]

    yield make
    for keeper in made:
        keeper.stop()


def event(action: str = "ANNOTATION_UPDATED", project: int = NUMBER, **about: Any) -> Event:
    return Event("label-studio", SERVER, action, project, **about)


def test_the_learning_loop_is_told_of_a_comparison_that_finds_corrections_and_of_no_other(platform, make_keeper):
    told: list[tuple[str, int]] = []
    keeper = make_keeper(corrected=lambda server, number: told.append((server, number)))
    keeper.compare_all()
    assert told == [(SERVER, NUMBER)]
    keeper.compare_all()
    assert len(told) == 1
    platform.edit(8, result=[{"id": "r"}])
    keeper.compare_all()
    assert told == [(SERVER, NUMBER)] * 2


def test_events_are_looked_into_by_reading_just_what_they_name_and_then_forgotten(platform, store, make_keeper):
    keeper = make_keeper()
    sync(platform, store)
    platform.pages.clear()
    platform.edit(8, result=[{"id": "r"}])
    platform.remove(9)
    store.add_events([event(annotations=(8,), tasks=(8,)), event("ANNOTATIONS_DELETED", annotations=(9,))])
    assert keeper.look_into_events() == 2
    assert platform.pages == [[8, 9]], "the store knew the task of a deleted annotation"
    assert everything(store) == platform.everything()
    assert store.pending_events(10) == []


def test_a_task_that_an_event_calls_deleted_is_looked_for_first(platform, store, make_keeper):
    sync(platform, store)
    keeper = make_keeper()
    del platform.tasks[12]
    store.add_events([event("TASKS_DELETED", tasks=(12, 13))])
    keeper.look_into_events()
    assert everything(store) == platform.everything()


def test_strangers_cannot_make_the_server_copy_a_project_that_nobody_connected(platform, store, make_keeper):
    store.add_events([event(project=99, annotations=(1,), tasks=(1,))])
    make_keeper().look_into_events()
    assert store.pending_events(10) == []
    assert store.projects() == []
    assert platform.pages == []


def test_while_the_platform_is_down_events_wait(platform, store, make_keeper):
    keeper = make_keeper()
    store.add_events([event(annotations=(8,), tasks=(8,))])
    platform.down = True
    with pytest.raises(Unreachable):
        keeper.look_into_events()
    assert len(store.pending_events(10)) == 1
    platform.down = False
    assert keeper.look_into_events() == 1
    assert len(everything(store)) == 1


def test_the_thread_looks_into_events_and_compares_by_itself_and_stops(platform, store, make_keeper):
    keeper = make_keeper(interval=0.05)
    keeper.start()
    keeper.wake()
    end = time.monotonic() + 10
    while keeper.state()["comparisons"] < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert everything(store) == platform.everything()
    assert keeper.state()["running"]
    platform.down = True
    while not keeper.state()["failing"]:
        assert time.monotonic() < end
        time.sleep(0.01)
    keeper.stop()
    assert not keeper.state()["running"]


def test_while_the_platform_is_down_the_thread_asks_it_ever_less_often(platform, store, make_keeper):
    asked = []
    platform.fetch = lambda path, params: (asked.append(path), platform.refuse())[1]
    store.add_events([event(annotations=(8,), tasks=(8,))])
    keeper = make_keeper(interval=0.01)
    keeper.start()
    time.sleep(2.0)
    assert keeper.state()["failing"]
    assert len(asked) <= 2


def test_the_timer_can_be_switched_off(platform, store, make_keeper):
    keeper = make_keeper(interval=0.0)
    keeper.start()
    time.sleep(0.1)
    assert keeper.state()["comparisons"] == 0


class TwoProjects(OneServer):
    """Project 8 of the same server answers nothing but errors."""

    def client(self, project: Project) -> LabelStudioClient | None:
        if project.id == 8:
            broken = Platform()
            broken.down = True
            return broken.client()
        return self.platform.client()


def test_a_project_that_cannot_be_read_holds_up_no_other(platform, store, make_keeper):
    store.project("label-studio", SERVER, 8)
    store.add_events([event(project=8, tasks=(1,), authenticated=True)])
    keeper = make_keeper(interval=0.05, access=TwoProjects(platform))
    keeper.start()
    wait_until(lambda: keeper.state()["comparisons"] >= 1)
    assert keeper.state()["failing"]
    platform.edit(8, result=[{"id": "later"}])
    wait_until(lambda: everything(store) == platform.everything())
    platform.remove(8)
    store.add_events([event(annotations=(8,), tasks=(8,))])
    keeper.wake()
    wait_until(lambda: len(store.pending_events(10)) == 1, 4.0)
    assert store.pending_events(10)[0].event.project == 8
    assert everything(store) == platform.everything()


def test_a_list_of_tasks_that_is_not_found_is_a_fault_and_the_events_wait(platform, store, make_keeper):
    sync(platform, store)
    keeper, original = make_keeper(), platform.fetch

    def fetch(path: str, params: Mapping[str, Any]) -> bytes:
        if path == "/api/tasks":
            raise ForeignNotFound("what answers /api/tasks with 404 does not read like Label Studio")
        return original(path, params)

    platform.fetch = fetch  # type: ignore[method-assign]
    store.add_events([event(annotations=(8,), tasks=(8,))])
    with pytest.raises(ForeignNotFound):
        keeper.look_into_events()
    with pytest.raises(ForeignNotFound):
        keeper.compare_all()
    assert len(store.pending_events(10)) == 1
    assert everything(store) == platform.everything()


def wait_until(true: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_numbers_that_strangers_make_up_leave_nothing_in_the_store(platform, store, make_keeper):
    keeper = make_keeper()
    sync(platform, store)
    for start in range(10**6, 2 * 10**6, 10**5):
        store.add_events([event(tasks=tuple(range(start, start + 300)))])
        keeper.look_into_events()
    with store.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar() == 25
        assert connection.exec_driver_sql("SELECT count(*) FROM annotations").scalar() == 25
    assert store.pending_events(10) == []


def test_strangers_cannot_make_the_server_compare_all_the_time(platform, store, make_keeper):
    sync(platform, store)
    keeper = make_keeper()
    for number in range(4):
        store.add_events([event("ANNOTATIONS_DELETED", updated_at=f"2026-01-0{number + 1}T00:00:00Z")])
        keeper.look_into_events()
    assert keeper.state()["comparisons"] == 1
    assert store.pending_events(10) == []
    assert store.find_project("label-studio", SERVER, NUMBER).needs_full_sync, "it is owed"
    store.add_events([event("ANNOTATIONS_DELETED", authenticated=True)])
    keeper.look_into_events()
    assert keeper.state()["comparisons"] == 2, "who proved who it is is not held up"


def test_events_that_nobody_can_look_into_are_not_kept_for_ever(platform, store, make_keeper):
    class NoKey:
        def client(self, _project: Project) -> None:
            return None

    sync(platform, store)
    keeper = make_keeper(access=NoKey())
    store.add_events([event(annotations=(n,), tasks=(n,), authenticated=True) for n in range(1, 21)])
    assert keeper.look_into_events() == 20
    assert store.pending_events(100) == []
    assert store.find_project("label-studio", SERVER, NUMBER).needs_full_sync


def test_while_a_project_cannot_be_read_its_events_do_not_pile_up_without_end(
    platform, store, make_keeper, monkeypatch
):
    monkeypatch.setattr("maskwright_label_studio.keeper._EVENTS_AT_ONCE", 10)
    monkeypatch.setattr("maskwright_label_studio.keeper._EVENTS_KEPT", 50)
    sync(platform, store)
    keeper = make_keeper()
    platform.down = True
    store.add_events([event(annotations=(n,), tasks=(n,), authenticated=True) for n in range(1, 201)])
    with pytest.raises(Unreachable):
        keeper.look_into_events()
    assert len(store.pending_events(1000)) == 50
    assert store.find_project("label-studio", SERVER, NUMBER).needs_full_sync


def test_a_task_that_an_event_named_and_that_could_not_be_read_is_not_forgotten(platform, store, make_keeper):
    sync(platform, store)
    keeper = make_keeper()
    platform.edit(11, result=[{"id": "r"}])
    platform.broken = {11}
    store.add_events([event(annotations=(11,), tasks=(11,))])
    assert keeper.look_into_events() == 1
    assert store.find_project("label-studio", SERVER, NUMBER).needs_full_sync


def test_without_a_timer_a_comparison_that_is_owed_is_made_all_the_same(platform, store, make_keeper, monkeypatch):
    monkeypatch.setattr("maskwright_label_studio.keeper.OWED_EVERY_S", 0.05)
    sync(platform, store)
    platform.edit(3, result=[{"id": "r"}])
    keeper = make_keeper(interval=0.0)
    keeper.start()
    time.sleep(0.3)
    assert keeper.state()["comparisons"] == 0, "nothing is owed"
    store.request_full_sync(store.find_project("label-studio", SERVER, NUMBER).id)
    wait_until(lambda: keeper.state()["comparisons"] == 1)
    assert everything(store) == platform.everything()
    assert not store.find_project("label-studio", SERVER, NUMBER).needs_full_sync


def test_a_project_is_buried_when_it_was_found_missing_twice_with_minutes_between(
    platform, store, make_keeper, monkeypatch
):
    sync(platform, store)
    kept, platform.project = platform.everything(), None
    for _ in range(3):
        make_keeper().compare_all()
        assert everything(store) == kept, "minutes did not pass"
    monkeypatch.setattr("maskwright_label_studio.keeper.MISSING_APART_S", 0.0)
    make_keeper().compare_all()
    assert everything(store) == {}


def test_a_project_that_came_back_has_to_be_missing_twice_again(platform, store, make_keeper, monkeypatch):
    monkeypatch.setattr("maskwright_label_studio.keeper.MISSING_APART_S", 0.0)
    sync(platform, store)
    keeper, project = make_keeper(), platform.project
    for _ in range(2):
        platform.project = None
        keeper.compare_all()
        assert everything(store) == platform.everything()
        platform.project = project
        keeper.compare_all()


A, B = "https://a.example.org", "https://b.example.org"


def test_events_of_two_servers_that_number_alike_are_told_apart(make_keeper):
    keeper = make_keeper(url="")
    keeper.memory.remember(Project("1.1700000000", hostname=A))
    keeper.memory.remember(Project("1.1800000000", hostname=B + "/"))
    assert keeper.server_of(1, "1.1700000000") == A
    assert keeper.server_of(1, "1.1800000000") == B
    assert keeper.server_of(1, "1.1900000000") not in (A, B, ""), "a third one"
    assert keeper.server_of(1) not in (A, B), "nobody can tell"


def test_what_came_before_setup_told_whose_project_it_is_becomes_that_projects(platform, store, make_keeper):
    class BothServers:
        def client(self, project: Project) -> LabelStudioClient | None:
            return platform.client() if project.hostname == SERVER else None

    keeper = make_keeper(url="", access=BothServers())
    key = f"{NUMBER}.1800000000"
    unknown = keeper.server_of(NUMBER, key)
    row = store.project("label-studio", unknown, NUMBER)
    document = b'{"id":900}'
    state = TaskState(1, b"{}", annotations=(Stored(900, "submitted", "1", "", "2026-01-01T00:00:00Z", document),))
    store.put_tasks(row.id, [state])
    early = Event("label-studio", unknown, "ANNOTATION_CREATED", NUMBER, (900,), (1,), authenticated=True)
    store.add_events([early])
    keeper.start()
    wait_until(lambda: store.pending_events(10) == [])
    keeper.memory.remember(Project(key, hostname=SERVER))
    keeper.wake()
    wait_until(lambda: store.find_project("label-studio", SERVER, NUMBER) is not None)
    assert [one.id for one in store.projects()] == [row.id]
    assert store.find_project("label-studio", SERVER, NUMBER).needs_full_sync, "so it is compared"
    assert len(store.history(row.id, 900)) == 1


def live(platform: Platform) -> list[bytes]:
    return [document for document, _ in live_tasks(platform.client(), NUMBER)]


def test_a_live_export_reads_what_a_comparison_stores_and_the_same_bytes_every_time(platform, store):
    platform.tasks[3]["predictions"] = [{"id": 90, "model_version": "embedded-1", "result": []}]
    platform.annotate(3, parent_prediction=90)
    platform.draft(4, person=1)
    platform.draft(4, person=8)
    first = live(platform)
    assert live(platform) == first, "created_ago differs with every reading"
    sync(platform, store)
    row = store.find_project("label-studio", SERVER, NUMBER)
    assert first == list(store.task_documents(row.id))
    tasks = [LabelStudioReader()(document) for document in first]
    assert [one.model_version for one in tasks[2].annotations] == [None, "embedded-1"]
    assert [one.person for one in tasks[3].annotations if one.kind == "draft"] == ["1", "8"]


def test_a_live_export_goes_on_past_pages_that_are_too_much_and_names_the_task_that_cannot_be_read(platform):
    original = platform.fetch

    def slow(path: str, params: Mapping[str, Any]) -> bytes:
        if params.get("fields") == "all" and params["page_size"] > 2:
            raise Unreachable("Label Studio does not answer: ReadTimeout")
        return original(path, params)

    platform.fetch = slow  # type: ignore[method-assign]
    assert len(live(platform)) == 25
    platform.broken = {11}
    with pytest.raises(Unreachable, match=r"task 11 of project 7 cannot be read.*500"):
        live(platform)


def test_a_comparison_works_on_postgresql(platform, postgres_url, tmp_path):
    store = open_store(tmp_path, postgres_url)
    try:
        platform.draft(4, person=8)
        assert sync(platform, store).new == 25
        assert everything(store) == platform.everything()
        platform.edit(1, result=[{"id": "r"}])
        platform.remove(2)
        platform.remove_task(5)
        found = sync(platform, store)
        assert (found.new, found.changed, found.deleted, found.failures) == (0, 1, 2, ())
        assert everything(store) == platform.everything()
        row = store.find_project("label-studio", SERVER, NUMBER)
        assert list(store.task_documents(row.id)) == live(platform)
    finally:
        store.close()
    assert not (tmp_path / "corrections.sqlite3").exists()
