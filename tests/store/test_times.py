from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from maskwright.errors import InvalidInput
from maskwright.store.backup import write_backup
from maskwright.store.corrections import CorrectionsStore, Event
from maskwright.store.database import Database
from maskwright.store.restore import restore_backup
from maskwright.store.times import LAST, to_microseconds, to_text

LATE = "9999-12-31T23:59:59-12:00"  # in UTC this is of the year 10000


@given(st.integers(1, LAST - 1))
def test_every_time_that_is_kept_can_be_told(moment):
    assert to_microseconds(to_text(moment)) == moment


@pytest.mark.parametrize("words", [LATE, "yesterday", "9999-12-31T23:59:60Z"])
def test_a_time_that_could_not_be_told_is_not_kept(store, project, drawn, words):
    with pytest.raises(InvalidInput, match="ISO 8601"):
        to_microseconds(words)
    with pytest.raises(InvalidInput, match="time"):
        store.add_events([Event("label-studio", "http://x", "A", 7, updated_at=words)])
    with pytest.raises(InvalidInput, match="time"):
        store.put_annotation(project, 1, drawn(1, words))


def test_one_damaged_hint_costs_the_others_nothing_and_its_project_is_read_whole(store, project, caplog):
    row = store.project_row(project)
    store.mark_synced(project, "2026-03-01")
    store.add_events([Event(row.platform, row.server, "A", row.number, (n,)) for n in range(1, 5)])
    damages = ("updated_at = 253402344000000000", "annotations = 'nope'", "tasks = '[1.5]'")
    first = [one.id for one in store.pending_events(10)]
    for event_id, damage in zip(first, damages, strict=False):
        command = text(f"UPDATE events SET {damage} WHERE id = {event_id}")
        store.database.write(lambda connection, command=command: connection.execute(command))
    assert [one.id for one in store.pending_events(2)] == first[3:]
    assert [one.id for one in store.pending_events(10)] == first[3:]
    assert store.project_row(project).needs_full_sync
    assert "dropped" in caplog.text


def test_what_was_taken_in_can_be_backed_up_and_restored(store, project, drawn, tmp_path):
    store.put_annotation(project, 1, drawn(1, "9999-12-31T23:59:59.999999Z"))
    write_backup(store.database, tmp_path / "b.zip")
    other = CorrectionsStore(Database(path=tmp_path / "other.sqlite3"))
    restore_backup(other.database, tmp_path / "b.zip")
    assert [head.stored.updated_at[:4] for head in other.heads(project)] == ["9999"]
    other.close()
