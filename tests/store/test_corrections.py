from __future__ import annotations

import itertools
import json
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, NotFound, TooLarge
from maskwright.store.corrections import CorrectionsStore, Event, ImageFacts, Proposal, Stored, TaskState
from maskwright.store.database import Database

SERVER = "http://127.0.0.1:8080"


def event(annotation=1, *, project=7, action="ANNOTATION_UPDATED", authenticated=False, **more):
    return Event("label-studio", SERVER, action, project, (annotation,), (1,), authenticated=authenticated, **more)


def everything(store, project):
    heads = [(h.task_number, h.stored) for h in store.heads(project)]
    return heads, list(store.task_documents(project))


def test_a_correction_comes_back_as_the_platform_gave_it_byte_for_byte(store, project):
    data, document = '{ "image":"/ä.png" ,"n":1.50}'.encode(), b'{"id":5,  "result": [1e2, "\\u00e9"]}'
    proposal = b'{"id": 9,"result":[]}'
    store.put_task(project, 3, data, "2026-01-01")
    stored = Stored(5, "submitted", "ann@x", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", document, 12.5, 9, "m-1")
    assert store.put_annotation(project, 3, stored)
    assert store.put_proposal(project, 3, 9, "m-1", proposal)
    [text] = store.task_documents(project)
    wanted = b'{"id":3,"project":7,"data":%s,"annotations":[%s],"predictions":[%s],"drafts":[]}'
    assert text == wanted % (data, document, proposal)
    [head] = store.heads(project)
    assert head.stored.document == document
    assert (head.stored.person, head.stored.lead_time, head.stored.proposal_number) == ("ann@x", 12.5, 9)
    assert (head.stored.model_version, head.stored.updated_at) == ("m-1", "2026-01-02T00:00:00.000000Z")


def test_every_order_of_arrival_ends_in_the_same_state(store, drawn, state):
    # Times of one platform differ in width, and two states claim one moment.
    states = [
        drawn(1, "2026-02-01T10:00:00Z", "a"), drawn(1, "2026-02-01T10:00:00.5Z", "b"),
        drawn(1, "2026-02-01T10:00:00.500000+00:00", "c"), drawn(1, "2026-02-01T09:59:59.999999Z", "d"),
    ]  # fmt: skip
    ends = set()
    for number, order in enumerate(itertools.permutations(states)):
        project = store.project("label-studio", SERVER, 100 + number).id
        store.put_tasks(project, [state(1)])
        for one in (*order, *order[::2]):
            store.put_annotation(project, 1, one)
        [head] = store.heads(project)
        ends.add((head.stored.document, tuple(one.document for one in store.history(project, 1))))
    assert len(ends) == 1
    head, history = ends.pop()
    assert len(history) == 4
    assert head == history[-1]
    assert json.loads(head)["result"][0]["text"] in "bc"


def test_one_call_may_bring_several_states_of_one_annotation(store, project, drawn, state):
    states = [drawn(1, f"2026-02-01T10:00:0{n}Z", str(n)) for n in (3, 1, 2, 3)]
    assert store.put_tasks(project, [state(1, *states)]) == 4  # the task and three states
    [head] = store.heads(project)
    assert b'"3"' in head.stored.document
    assert len(store.history(project, 1)) == 3


def test_storing_the_same_again_adds_nothing(store, project, drawn, state):
    whole = [state(1, drawn(1), drawn(2)), state(2, drawn(3, kind="skipped"))]
    assert store.put_tasks(project, whole) == 5
    before = everything(store, project)
    assert store.put_tasks(project, whole) == 0
    assert store.put_tasks(project, whole, seen_at="2026-03-01") == 0
    assert not store.put_annotation(project, 1, drawn(1))
    assert everything(store, project) == before
    assert store.counts(project).corrections == 3


def test_a_late_word_of_an_old_state_neither_becomes_the_head_nor_is_lost(store, project, drawn):
    store.put_annotation(project, 1, drawn(1, "2026-02-02", "new"))
    assert store.put_annotation(project, 1, drawn(1, "2026-02-01", "old"))
    [head] = store.heads(project)
    assert b"new" in head.stored.document
    assert [b"old" in one.document for one in store.history(project, 1)] == [True, False]


def test_several_annotators_of_a_task_are_all_kept(store, project, drawn, state):
    store.put_tasks(project, [state(1, *(drawn(n, person=str(n)) for n in range(1, 6)))])
    assert [head.stored.person for head in store.heads(project)] == ["1", "2", "3", "4", "5"]
    [text] = store.task_documents(project)
    assert [one["id"] for one in json.loads(text)["annotations"]] == [1, 2, 3, 4, 5]


def test_drafts_skipped_and_submitted_are_told_apart_also_under_one_number(store, project, drawn, state):
    states = drawn(4, kind="draft", text="d"), drawn(4, text="s"), drawn(5, kind="skipped")
    store.put_tasks(project, [state(1, *states)])
    assert [(h.stored.number, h.stored.kind) for h in store.heads(project)] == [
        (4, "submitted"), (5, "skipped"), (4, "draft")
    ]  # fmt: skip
    assert [h.stored.number for h in store.heads(project, kinds=("skipped",))] == [5]
    [text] = store.task_documents(project)
    assert [len(json.loads(text)[key]) for key in ("annotations", "drafts")] == [2, 1]
    store.bury_annotation(project, 4, "2026-03-01", draft=True)
    assert [h.stored.kind for h in store.heads(project)] == ["submitted", "skipped"]


def test_what_was_changed_last_is_read_first_page_by_page(store, project, drawn, state, monkeypatch):
    monkeypatch.setattr("maskwright.store.reading._HEADS_PER_PAGE", 2)
    for number, day in ((1, 3), (2, 5), (3, 5), (4, 1), (5, 4)):
        store.put_tasks(project, [state(number, drawn(number, at=f"2026-02-{day:02}T10:00:00Z"))])
    store.put_tasks(project, [state(6, drawn(6, kind="draft"), drawn(7, kind="skipped"))])
    assert [head.task_number for head in store.newest_heads(project, kinds=("submitted",))] == [3, 2, 5, 1, 4]
    by_task = {head.task_number: head for head in store.heads(project, documents=False)}
    assert next(store.newest_heads(project, kinds=("submitted",))) == by_task[3]
    store.bury_annotation(project, 3, "2026-03-01")
    store.put_tasks(project, [state(4, drawn(4, at="2026-02-09T10:00:00Z", text="again"))])
    assert [head.task_number for head in store.newest_heads(project, kinds=("submitted", "skipped"))] == [
        4, 2, 5, 1, 6
    ]  # fmt: skip


def test_a_skipped_annotation_may_be_submitted_later(store, project, drawn):
    store.put_annotation(project, 1, drawn(1, "2026-02-01", kind="skipped"))
    store.put_annotation(project, 1, drawn(1, "2026-02-02", text="after all"))
    assert [h.stored.kind for h in store.heads(project)] == ["submitted"]


def test_a_deletion_is_a_tombstone_and_seeing_it_again_brings_it_back(store, project, drawn, state):
    store.put_tasks(project, [state(1, drawn(1))])
    store.bury_annotation(project, 1, "2026-03-01T00:00:00Z")
    assert list(store.heads(project)) == []
    assert len(store.history(project, 1)) == 1
    store.put_annotation(project, 1, drawn(1))  # a late word of what was deleted since
    assert list(store.heads(project)) == []
    store.put_annotation(project, 1, drawn(1), seen_at="2026-02-28T00:00:00Z")
    assert list(store.heads(project)) == []
    store.put_annotation(project, 1, drawn(1), seen_at="2026-03-02T00:00:00Z")
    assert len(list(store.heads(project))) == 1


def test_a_deletion_that_comes_before_what_it_deletes_holds(store, project, drawn, state):
    store.bury_annotation(project, 1, "2026-03-01")
    store.put_tasks(project, [state(1, drawn(1))])
    assert list(store.heads(project)) == []
    store.put_annotation(project, 1, drawn(1, "2026-03-02", "undone"))
    assert len(list(store.heads(project))) == 1


def test_a_deleted_task_takes_its_annotations_along_and_brings_them_back(store, project, drawn, state):
    store.put_tasks(project, [state(1, drawn(1)), state(2, drawn(2))])
    store.bury_task(project, 1, "2026-03-01")
    assert list(store.task_numbers(project)) == [2]
    assert [h.stored.number for h in store.heads(project)] == [2]
    store.put_tasks(project, [state(1)], seen_at="2026-03-02")
    assert [h.stored.number for h in store.heads(project)] == [1, 2]


def test_what_a_complete_reading_did_not_show_is_buried(store, project, drawn, state):
    store.put_tasks(project, [state(n, drawn(n), drawn(10 + n)) for n in (1, 2, 3)], seen_at="2026-03-01")
    store.put_tasks(project, [state(1, drawn(1), complete=True)], seen_at="2026-03-02")
    assert [h.stored.number for h in store.heads(project)] == [1, 2, 12, 3, 13]
    store.put_tasks(project, [state(2, drawn(2), drawn(12))], seen_at="2026-03-03")
    store.put_tasks(project, [state(4, drawn(4))], seen_at="2026-03-04")  # made while the reading went on
    store.put_tasks(project, [state(1, drawn(1))], seen_at="2026-03-03")
    assert store.bury_unseen(project, "2026-03-03") == (1, 2)
    assert [h.stored.number for h in store.heads(project)] == [1, 2, 12, 4]
    assert store.bury_unseen(project, "2026-03-03") == (0, 0)
    with pytest.raises(InvalidInput, match="seen_at"):
        store.put_tasks(project, [state(1, complete=True)])


def test_proposals_are_kept_once_and_the_newest_state_of_each_is_shown(store, project, state):
    store.put_tasks(project, [state(1)])
    assert store.put_proposal(project, 1, 8, "m-1", b'{"id": 8}')
    assert not store.put_proposal(project, 1, 8, "m-1", b'{"id": 8}')
    assert store.put_proposal(project, 1, 8, "m-2", b'{"id": 8, "v": 2}', "2026-03-01")
    assert store.put_proposal(project, 1, 6, "m-1", b'{"id": 6}')
    [text] = store.task_documents(project)
    assert json.loads(text)["predictions"] == [{"id": 6}, {"id": 8, "v": 2}]


def test_one_state_gives_the_same_bytes_and_only_the_tasks_asked_for(store, project, drawn, state):
    states = [state(n, drawn(n), proposals=(Proposal(n, "m", b'{"id": 1}'),)) for n in range(1, 100)]
    random.Random(0).shuffle(states)
    for part in (states[:50], states[50:]):
        store.put_tasks(project, part)
    first = list(store.task_documents(project))
    assert [json.loads(text)["id"] for text in first] == list(range(1, 100))
    assert list(store.task_documents(project)) == first
    assert list(store.task_documents(project, [40, 3, 1000])) == [first[2], first[39]]
    assert [h.task_number for h in store.heads(project, after=95)] == [96, 97, 98, 99]
    assert [h.task_number for h in store.heads(project, tasks_only=[5, 7])] == [5, 7]


def test_more_heads_than_a_page_come_in_order_each_once(store, project, drawn, state):
    states = [
        drawn(t * 1000 + n, kind=("draft" if n % 7 == 0 else "submitted")) for t in range(3) for n in range(1, 200)
    ]
    store.put_tasks(project, [state(t + 1, *states[t * 199 : (t + 1) * 199]) for t in range(3)])
    found = [(h.task_number, h.stored.kind == "draft", h.stored.number) for h in store.heads(project, documents=False)]
    assert found == sorted(found)
    assert len(set(found)) == 3 * 199


def test_an_annotation_may_come_before_its_task(store, project, drawn, state):
    store.put_annotation(project, 1, drawn(1))
    [text] = store.task_documents(project)
    assert json.loads(text)["data"] == {}
    store.put_tasks(project, [state(1)])
    [text] = store.task_documents(project)
    assert json.loads(text)["data"]["image"].endswith("1.png")


@pytest.mark.parametrize(
    ("document", "message"),
    [(b"", "not JSON"), (b"[1]", "object is needed"), (b'{"a": NaN}', "not JSON"), (b'{"a": "\xff"}', "not JSON")],
)
def test_a_document_that_is_no_json_object_is_refused_by_name(store, project, document, message):
    with pytest.raises(InvalidInput, match=f"task 3: annotation 5.*{message}"):
        store.put_annotation(project, 3, Stored(5, "submitted", None, "", "", document))
    with pytest.raises(InvalidInput, match=f"task 3: data.*{message}"):
        store.put_task(project, 3, document)
    assert list(store.task_documents(project)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": -1}, {"number": 2**63}, {"number": True}, {"kind": "other"}, {"updated_at": "yesterday"},
        {"person": "a\0b"}, {"person": "\ud800"}, {"model_version": "x" * 20_000},
    ],
)  # fmt: skip
def test_a_malformed_state_is_refused_and_nothing_of_its_call_is_stored(store, project, drawn, state, wrong):
    base = {"number": 5, "kind": "submitted", "person": "1", "created_at": "", "updated_at": "", "document": b"{}"}
    with pytest.raises(InvalidInput, match="task 1"):
        store.put_tasks(project, [state(1, drawn(1), Stored(**{**base, **wrong}))])
    assert list(store.task_documents(project)) == []


