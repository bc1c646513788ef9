"""What was promoted answers the very next request of its project, over HTTP, and nobody's else."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from flask import Flask

from maskwright.assist.assistant import Assistant
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.services import Notice, Services
from maskwright.learn.rounds import requests
from maskwright.models.adapters.attaching import attach, trained_parameters, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.models.registry import ModelRegistry
from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.settings import Settings
from maskwright.store.records import Event
from maskwright.store.served import ServedRegister
from maskwright_label_studio.platform import PLATFORM
from maskwright_label_studio.serving import LearningDoor


def blurred() -> str:
    """A picture in which every model sees something else."""
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    coded = cv2.imencode(".png", cv2.GaussianBlur(noise, (0, 0), 6) * 2)[1]
    return "data:image/png;base64," + base64.b64encode(coded.tobytes()).decode()


HOST = "http://ls.example.org:8080"
KEY, NUMBER = "17.1795230189", 17
BLURRED = blurred()
PROVEN = {"Authorization": "Basic " + base64.b64encode(b"ls:secret").decode()}


@dataclass
class Loop:
    """A server with the embedded model, and what a finished round would do to it."""

    app: Flask
    services: Services
    registry: ModelRegistry
    click_body: dict[str, Any]
    setup_body: dict[str, Any]

    def setup(self, **changed: Any) -> str:
        answer = self.app.test_client().post("/setup", json=self.setup_body | changed)
        assert answer.status_code == 200, answer.data
        return answer.json["model_version"]

    def click(self, **changed: Any) -> tuple[str, tuple[int, ...]]:
        """Version and mask of the answer to one and the same click."""
        answer = self.app.test_client().post("/predict", json=self.click_body | changed)
        assert answer.status_code == 200, answer.data
        (result,) = answer.json["results"]
        rles = [tuple(region["value"]["rle"]) for region in result["result"]]
        return result["model_version"], rles[0] if rles else ()

    def adapter(self, kind: str, seed: int) -> str:
        """An adapter that answers differently: its base moved at random."""
        base, config = self.registry.segmenter("embedded"), AdapterConfig(kind, rank=2)
        learner = attach(base.network, config, seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in trained_parameters(learner).values():
                parameter += torch.randn(parameter.shape, generator=generator) * (0.2 if kind == "decoder" else 1.0)
        card = AdapterCard(self.registry.base_identity("embedded"), config, base.version)
        return write_adapter(self.registry.adapters.folder, trained_tensors(learner), card)

    @property
    def register(self) -> ServedRegister:
        return ServedRegister(self.services.store().database)

    def project(self, server: str = HOST, number: int = NUMBER) -> int:
        return self.services.store().project("label-studio", server, number).id

    def promote(self, adapter: str | None, classes: str | None = None, server: str = HOST) -> None:
        self.register.put(self.project(server), "embedded", adapter, classes, round_number=1, reason="better in a test")

    def roll_back(self) -> None:
        self.register.rollback(self.project(), "embedded")


@pytest.fixture
def make_loop(tmp_path, payload):
    made: list[Loop] = []

    def make(notice: Callable[[Notice], None] = lambda notice: None, **given: Any) -> Loop:
        settings = Settings(_env_file=None, home=tmp_path, model="embedded", **given)
        metrics, registry = Metrics(), ModelRegistry(settings)
        services = Services(settings, Assistant(settings, registry=registry), BackgroundJobs(), metrics.observe, notice)
        click = payload("predict-interactive-ui-keypoint-1")
        click["tasks"][0]["data"] = {"image": BLURRED}
        setup = payload("setup") | {"extra_params": None, "project": KEY, "hostname": HOST + "/"}
        setup["schema"] = click["label_config"]
        made.append(Loop(create_app(services, metrics, [PLATFORM]), services, registry, click, setup))
        return made[-1]

    yield make
    for loop in made:
        loop.app.blueprints["label_studio"].close()
        loop.services.jobs.close()
        loop.services.assistant.close()


@pytest.fixture
def loop(make_loop):
    """One whose project was set up."""
    made = make_loop()
    made.setup()
    return made


@pytest.mark.parametrize("kind", ["decoder", "lora"])
def test_a_promoted_adapter_answers_the_next_click_and_a_rollback_takes_it_back(loop, kind):
    before = loop.click()
    assert loop.setup() == before[0]
    loop.promote(loop.adapter(kind, seed=1))
    promoted = loop.click()
    assert promoted[0] != before[0]
    assert promoted[1] != before[1]
    assert loop.setup() == promoted[0], "Label Studio is told the version that answers"
    loop.promote(loop.adapter(kind, seed=2))
    assert loop.click()[0] not in (before[0], promoted[0])
    loop.roll_back()
    assert loop.click() == promoted
    loop.roll_back()
    assert loop.click() == before
    assert loop.setup() == before[0]
    assert loop.registry.load_count == 1, "the base is loaded once, whatever is served on it"


def test_no_other_project_and_no_other_server_sees_it(loop):
    before = loop.click()
    loop.setup(project="18.1795230189")
    loop.setup(project="17.1795239999", hostname="http://other.example.org")
    loop.promote(loop.adapter("decoder", seed=1))
    assert loop.click()[0] != before[0]
    assert loop.click(project="18.1795230189") == before
    assert loop.click(project="17.1795239999") == before


def test_the_servers_address_in_the_settings_counts_for_every_project(make_loop):
    loop = make_loop(label_studio_url="http://operator.example.org/")
    loop.setup()
    before = loop.click()
    loop.promote(loop.adapter("decoder", seed=1), server="http://operator.example.org")
    assert loop.click()[0] != before[0]


def test_a_project_that_names_its_adapter_itself_keeps_it(loop):
    own = loop.adapter("decoder", seed=3)
    version = loop.setup(extra_params={"model": f"embedded+adapter:{own}"})
    loop.promote(loop.adapter("decoder", seed=1))
    assert loop.click()[0] == version == loop.setup(extra_params={"model": f"embedded+adapter:{own}"})


def test_while_eight_people_click_and_versions_change_every_answer_is_whole(loop):
    adapter = loop.adapter("decoder", seed=1)
    known = {loop.click()}
    loop.promote(adapter)
    known.add(loop.click())
    loop.roll_back()
    assert len({version for version, _ in known}) == 2
    ended = threading.Event()

    def click_on() -> set[tuple[str, tuple[int, ...]]]:
        seen = {loop.click()}
        while not ended.is_set():
            seen.add(loop.click())
        return seen

    with ThreadPoolExecutor(8) as people:
        answers = [people.submit(click_on) for _ in range(8)]
        try:
            for turn in range(10):
                loop.promote(adapter) if turn % 2 == 0 else loop.roll_back()
                expected = loop.click()[0]
                assert loop.setup() == expected, "nobody else promotes: the next requests agree"
        finally:
            ended.set()
        seen = set().union(*(answer.result(60) for answer in answers))
    assert seen <= known, "each answer is of one version, with that version's mask"


def test_a_store_that_cannot_be_opened_costs_nobody_an_answer(make_loop, tmp_path):
    (tmp_path / "corrections.sqlite3").write_bytes(b"")
    loop = make_loop()
    version = loop.setup()
    answered, mask = loop.click()
    assert answered == version
    assert mask


def test_events_are_told_to_the_loop_once_they_are_stored(make_loop, payload):
    told: list[Notice] = []
    loop = make_loop(told.append, username="ls", password="secret")
    loop.services.store()  # made before events have to be answered within a second
    http = loop.app.test_client()
    for name in ("webhook-annotation-created", "webhook-start-training", "webhook-tasks-created"):
        assert http.post("/webhook", json=payload(name), headers=PROVEN).status_code == 200
    said = [(notice.platform, notice.number, notice.action) for notice in told]
    assert said == [("label-studio", 1, "corrections"), ("label-studio", 1, "start-training")]
    (project,) = loop.services.store().projects()
    assert {notice.server for notice in told} == {project.server}, "by the name that the store knows it by"
    told.clear()
    for name in ("webhook-annotation-created", "webhook-start-training"):
        assert http.post("/webhook", json=payload(name)).status_code == 200
    assert told == [], "what strangers say is looked into first, and training is not theirs to start"


def test_a_storm_of_wishes_is_one_and_strangers_wake_nobody_for_projects_that_are_not(make_loop, payload):
    told: list[Notice] = []
    loop = make_loop(told.append)
    store = loop.services.store()
    number = store.project("label-studio", HOST, NUMBER).id
    door = LearningDoor(loop.services, None)
    wishes = [
        Event("label-studio", HOST, "START_TRAINING", project, (), (), f"{turn}", authenticated=False)
        for project in (NUMBER, NUMBER + 1)
        for turn in range(1000)
    ]
    with pytest.MonkeyPatch.context() as patched:
        kept: list[int] = []
        patched.setattr(requests, "want_training", lambda store, project: kept.append(project))
        door.stored(wishes)
    assert kept == [number]
    assert told == [Notice("label-studio", HOST, NUMBER, "start-training")]
    assert len(store.projects()) == 1


def test_a_listener_that_fails_does_not_fail_an_event(make_loop, payload, caplog):
    def fail(notice: Notice) -> None:
        raise RuntimeError("no queue")

    http = make_loop(fail, username="ls", password="secret").app.test_client()
    for name in ("webhook-annotation-created", "webhook-start-training"):
        assert http.post("/webhook", json=payload(name), headers=PROVEN).status_code == 200
    assert "no queue" in caplog.text
