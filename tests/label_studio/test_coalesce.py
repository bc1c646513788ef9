"""One computation for identical requests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskwright_label_studio.coalesce import Coalescer


def test_those_who_ask_together_share_one_computation_and_its_result():
    coalescer, started, go, count = Coalescer(), threading.Event(), threading.Event(), []

    def compute() -> bytes:
        count.append(1)
        started.set()
        go.wait(5)
        return b"answer"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(coalescer.result, "key", compute)
        assert started.wait(5)
        others = [pool.submit(coalescer.result, "key", compute) for _ in range(7)]
        go.set()
        assert {future.result(5) for future in (first, *others)} == {b"answer"}
    assert len(count) == 1


def test_a_failure_reaches_everyone_and_is_not_kept():
    coalescer = Coalescer()

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        coalescer.result("key", fail)
    assert coalescer.result("key", lambda: b"yes") == b"yes"


def test_different_keys_do_not_wait_for_each_other():
    coalescer, go = Coalescer(), threading.Event()

    def slow() -> bytes:
        go.wait(5)
        return b"slow"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(coalescer.result, "slow", slow)
        assert coalescer.result("quick", lambda: b"quick") == b"quick"
        go.set()
        assert waiting.result(5) == b"slow"


def test_waiting_for_another_thread_can_be_bounded():
    coalescer, started, go = Coalescer(), threading.Event(), threading.Event()

    def slow() -> bytes:
        started.set()
        go.wait(5)
        return b""

    with ThreadPoolExecutor(1) as pool:
        pool.submit(coalescer.result, "key", slow)
        assert started.wait(5)
        with pytest.raises(TimeoutError):
            coalescer.result("key", slow, timeout=0.01)
        go.set()


def test_results_are_kept_for_a_while_and_within_a_bound():
    now = [0.0]
    coalescer = Coalescer(max_bytes=100, lifetime_s=10, clock=lambda: now[0])
    for number in range(20):
        coalescer.result(number, lambda: b"x" * 30)
    assert [number for number in range(20) if coalescer.ready(number)] == [17, 18, 19]
    now[0] = 11.0
    assert coalescer.ready(19) is None
    assert coalescer.result(19, lambda: b"new") == b"new"


def test_a_result_larger_than_the_bound_is_answered_but_not_kept():
    coalescer = Coalescer(max_bytes=10)
    assert coalescer.result("key", lambda: b"x" * 100) == b"x" * 100
    assert coalescer.ready("key") is None