def test_an_unknown_project_is_named(store, drawn):
    for call in (
        lambda: store.put_annotation(99, 1, drawn(1)), lambda: store.bury_task(99, 1, "2026-01-01"),
        lambda: store.category_ids(99, ["a"]), lambda: list(store.task_documents(99)),
    ):  # fmt: skip
        with pytest.raises(NotFound, match="99"):
            call()


def test_projects_are_found_again_and_keep_what_is_not_told(store):
    first = store.project("label-studio", SERVER, 7, title="Pears", label_config="<View/>")
    assert first.needs_full_sync
    again = store.project("label-studio", SERVER, 7, title="Apples")
    assert (again.id, again.title, again.label_config) == (first.id, "Apples", "<View/>")
    assert store.project("label-studio", SERVER, 7) == again
    assert store.project("label-studio", SERVER + "1", 7).id != first.id
    assert [one.id for one in store.projects(server=SERVER)] == [first.id]


def test_a_hint_is_kept_once_until_somebody_looked(store, project):
    assert store.add_events([event(1), event(2), event(1)]) == 2
    assert store.add_events([event(1, authenticated=True)]) == 0
    waiting = store.pending_events(10)
    assert [one.event.annotations for one in waiting] == [(1,), (2,)] or {one.event.annotations for one in waiting} == {
        (1,),
        (2,),
    }
    assert [one.event.authenticated for one in waiting if one.event.annotations == (1,)] == [True]
    assert store.pending_events(10, server="http://elsewhere") == []
    assert store.pending_events(10, after=waiting[0].id) == waiting[1:]
    assert store.finish_events(waiting) == 2
    assert store.pending_events(10) == []


