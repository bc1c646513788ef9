"""What a project serves: one history, of which the newest counts; going back is one step at a time."""

from __future__ import annotations

import threading

import pytest

from maskwright.errors import InvalidInput, NotFound
from maskwright.store.served import ServedRegister

from .conftest import PLATFORM, SERVER

BASE = "embedded"
A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def served(database):
    return ServedRegister(database)


def put(served, project, adapter, classes=None, base=BASE, number=None):
    return served.put(project, base, adapter, classes, round_number=number, reason="better")


def test_nothing_promoted_means_the_base_alone(served, project):
    assert served.current(project, BASE) is None
    assert served.lookup(PLATFORM, SERVER, 7, BASE) is None
    assert (served.history(project), served.newest_id()) == ([], 0)


def test_the_newest_version_of_project_and_base_is_in_force(served, store, project):
    other = store.project(PLATFORM, SERVER, 8).id
    put(served, project, A)
    version = put(served, project, B, C, number=4)
    put(served, other, C)
    put(served, project, C, base="sam:x")
    assert served.current(project, BASE) == served.lookup(PLATFORM, SERVER, 7, BASE) == version
    assert version.uri == f"embedded+adapter:{B}+classes:{C}"
    assert (version.round_number, version.reason) == (4, "better")
    assert served.current(other, BASE).uri == f"embedded+adapter:{C}"
    assert served.current(project, "sam:x").parent_id is None
    assert [one.adapter for one in served.history(project)] == [A, B, C]
    assert served.lookup(PLATFORM, "http://elsewhere", 7, BASE) is None


def test_every_change_is_noticed_by_the_newest_id(served, project):
    seen = [served.newest_id()]
    put(served, project, A)
    seen.append(served.newest_id())
    served.rollback(project, BASE)
    seen.append(served.newest_id())
    assert seen == sorted(set(seen))


def test_rolling_back_goes_down_step_by_step_to_the_base_and_keeps_the_history(served, project):
    for number, adapter in enumerate((A, B, C), start=1):
        put(served, project, adapter, number=number)
    back = served.rollback(project, BASE)
    assert (back.adapter, back.round_number, back.reason) == (B, 2, "rolled back")
    assert served.rollback(project, BASE, "it was worse").adapter == A
    base = served.rollback(project, BASE)
    assert (base.uri, base.round_number, base.parent_id) == (BASE, None, None)
    with pytest.raises(InvalidInput, match="no version to go back to"):
        served.rollback(project, BASE)
    assert [one.adapter for one in served.history(project)] == [A, B, C, B, A, None]


def test_what_is_promoted_after_a_rollback_goes_back_to_what_was_served_then(served, project):
    put(served, project, A)
    put(served, project, B)
    served.rollback(project, BASE)
    put(served, project, C)
    assert [served.rollback(project, BASE).adapter for _ in range(2)] == [A, None]


def test_going_back_from_a_version_that_is_no_longer_in_service_is_refused(served, project):
    first = put(served, project, A)
    second = put(served, project, B)
    with pytest.raises(InvalidInput, match="another version is in service by now"):
        served.rollback(project, BASE, expected=first.id)
    assert served.current(project, BASE) == second
    assert served.rollback(project, BASE, expected=second.id).adapter == A


def test_rollbacks_at_once_go_one_step_each(served, project):
    for number in range(8):
        put(served, project, f"{number:032x}")
    threads = [threading.Thread(target=served.rollback, args=(project, BASE)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.current(project, BASE).adapter == f"{2:032x}"


def test_what_is_promoted_twice_at_once_is_served_once_so_that_going_back_changes_something(served, project):
    put(served, project, A)
    threads = [threading.Thread(target=put, args=(served, project, B), kwargs={"number": 2}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.adapter for one in served.history(project)] == [A, B]
    assert served.rollback(project, BASE).adapter == A


def test_what_cannot_be_served_is_refused(served, project):
    with pytest.raises(InvalidInput, match=r"adapter .* an id of 32 hex digits"):
        put(served, project, "../x")
    with pytest.raises(InvalidInput, match="class head"):
        put(served, project, A, "short")
    with pytest.raises(NotFound, match="no project"):
        put(served, project + 1, A)
    with pytest.raises(InvalidInput, match="no version to go back to"):
        served.rollback(project, BASE)
    assert served.history(project) == []
