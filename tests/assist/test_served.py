"""What a project serves is asked of the store at every request, and a store that fails costs nobody an answer."""

import logging
import threading

import pytest

from maskwright.assist import served as module
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.served import ServedModels
from maskwright.assist.services import Notice, Services
from maskwright.errors import Busy, InvalidInput
from maskwright.settings import Settings
from maskwright.store import opener
from maskwright.store.corrections import open_store
from maskwright.store.faults import StoreUnavailable
from maskwright.store.served import ServedRegister

WHERE = ("label-studio", "http://ls", 7)
A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, home=tmp_path, model="embedded")


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def register(store):
    return ServedRegister(store.database)


@pytest.fixture
def project(store):
    return store.project(*WHERE).id


@pytest.fixture
def served(settings, store):
    return ServedModels(settings, lambda: store)


def test_nothing_promoted_leaves_the_model_as_it_was_set_up(served, project):
    assert served.uri(*WHERE, None) is None
    assert served.uri(*WHERE, " sam:o/n ") == " sam:o/n "
    assert served.uri("label-studio", "http://elsewhere", 7, None) is None
    assert served.uri("label-studio", "http://ls", None, "classical") == "classical"


def test_promotion_and_rollback_count_from_the_next_question_on(served, register, project):
    register.put(project, "embedded", A, None, round_number=1, reason="better")
    assert served.uri(*WHERE, None) == served.uri(*WHERE, "embedded") == f"embedded+adapter:{A}"
    register.put(project, "embedded", B, C, round_number=2, reason="better")
    assert served.uri(*WHERE, None) == f"embedded+adapter:{B}+classes:{C}"
    register.rollback(project, "embedded")
    assert served.uri(*WHERE, None) == f"embedded+adapter:{A}"
    register.rollback(project, "embedded")
    assert served.uri(*WHERE, None) == "embedded"


def test_each_base_and_each_project_has_its_own(served, store, register, project):
    other = store.project("label-studio", "http://ls", 8).id
    register.put(project, "embedded", A, None, round_number=1, reason="better")
    register.put(other, "embedded", B, None, round_number=1, reason="better")
    register.put(project, "sam:o/n", C, None, round_number=2, reason="better")
    assert served.uri(*WHERE, None) == f"embedded+adapter:{A}"
    assert served.uri("label-studio", "http://ls", 8, None) == f"embedded+adapter:{B}"
    assert served.uri(*WHERE, "sam:o/n") == f"sam:o/n+adapter:{C}"
    assert served.uri(*WHERE, "classical") == "classical"


@pytest.mark.parametrize("pinned", [f"embedded+adapter:{B}", f"embedded+classes:{B}"])
def test_a_model_that_names_what_was_learnt_itself_is_left_alone(served, register, project, pinned):
    register.put(project, "embedded", A, None, round_number=1, reason="better")
    assert served.uri(*WHERE, pinned) == pinned


def test_a_malformed_model_is_refused(served, project):
    with pytest.raises(InvalidInput, match="unknown model"):
        served.uri(*WHERE, "yolo")


def test_an_unreadable_store_goes_on_with_what_it_said_last_and_is_logged_once(
    settings, store, register, project, caplog, monkeypatch
):
    register.put(project, "embedded", A, None, round_number=1, reason="better")
    fault = [None]

    def opened():
        if fault[0]:
            raise fault[0]
        return store

    monkeypatch.setattr(module, "RETRY_S", 0.0)
    fresh, known = ServedModels(settings, opened), ServedModels(settings, opened)
    assert known.uri(*WHERE, None) == f"embedded+adapter:{A}"
    fault[0] = StoreUnavailable("the disk is gone")
    with caplog.at_level(logging.ERROR):
        assert {known.uri(*WHERE, None) for _ in range(5)} == {f"embedded+adapter:{A}"}
    assert len([record for record in caplog.records if "the disk is gone" in record.message]) == 1
    assert fresh.uri(*WHERE, None) is None, "it never knew"
    register.put(project, "embedded", B, None, round_number=2, reason="better")
    fault[0] = None
    assert known.uri(*WHERE, None) == f"embedded+adapter:{B}"


def test_while_one_asks_whether_the_store_is_back_nobody_else_waits_for_it(
    settings, store, register, project, monkeypatch
):
    register.put(project, "embedded", A, None, round_number=1, reason="better")
    asked, answered, calls = threading.Event(), threading.Event(), []

    def opened():
        calls.append(0)
        if len(calls) == 2:
            raise StoreUnavailable("gone")
        if len(calls) == 3:
            asked.set()
            answered.wait(60)
        return store

    monkeypatch.setattr(module, "RETRY_S", 0.0)
    served = ServedModels(settings, opened)
    served.uri(*WHERE, None)
    served.uri(*WHERE, None)
    one = threading.Thread(target=served.uri, args=(*WHERE, None))
    one.start()
    assert asked.wait(60)
    assert served.uri(*WHERE, None) == f"embedded+adapter:{A}"
    assert len(calls) == 3
    answered.set()
    one.join()
    register.put(project, "embedded", B, None, round_number=2, reason="better")
    assert served.uri(*WHERE, None) == f"embedded+adapter:{B}"


def test_nobody_waits_long_for_a_store_that_is_still_being_opened(settings, project, monkeypatch):
    opens, release = threading.Event(), threading.Event()

    def slow(*where):
        opens.set()
        release.wait(60)
        return open_store(*where)

    monkeypatch.setattr(opener, "open_store", slow)
    monkeypatch.setattr(opener, "PATIENCE_S", 0.05)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    services = Services(settings, None, None, lambda stage, seconds: None)
    keeper = threading.Thread(target=services.store)
    keeper.start()
    assert opens.wait(60)
    assert services.served.uri(*WHERE, None) is None
    with pytest.raises(Busy, match="still being opened"):
        services.store.soon()
    release.set()
    keeper.join()
    ServedRegister(services.store.soon().database).put(project, "embedded", A, None, round_number=1, reason="better")
    assert services.served.uri(*WHERE, None) == f"embedded+adapter:{A}"
    services.store.close()


def test_services_are_built_without_knowing_of_the_loop_and_open_nothing(settings, tmp_path):
    jobs = BackgroundJobs()
    services = Services(settings, None, jobs, lambda stage, seconds: None)
    services.notice(Notice(*WHERE, "corrections"))
    assert not (tmp_path / "corrections.sqlite3").exists()
    assert services.served.uri(*WHERE, None) is None
    services.store.close()
    jobs.close()