def test_a_hint_that_comes_again_while_it_is_looked_into_waits_on(store, project):
    store.add_events([event(1)])
    taken = store.pending_events(10)
    store.add_events([event(1)])
    assert store.finish_events(taken) == 0
    assert store.finish_events(store.pending_events(10)) == 1


def test_a_flood_of_unproven_hints_drops_the_oldest_and_asks_for_a_full_reading(database):
    store = CorrectionsStore(database, max_unproven=50)
    project = store.project("label-studio", SERVER, 7)
    store.mark_synced(project.id, "2026-03-01")
    store.add_events([event(1000, authenticated=True), event(1001)])
    for start in range(0, 200, 20):
        store.add_events([event(start + n) for n in range(20)])
    waiting = store.pending_events(1000)
    assert len(waiting) == 51
    assert [one.event.annotations for one in waiting if one.event.authenticated] == [(1000,)]
    assert max(one.event.annotations[0] for one in waiting if not one.event.authenticated) == 199
    assert store.project_row(project.id).needs_full_sync
    store.add_events([event(n, project=10**6 + n) for n in range(100)])
    assert len(store.projects()) == 1  # strangers make no projects


def test_only_a_reading_that_began_after_the_loss_clears_the_mark(store, project):
    store.mark_synced(project, "2026-03-01")
    assert not store.project_row(project).needs_full_sync
    assert store.project_row(project).full_sync_at.startswith("2026-03-01")
    store.request_full_sync(project)
    store.mark_synced(project, "2026-03-02")
    assert store.project_row(project).needs_full_sync
    store.mark_synced(project, "2100-01-01")
    assert not store.project_row(project).needs_full_sync


