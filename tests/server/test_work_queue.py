"""The workers' queue on SQLite and on a real Redis: a message says "look", and nothing in a queue can do harm."""

from __future__ import annotations

import pickle
import threading
import time
import traceback

import pytest
from pydantic import ValidationError

from maskwright.assist.services import Notice
from maskwright.doctor import work_queue_findings
from maskwright.errors import InvalidInput, Unreachable
from maskwright.learn.settings import LearningSettings, write_learning
from maskwright.server.notices import NoticeBoard
from maskwright.server.work_queue import JsonMessages, WorkQueue
from maskwright.settings import Settings
from maskwright.store.corrections import open_store
from maskwright.store.project_notes import ProjectNotes


@pytest.fixture(params=["sqlite", "redis"])
def settings(request, tmp_path):
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    return Settings(_env_file=None, home=tmp_path / "home", queue_url=url)


@pytest.fixture
def queue(settings):
    return WorkQueue(settings)


def until(condition, limit_s=30.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_message_is_heard_once_by_one_worker(settings, queue):
    assert not queue.heard_look()
    queue.say_look()
    assert queue.count() == 1
    assert sorted([queue.heard_look(), WorkQueue(settings).heard_look()]) == [False, True]
    assert queue.count() == 0


def test_many_messages_are_heard_as_one(queue):
    for _ in range(50):
        queue.say_look()
    assert queue.heard_look()
    assert not queue.heard_look()


def test_a_message_for_later_is_heard_then(queue):
    queue.say_look(0.5)
    assert not queue.heard_look()
    assert queue.count() == 1
    until(queue.heard_look)
    assert queue.count() == 0


def test_messages_outlive_the_process_that_left_them(settings):
    WorkQueue(settings).say_look()
    assert WorkQueue(settings).heard_look()


def test_threads_may_share_a_queue(queue):
    threads = [threading.Thread(target=queue.say_look) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.count() == 16


class Exploit:
    def __reduce__(self):
        return (pytest.fail, ("a message was run",))


@pytest.mark.parametrize(
    "message",
    [
        pickle.dumps(Exploit()),
        b'{"name": "os.system", "id": "1", "eta": null}',
        b'{"name": "maskwright.server.work_queue.look"}',
        b'{"name": "maskwright.server.work_queue.look", "id": 1, "eta": "soon"}',
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_strangers_leave_in_the_queue_is_dropped(queue, message, caplog):
    queue.say_look()
    queue.heard_look()
    queue._opened().huey.storage.enqueue(message)
    assert not queue.heard_look()
    assert "none of ours" in caplog.text
    assert queue.count() == 0


def test_messages_are_json(queue):
    queue.say_look()
    [data] = queue._opened().huey.storage.enqueued_items()
    assert JsonMessages().deserialize(data).name.endswith(".look")
    assert data.startswith(b'{"name"')


def test_a_queue_that_does_not_answer_says_so_without_its_password(tmp_path):
    queue = WorkQueue(Settings(_env_file=None, home=tmp_path, queue_url="redis://:hunter2@127.0.0.1:1/0"))
    for call in (queue.say_look, queue.heard_look, queue.count):
        with pytest.raises(Unreachable, match="MASKWRIGHT_QUEUE_URL") as caught:
            call()
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", ["redis://:hunter2/x@127.0.0.1:6379", "redis://127.0.0.1:99999", "redis://[::1"])
def test_an_address_that_is_malformed_is_named_without_its_password(tmp_path, address):
    queue = WorkQueue(Settings(_env_file=None, home=tmp_path, queue_url=address))
    for call in (queue.say_look, queue.heard_look, queue.count):
        with pytest.raises(InvalidInput, match=r"MASKWRIGHT_QUEUE_URL.*redis://host:6379/0") as caught:
            call()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_damaged_file_says_that_it_may_be_deleted_and_a_deleted_one_is_made_anew(tmp_path):
    settings = Settings(_env_file=None, home=tmp_path)
    (tmp_path / "queue.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(Unreachable, match="delete it: nothing in it is needed"):
        WorkQueue(settings).say_look()
    (tmp_path / "queue.sqlite3").unlink()
    WorkQueue(settings).say_look()


def test_an_address_of_something_else_is_refused():
    with pytest.raises(ValidationError, match="MASKWRIGHT_QUEUE_URL"):
        Settings(_env_file=None, queue_url="amqp://x")


def test_doctor_tells_whether_the_queue_answers(settings, tmp_path):
    kind = "redis" if settings.queue_url.get_secret_value() else "sqlite"
    [found] = work_queue_findings(settings)
    assert (found.status, found.detail) == ("ok", f"{kind}, 0 messages wait for a worker")
    [broken] = work_queue_findings(Settings(_env_file=None, home=tmp_path, queue_url="redis://127.0.0.1:1/0"))
    assert (broken.status, "start it" in broken.remedy) == ("fail", True)


def notice(action="corrections", number=7):
    return Notice("label-studio", "http://x", number, action)


def test_a_thousand_events_of_a_project_leave_one_message_for_when_it_is_quiet(queue):
    board = NoticeBoard(queue)
    for _ in range(1000):
        board(notice())
    until(lambda: queue.count() == 1)
    board(notice(number=8))
    until(lambda: queue.count() == 2)
    assert not queue.heard_look()


def test_events_that_come_while_the_first_is_looked_into_leave_no_message_of_their_own(queue, tmp_path):
    store, board = open_store(tmp_path), NoticeBoard(queue)

    def slow():
        board(notice())
        return store

    board.attach(slow)
    board(notice())
    until(lambda: board._thread is None)
    assert queue.count() == 1
    store.close()


def test_a_person_who_asks_for_training_is_not_kept_waiting(queue):
    board = NoticeBoard(queue)
    board(notice())
    until(lambda: queue.count() == 1)
    board(notice("start-training"))
    until(queue.heard_look)


def test_a_refresh_wakes_no_worker(queue):
    board = NoticeBoard(queue)
    board(notice("refresh"))
    board(notice("start-training"))
    until(lambda: queue.count() == 1)


def test_the_wait_is_that_of_the_project(queue, tmp_path):
    store = open_store(tmp_path)
    project = store.project("label-studio", "http://x", 7).id
    write_learning(ProjectNotes(store.database), project, LearningSettings(debounce_s=0))
    board = NoticeBoard(queue)
    board.attach(lambda: store)
    board(notice())
    until(queue.heard_look)
    store.close()


def test_neither_a_silent_queue_nor_an_unreadable_store_reaches_the_request(tmp_path, caplog):
    board = NoticeBoard(WorkQueue(Settings(_env_file=None, home=tmp_path, queue_url="redis://127.0.0.1:1/0")))

    def unreadable():
        raise Unreachable("no store")

    board.attach(unreadable)
    board(notice())
    until(lambda: "looks within a minute" in caplog.text)
    assert "no store" in caplog.text
