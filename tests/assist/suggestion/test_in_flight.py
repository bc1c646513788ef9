from __future__ import annotations

import threading
import time

import pytest

from maskwright.assist.suggestion.in_flight import HeldCaptioner, HeldTagger, in_flight
from maskwright.errors import Cancelled
from maskwright.models.protocols import Tag


def test_answers_come_in_the_order_of_the_items_whichever_is_ready_first():
    last = threading.Event()

    def work(item, turn):
        if item == 0:
            assert last.wait(20)
        if item == 3:
            last.set()
        return item * 10

    assert [(o.item, o.result) for o in in_flight(range(6), work, workers=4)] == [(i, i * 10) for i in range(6)]


def test_the_device_has_one_user_at_a_time_while_answers_are_waited_for_together():
    users, waiting, most_waiting = [], threading.Barrier(4, timeout=20), []

    def work(item, turn):
        with turn:
            users.append(item)
            assert users == [item]
            time.sleep(0.002)
            users.remove(item)
        waiting.wait()  # passes only while four items wait for their answers at once
        most_waiting.append(item)
        with turn:
            assert users == []

    outcomes = list(in_flight(range(8), work, workers=4))
    assert [o.error for o in outcomes] == [None] * 8
    assert len(most_waiting) == 8


def test_the_oldest_image_is_next_at_the_device():
    order, queued = [], threading.Semaphore(0)

    def work(item, turn):
        if item == 0:
            with turn:
                for _ in range(3):
                    queued.acquire()
                time.sleep(0.05)  # they are at the door
        else:
            queued.release()
            if item == 1:
                time.sleep(0.02)  # the last one to come
            with turn:
                order.append(item)

    list(in_flight(range(4), work, workers=4))
    assert order == [1, 2, 3]


def test_an_item_that_fails_fails_alone():
    def work(item, turn):
        with turn:
            if item % 2:
                raise ValueError(f"picture {item} is broken")
            return item

    outcomes = list(in_flight(range(5), work, workers=2))
    assert [o.result for o in outcomes] == [0, None, 2, None, 4]
    assert [str(o.error) for o in outcomes if o.error] == ["picture 1 is broken", "picture 3 is broken"]


def test_a_timeout_of_the_work_itself_is_an_error_like_any_other():
    def work(item, turn):
        raise TimeoutError("the server did not answer")

    (outcome,) = in_flight([1], work)
    assert isinstance(outcome.error, TimeoutError)


def test_no_more_items_are_taken_than_may_be_in_flight():
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    for count, outcome in enumerate(in_flight(items(), lambda item, turn: item, workers=3), start=1):
        assert outcome.item == count - 1
        assert len(taken) <= count + 3


def test_a_caller_that_stops_early_ends_what_is_under_way():
    under_way = threading.Semaphore(0)
    ends = []

    def work(item, turn):
        if item == 0:
            return item
        under_way.release()
        try:
            while True:
                with turn:
                    time.sleep(0.001)
        except Cancelled:
            ends.append(item)

    stream = in_flight(iter(range(100)), work, workers=3)
    assert next(stream).item == 0
    assert under_way.acquire(timeout=20)
    stream.close()
    assert set(ends) <= {1, 2}
    assert ends
    assert not [t for t in threading.enumerate() if t.name.startswith("in-flight")]


def test_cancelling_stops_the_stream():
    stop = threading.Event()

    def work(item, turn):
        stop.set()
        while True:
            with turn:
                time.sleep(0.001)

    with pytest.raises(Cancelled):
        list(in_flight(range(10), work, workers=2, cancelled=stop.is_set))


def test_items_that_cannot_be_listed_are_the_callers_error():
    def items():
        yield 1
        raise OSError("the folder is gone")

    with pytest.raises(OSError, match="the folder is gone"):
        list(in_flight(items(), lambda item, turn: item))


def test_describers_take_their_turn():
    inside = []

    class Turn:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *about):
            inside.pop()

    class Words:
        name, version = "words", "words-1"

        def tags(self, images, *, top=10):
            return [[Tag("dog", 0.9)] for _ in images if inside][:top]

        def captions(self, images):
            return ["a dog" for _ in images if inside]

    assert HeldTagger(Words(), Turn()).tags([None], top=3) == [[Tag("dog", 0.9)]]
    captioner = HeldCaptioner(Words(), Turn())
    assert (captioner.captions([None]), captioner.name, captioner.version) == (["a dog"], "words", "words-1")
    assert not inside