def test_a_hint_that_names_thousands_becomes_a_full_reading(store, project):
    store.mark_synced(project, "2026-03-01")
    many = Event("label-studio", SERVER, "ANNOTATIONS_DELETED", 7, tuple(range(5000)))
    assert store.add_events([many]) == 1
    assert store.pending_events(1)[0].event.annotations == ()
    assert store.project_row(project).needs_full_sync
    with pytest.raises(TooLarge, match="server"):
        store.add_events([Event("label-studio", "x" * 600, "A", 7)])
    with pytest.raises(InvalidInput, match="annotation"):
        store.add_events([event(-3)])


def test_category_ids_are_never_renumbered_and_belong_to_a_project(store, project):
    assert store.category_ids(project, ["pear", "apple", "pear"]) == {"pear": 1, "apple": 2}
    assert store.category_ids(project, ["zebra", "apple"]) == {"zebra": 3, "apple": 2}
    assert store.category_ids(project) == {"pear": 1, "apple": 2, "zebra": 3}
    other = store.project("label-studio", SERVER, 8).id
    assert store.category_ids(other, ["zebra"]) == {"zebra": 1}


def test_facts_about_images_are_kept_by_address_however_long(store, project):
    facts = ImageFacts("ab" * 32, 640, 480, "0f" * 8)
    long = "https://x/" + "y" * 9000
    store.put_images(project, {long: facts, "/a.png": facts})
    store.put_image(project, "/a.png", ImageFacts("cd" * 32, 1, 1))
    assert store.image(project, long) == facts
    assert store.image(project, "/a.png").sha256 == "cd" * 32
    assert store.image(project, "/b.png") is None
    assert dict(store.images(project)).keys() == {long, "/a.png"}
    with pytest.raises(InvalidInput, match="SHA-256"):
        store.put_image(project, "/a.png", ImageFacts("no", 1, 1))


