"""Rounds: one at a time per project, owned by a lease, ended in one way or another."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from maskwright.errors import InvalidInput, MaskwrightError, NotFound
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.database import Database
from maskwright.store.rounds import MOST_ATTEMPTS, LeaseLost, RoundState, RoundStore
from maskwright.store.served import ServedRegister

BASE, ADAPTER, CLASSES = "embedded", "a" * 32, "c" * 32


@pytest.fixture
def rounds(database):
    return RoundStore(database)


@pytest.fixture
def served(database):
    return ServedRegister(database)


@pytest.fixture
def queued(rounds, project):
    made, is_new = rounds.queue(project, trigger="20 new corrections", base=BASE, config={"seed": 1})
    assert is_new
    return made


def test_a_queued_round_says_what_it_was_queued_with(rounds, project, queued):
    assert (queued.number, queued.state, queued.trigger) == (1, RoundState.QUEUED, "20 new corrections")
    assert (queued.base, queued.config, queued.attempts) == (BASE, {"seed": 1}, 0)
    assert queued.created_at
    assert queued.started_at == queued.finished_at == queued.lease_until == ""
    assert rounds.get(project, 1) == rounds.active(project) == queued
    assert rounds.counts() == (1, 0)
    with pytest.raises(NotFound, match="rounds list"):
        rounds.get(project, 2)
    with pytest.raises(NotFound, match="no project"):
        rounds.queue(project + 1, trigger="t", base=BASE, config={})


def test_whoever_queues_while_a_round_is_active_gets_that_one(rounds, project, queued):
    assert rounds.queue(project, trigger="again", base=BASE, config={}) == (queued, False)
    claimed = rounds.claim("w", 60)
    assert rounds.queue(project, trigger="again", base=BASE, config={}) == (claimed, False)
    rounds.finish(claimed.id, "w", RoundState.REFUSED, reason="worse")
    following, is_new = rounds.queue(project, trigger="again", base=BASE, config={})
    assert (is_new, following.number) == (True, 2)
    assert [one.number for one in rounds.list(project)] == [2, 1]
    assert [one.number for one in rounds.list(limit=1)] == [2]


def test_a_thousand_calls_from_many_threads_make_one_round(rounds, project):
    made = []
    barrier = threading.Barrier(20)

    def ask():
        barrier.wait()
        made.extend(rounds.queue(project, trigger="event", base=BASE, config={}) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1000
    assert sum(is_new for _, is_new in made) == 1
    assert {one.id for one, _ in made} == {rounds.active(project).id}


def ask_from_a_process(where, barrier, queue):
    database = Database(where) if isinstance(where, str) else Database(path=where)
    barrier.wait()
    asked = [RoundStore(database).queue(1, trigger="event", base=BASE, config={})[1] for _ in range(25)]
    queue.put(sum(asked))
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_calls_from_many_processes_make_one_round(kind, request, tmp_path):
    where = tmp_path / "c.sqlite3" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    store = CorrectionsStore(Database(where) if kind == "postgresql" else Database(path=where))
    project = store.project("label-studio", "http://x", 7).id
    store.close()
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    processes = [context.Process(target=ask_from_a_process, args=(where, barrier, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    assert sum(queue.get(timeout=60) for _ in processes) == 1
    for process in processes:
        process.join(30)
    assert project == 1


def test_the_database_itself_allows_no_second_active_round(database, rounds, project, queued):
    from sqlalchemy import insert, select

    from maskwright.store.schema_learning import rounds as table

    def double(connection):
        row = dict(connection.execute(select(table)).one()._mapping)
        connection.execute(insert(table).values({**row, "id": 99, "number": 2}))

    with pytest.raises(MaskwrightError):
        database.write(double)
    assert rounds.list() == [queued]


def test_rounds_are_claimed_oldest_first_and_by_one_owner_only(store, rounds, project, queued):
    other = store.project("label-studio", "http://other", 1).id
    rounds.queue(other, trigger="t", base=BASE, config={})
    assert rounds.claim("b", 60, project_id=other).project_id == other
    first = rounds.claim("a", 60)
    assert (first.id, first.state, first.owner, first.attempts) == (queued.id, RoundState.TRAINING, "a", 1)
    assert first.started_at
    assert first.lease_until > first.started_at
    assert rounds.claim("c", 60) is None
    assert rounds.counts() == (0, 2)


def test_of_many_who_claim_at_once_one_gets_the_round(rounds, queued):
    got = []
    barrier = threading.Barrier(12)

    def claim(name):
        barrier.wait()
        got.append(rounds.claim(name, 60))

    threads = [threading.Thread(target=claim, args=(f"w{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in got if one is not None]) == 1


def test_a_round_whose_lease_ran_out_goes_to_another_and_is_lost_for_the_first(rounds, project, queued):
    rounds.claim("old", 0)
    time.sleep(0.01)
    taken = rounds.claim("new", 60)
    assert (taken.id, taken.owner, taken.attempts) == (queued.id, "new", 2)
    for late in (
        lambda: rounds.renew(queued.id, "old", 60),
        lambda: rounds.advance(queued.id, "old", RoundState.EVALUATING),
        lambda: rounds.finish(queued.id, "old", RoundState.FAILED, reason="late"),
        lambda: rounds.promote(queued.id, "old", reason="late", verdict={}, metrics={}),
        lambda: rounds.release(queued.id, "old"),
    ):
        with pytest.raises(LeaseLost, match="another worker"):
            late()
    assert rounds.get(project, 1) == taken


def test_a_lease_that_is_renewed_stays_and_the_progress_can_be_read(rounds, project, queued):
    rounds.claim("w", 0)
    assert rounds.renew(queued.id, "w", 60, {"stage": "training", "step": 3, "loss": float("nan")}) is False
    assert rounds.claim("other", 60) is None
    assert rounds.get(project, 1).progress == {"stage": "training", "step": 3, "loss": None}
    assert rounds.renew(queued.id, "w", 60) is False
    assert rounds.get(project, 1).progress["step"] == 3


def test_a_round_that_stopped_too_often_fails_with_a_reason(rounds, project, queued):
    for _ in range(MOST_ATTEMPTS):
        assert rounds.claim("w", 0).id == queued.id
        time.sleep(0.01)
    assert rounds.claim("w", 0) is None
    ended = rounds.get(project, 1)
    assert (ended.state, ended.attempts) == (RoundState.FAILED, MOST_ATTEMPTS)
    assert f"{MOST_ATTEMPTS} times" in ended.reason
    assert ended.finished_at


def test_a_round_that_is_given_back_waits_again_and_that_was_no_attempt(rounds, project, queued):
    for _ in range(2 * MOST_ATTEMPTS):
        claimed = rounds.claim("w", 60)
        assert claimed.attempts == 1
        rounds.advance(claimed.id, "w", RoundState.TRAINING, snapshot="round-1")
        rounds.release_all("w")
        waiting = rounds.get(project, 1)
        assert (waiting.state, waiting.owner, waiting.attempts) == (RoundState.QUEUED, None, 0)
        assert waiting.snapshot == "round-1"


def test_what_a_round_comes_to_is_kept_and_nothing_else_changed(rounds, project, queued):
    rounds.claim("w", 60)
    rounds.advance(queued.id, "w", RoundState.TRAINING, snapshot="round-1", metrics={"images": {"new": 3}})
    found = rounds.advance(queued.id, "w", RoundState.EVALUATING, adapter=ADAPTER, classes=CLASSES)
    assert (found.state, found.adapter, found.classes, found.snapshot) == (
        RoundState.EVALUATING, ADAPTER, CLASSES, "round-1",
    )  # fmt: skip
    assert found.metrics == {"images": {"new": 3}}
    ended = rounds.finish(
        queued.id, "w", RoundState.UNDECIDED, reason="4 images \0\ud800", verdict={"decision": "undecided"}
    )
    assert (ended.state, ended.reason, ended.verdict) == (
        RoundState.UNDECIDED, "4 images ?", {"decision": "undecided"},
    )  # fmt: skip
    assert ended.metrics == {"images": {"new": 3}}
    assert rounds.active(project) is None
    with pytest.raises(LeaseLost):
        rounds.renew(queued.id, "w", 60)
    with pytest.raises(ValueError, match="finish or promote"):
        rounds.advance(queued.id, "w", RoundState.PROMOTED)
    with pytest.raises(ValueError, match="does not finish"):
        rounds.finish(queued.id, "w", RoundState.PROMOTED, reason="")


def candidate(rounds, queued, **more):
    rounds.claim("w", 60)
    rounds.advance(queued.id, "w", RoundState.EVALUATING, adapter=ADAPTER, classes=CLASSES, **more)


def test_promotion_serves_the_candidate_and_ends_the_round(rounds, served, project, queued):
    candidate(rounds, queued)
    ended, version = rounds.promote(queued.id, "w", reason="better", verdict={"gain": 1}, metrics={"images": {}})
    assert (ended.state, ended.reason, ended.verdict) == (RoundState.PROMOTED, "better", {"gain": 1})
    assert version.uri == f"{BASE}+adapter:{ADAPTER}+classes:{CLASSES}"
    assert (version.round_number, version.parent_id) == (1, None)
    assert served.current(project, BASE) == version


def test_a_candidate_is_not_promoted_over_a_version_it_was_not_measured_against(rounds, served, project, queued):
    candidate(rounds, queued)
    meanwhile = served.put(project, BASE, "b" * 32, None, round_number=None, reason="by hand")
    ended, version = rounds.promote(queued.id, "w", reason="better", verdict={"gain": 1}, metrics={})
    assert version is None
    assert (ended.state, ended.verdict) == (RoundState.FAILED, {"gain": 1})
    assert "another version was promoted meanwhile; train again" in ended.reason
    assert served.current(project, BASE) == meanwhile


def test_a_version_of_another_base_does_not_stand_in_the_way(rounds, served, project, queued):
    before = served.put(project, BASE, "b" * 32, None, round_number=None, reason="by hand")
    candidate(rounds, queued, served_before=before.id)
    served.put(project, "sam:other", "d" * 32, None, round_number=None, reason="by hand")
    ended, version = rounds.promote(queued.id, "w", reason="better", verdict={}, metrics={})
    assert ended.state is RoundState.PROMOTED
    assert version.parent_id == before.id


def test_cancelling_ends_a_round_that_waits_and_asks_one_that_runs(rounds, served, project, queued):
    assert rounds.cancel(project, 1).state is RoundState.CANCELLED
    with pytest.raises(InvalidInput, match="ended already: cancelled"):
        rounds.cancel(project, 1)
    with pytest.raises(NotFound):
        rounds.cancel(project, 9)
    again, _ = rounds.queue(project, trigger="t", base=BASE, config={})
    candidate(rounds, again)
    assert rounds.cancel(project, 2).cancel_requested
    assert rounds.renew(again.id, "w", 60) is True
    ended, version = rounds.promote(again.id, "w", reason="better", verdict={}, metrics={})
    assert (ended.state, version, served.current(project, BASE)) == (RoundState.CANCELLED, None, None)


def test_a_round_that_was_to_be_cancelled_when_its_worker_died_ends_as_cancelled(rounds, project, queued):
    rounds.claim("w", 0)
    rounds.cancel(project, 1)
    time.sleep(0.01)
    assert rounds.claim("other", 60) is None
    assert rounds.get(project, 1).state is RoundState.CANCELLED
