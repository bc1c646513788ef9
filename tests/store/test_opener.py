"""A store that takes its time to open holds nobody up."""

from __future__ import annotations

import threading

import pytest

from maskwright.errors import Busy
from maskwright.settings import Settings
from maskwright.store import opener
from maskwright.store.opener import StoreOpener


def openers() -> int:
    return sum(thread.name == "store-opener" for thread in threading.enumerate())


def test_all_who_wait_for_a_store_that_opens_slowly_wait_for_one_thread(tmp_path, monkeypatch):
    may, open_store = threading.Event(), opener.open_store
    monkeypatch.setattr(opener, "open_store", lambda *where: may.wait(60) and open_store(*where))
    monkeypatch.setattr(opener, "PATIENCE_S", 0.01)
    store = StoreOpener(Settings(home=tmp_path))
    for _ in range(5):
        with pytest.raises(Busy, match="still being opened"):
            store.soon()
    assert openers() == 1
    may.set()
    monkeypatch.setattr(opener, "PATIENCE_S", 60.0)
    assert store.soon() is store()
    store.close()


def test_a_fault_while_a_store_is_opened_reaches_who_waits_and_the_next_tries_again(tmp_path, monkeypatch):
    def fault(*where):
        raise ZeroDivisionError

    store, open_store = StoreOpener(Settings(home=tmp_path)), opener.open_store
    monkeypatch.setattr(opener, "open_store", fault)
    with pytest.raises(ZeroDivisionError):
        store.soon()
    monkeypatch.setattr(opener, "open_store", open_store)
    assert store.soon() is store()
    store.close()