def test_many_threads_that_store_the_same_storm_agree(store, project, drawn, state):
    storm = [(n % 5 + 1, drawn(n % 20 + 1, f"2026-02-01T10:00:{v:02d}Z", f"{v}")) for n in range(20) for v in range(6)]
    failures = []

    def work(seed):
        mine = storm + storm[::2]
        random.Random(seed).shuffle(mine)
        try:
            for start in range(0, len(mine), 12):
                part = mine[start : start + 12]
                store.put_tasks(project, [TaskState(task, None, annotations=(one,)) for task, one in part])
                store.add_events([event(one.number) for _, one in part])
                store.category_ids(project, [f"class {one.number}" for _, one in part])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [b'"5"' in h.stored.document for h in store.heads(project)] == [True] * 20
    assert store.counts(project).corrections == 120
    assert sorted(store.category_ids(project).values()) == list(range(1, 21))
    assert len(store.pending_events(1000)) == 20


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 3), st.integers(0, 4), st.sampled_from("abc")),
        st.tuples(st.just("bury"), st.integers(1, 3), st.integers(0, 4)),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    opened = CorrectionsStore(Database(path=tmp_path_factory.mktemp("shared") / "corrections.sqlite3"))
    yield opened
    opened.close()


@given(operations, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_doubled_and_shuffled_words_end_as_if_told_in_order(shared, drawn, done, rng):
    numbers = itertools.count(len(shared.projects()) + 1)

    def tell(words):
        project = shared.project("label-studio", SERVER, next(numbers)).id
        for word in words:
            at = f"2026-02-0{word[2] + 2}T00:00:00Z"
            if word[0] == "put":
                shared.put_annotation(project, 1, drawn(word[1], at, word[3]))
            else:
                shared.bury_annotation(project, word[1], at)
        histories = [[one.document for one in shared.history(project, n)] for n in (1, 2, 3)]
        return [(h.task_number, h.stored) for h in shared.heads(project)], histories

    shuffled = done + done
    rng.shuffle(shuffled)
    assert tell(shuffled) == tell(done)
