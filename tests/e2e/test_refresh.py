"""After a version of a project changed: its queue at the real Label Studio, next tasks first, nobody's work touched."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from maskwright.models.adapters.attaching import attach, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, open_store
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright_label_studio.modes import is_reviewed
from maskwright_label_studio.projects import ProjectMemory

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

BASE = "embedded"
TASKS = 8
PATIENCE_S = 120


def until(what: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """What is waited for, as soon as it is there."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.5)
    return found


class Home:
    """The folder of a backend, written to as its worker would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = ModelRegistry(Settings(home=folder))

    def adapter(self, seed: int) -> str:
        """An adapter that changes answers a little."""
        config = AdapterConfig("lora", rank=2)
        torch.manual_seed(seed)
        learner = attach(self.registry.segmenter(BASE).network, config, seed)
        tensors = {name: tensor + 0.02 * torch.randn_like(tensor) for name, tensor in trained_tensors(learner).items()}
        return write_adapter(
            self.registry.adapters.folder, tensors, AdapterCard(self.registry.base_identity(BASE), config)
        )

    @property
    def store(self) -> CorrectionsStore:
        return open_store(self.folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home-of-a-queue"))


@pytest.fixture(scope="module")
def store(home: Home) -> Iterator[CorrectionsStore]:
    opened = home.store
    yield opened
    opened.close()


class Learning:
    """A connected project that sees promotions."""

    def __init__(self, project: Any, home: Home, store: CorrectionsStore, server: str) -> None:
        self.project, self.api, self.home, self.store = project, project.api, home, store
        self.row = store.project("label-studio", server, project.id)

    def promote(self, seed: int) -> None:
        adapter = self.home.adapter(seed)
        rounds = RoundStore(self.store.database)
        rounds.queue(self.row.id, trigger="test", base=BASE, config={})
        claimed = rounds.claim("test", 60, project_id=self.row.id)
        served = ServedRegister(self.store.database).current(self.row.id, BASE)
        before = served.id if served else None
        rounds.advance(claimed.id, "test", RoundState.TRAINING, served_before=before)
        rounds.advance(claimed.id, "test", RoundState.EVALUATING, adapter=adapter)
        ended, _ = rounds.promote(claimed.id, "test", reason="test", verdict={"outcome": "promote"}, metrics={})
        assert ended.state is RoundState.PROMOTED

    def version(self) -> str:
        """What the backend reports now."""
        return self.api.get("/api/ml/", params={"project": self.project.id}).json()[0]["model_version"]

    def shown(self) -> str:
        return self.api.get(f"/api/projects/{self.project.id}/").json()["model_version"]

    def predictions(self, version: str) -> list[dict[str, Any]]:
        return [p for p in self.project.predictions() if p["model_version"] == version]

    def noted(self) -> dict[str, int]:
        return ProjectNotes(self.store.database).get(self.row.id, "machine-annotations") or {}

    def key(self) -> str:
        """What Label Studio calls the project when it talks to its backend."""
        (known,) = ProjectMemory(self.home.folder / "label-studio" / "projects.json").of_number(self.project.id)
        return known.key

    def annotations(self, task: int) -> list[dict[str, Any]]:
        return self.api.get(f"/api/tasks/{task}/annotations/").json()

    def next_task(self) -> dict[str, Any]:
        return self.api.get(f"/api/projects/{self.project.id}/next").json()


@pytest.fixture
def learning(
    make_project: Callable[..., Any], launch: Callable[..., Any], label_studio: Any, pictures: ModuleType, home: Home,
    store: CorrectionsStore,
) -> Learning:  # fmt: skip
    images = {f"{n}.png": pictures.many_blobs(count=2 + 3 * n, width=200, height=150, seed=n)[0] for n in range(TASKS)}
    project = make_project(images)
    project.api.patch(f"/api/projects/{project.id}/", json={"sampling": "Uncertainty sampling"}).raise_for_status()
    backend = launch(
        home.folder, LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=label_studio.token, QUEUE_LOOK_S="5"
    )
    # The first /setup of a process may be late on a busy machine, and Label Studio waits three seconds.
    until(lambda: project.connect(backend, title=f"assistant {secrets.token_hex(2)}").status_code == 201)
    project.retrieve_predictions()
    project.wait_for_predictions()
    return Learning(project, home, store, label_studio.url)


def test_after_a_promotion_the_queue_follows_the_new_version(learning: Learning) -> None:
    project, before = learning.project, learning.version()
    title = learning.shown()
    old = {p["id"]: p for p in project.predictions()}
    done = project.tasks[0]["id"]
    kept = {"result": old[min(old)]["result"], "lead_time": 12.0}
    project.api.post(f"/api/tasks/{done}/annotations/", json=kept).raise_for_status()
    annotated = learning.annotations(done)

    learning.promote(seed=1)
    version = until(lambda: (now := learning.version()) != before and now)
    until(lambda: len({p["task"] for p in learning.predictions(version)}) == TASKS - 1)
    until(lambda: learning.shown() == version)

    new = learning.predictions(version)
    assert {p["task"] for p in new} == {task["id"] for task in project.tasks} - {done}
    scores = [p["score"] for p in sorted(new, key=lambda p: p["id"])]
    assert scores == sorted(scores), "the tasks to be labelled next must get their predictions first"
    assert scores[0] == 0
    assert scores[-1] == 1
    assert len(set(scores)) == len(scores)
    assert {p["id"]: p["result"] for p in project.predictions() if p["id"] in old} == {
        number: p["result"] for number, p in old.items()
    }, "old predictions stay"
    assert learning.annotations(done) == annotated
    assert before != version != title

    (connection,) = project.api.get("/api/ml/", params={"project": project.id}).json()
    assert connection["title"] == version, "a live project stays live"
    assert connection["state"] == "CO", "its credentials are kept"
    assert connection["is_interactive"]
    following = learning.next_task()
    assert following["queue"].startswith("Active learning")
    first = min(new, key=lambda p: p["score"])
    assert following["id"] == first["task"]
    assert [p["model_version"] for p in following["predictions"]] == [version]

    ServedRegister(learning.store.database).rollback(learning.row.id, BASE)
    assert until(lambda: learning.version() == before)
    until(lambda: learning.shown() == before)
    until(lambda: sorted(p["score"] for p in learning.predictions(before) if p["task"] != done) == sorted(scores))
    assert {p["id"]: p["result"] for p in learning.predictions(before)} == {n: p["result"] for n, p in old.items()}
    version = before

    # A task that came later is pre-annotated by whoever opens it, and gets its place in the queue afterwards.
    answer = project.api.post(
        f"/api/projects/{project.id}/import",
        params={"return_task_ids": "true"},
        json=[{"image": project.tasks[1]["data"]["image"]}],
    )
    (late,) = answer.json()["task_ids"]
    found = until(lambda: [p for p in learning.predictions(version) if p["task"] == late])
    assert all(p["score"] is not None for p in found)


def test_automatic_mode_annotates_what_is_beyond_doubt_but_for_a_sample(learning: Learning) -> None:
    project = learning.project
    ProjectNotes(learning.store.database).put(
        learning.row.id, "learning", {"mode": "automatic", "accept_threshold": 0.3, "review_share": 0.5}
    )
    before = learning.version()
    learning.promote(seed=2)
    version = until(lambda: (now := learning.version()) != before and now)
    until(lambda: len({p["task"] for p in learning.predictions(version)}) == TASKS)
    reviewed = {task["id"] for task in project.tasks if is_reviewed(learning.key(), task["id"], 0.5)}
    alone = {task["id"] for task in project.tasks} - reviewed
    noted = until(lambda: _all_noted(learning.noted(), alone))
    made = {p["id"] for p in learning.predictions(version)}
    for task in project.tasks:
        annotations = learning.annotations(task["id"])
        assert len(annotations) == (task["id"] in alone)
        for annotation in annotations:
            assert annotation["id"] == noted[str(task["id"])]
            assert annotation["parent_prediction"] in made
            assert annotation["result"]
    assert learning.next_task()["id"] in reviewed


def _all_noted(noted: dict[str, int], alone: set[int]) -> dict[str, int] | None:
    return noted if {int(task) for task, annotation in noted.items() if annotation} == alone else None
