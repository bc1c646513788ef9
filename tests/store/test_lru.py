"""A cache that never exceeds its bytes and never loads one key twice at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.store.lru import ByteBoundedCache


def cache(max_bytes: int) -> ByteBoundedCache[str, bytes]:
    return ByteBoundedCache(max_bytes, len)


def test_the_least_recently_used_goes_first():
    kept = cache(30)
    for name in "abc":
        kept.put(name, b"0123456789")
    assert kept.get("a") is not None
    kept.put("d", b"0123456789")
    assert [name for name in "abcd" if name in kept] == ["a", "c", "d"]


def test_a_value_beyond_the_bound_is_handed_out_but_not_kept():
    kept = cache(5)
    assert kept.get_or_load("a", lambda: b"123456") == b"123456"
    assert len(kept) == 0
    assert kept.nbytes == 0


def test_replacing_a_value_counts_its_bytes_once():
    kept = cache(10)
    kept.put("a", b"123456")
    kept.put("a", b"1234")
    assert kept.nbytes == 4
    kept.put("a", b"x" * 11)
    assert "a" not in kept
    assert kept.nbytes == 0


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40), st.sampled_from(["put", "get", "discard"]))))
def test_bytes_never_exceed_the_bound_and_always_add_up(operations):
    kept = cache(64)
    for name, size, what in operations:
        if what == "put":
            kept.put(name, b"x" * size)
        elif what == "get":
            kept.get(name)
        else:
            kept.discard(name)
        assert kept.nbytes <= 64
        held = [kept.get(name) for name in "abcdefgh" if name in kept]
        assert kept.nbytes == sum(len(value) for value in held if value is not None)


def test_ten_threads_that_want_one_key_share_one_load():
    kept = cache(100)
    loads, gate, arrived = [], threading.Event(), threading.Semaphore(0)

    def load() -> bytes:
        loads.append(1)
        assert gate.wait(10)
        return b"value"

    def ask() -> bytes:
        arrived.release()
        return kept.get_or_load("a", load)

    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(ask) for _ in range(10)]
        for _ in range(10):
            assert arrived.acquire(timeout=10)
        gate.set()
        assert [answer.result(10) for answer in answers] == [b"value"] * 10
    assert len(loads) == 1


def test_a_failure_reaches_all_who_wait_and_is_not_remembered():
    kept = cache(100)
    gate, loads = threading.Event(), []

    def fail() -> bytes:
        loads.append(1)
        assert gate.wait(10)
        raise ValueError("no such thing")

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(kept.get_or_load, "a", fail) for _ in range(4)]
        while not loads:
            pass
        # The others are either waiting for the first load or start none before the gate opens.
        threading.Timer(0.1, gate.set).start()
        for answer in answers:
            with pytest.raises(ValueError, match="no such thing"):
                answer.result(10)
    assert len(loads) == 1
    assert kept.get_or_load("a", lambda: b"now") == b"now"


def test_a_slow_load_does_not_delay_another_key():
    kept = cache(100)
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kept.get_or_load, "slow", lambda: b"s" if gate.wait(10) else b"")
        assert kept.get_or_load("fast", lambda: b"f") == b"f"
        gate.set()
        assert slow.result(10) == b"s"


def test_a_loader_that_asks_for_its_own_key_is_told_so_instead_of_hanging():
    kept = cache(100)
    with pytest.raises(RuntimeError, match="loading"):
        kept.get_or_load("a", lambda: kept.get_or_load("a", lambda: b"x"))


def test_statistics_tell_hits_misses_and_evictions():
    kept = cache(10)
    kept.get_or_load("a", lambda: b"1234567890")
    kept.get("a")
    kept.put("b", b"1")
    counts = kept.statistics()
    assert (counts.entries, counts.nbytes, counts.hits, counts.misses, counts.evictions) == (1, 1, 1, 1, 1)
    kept.clear()
    assert kept.nbytes == 0
