"""What rounds learnt in vain does not fill the disk, and nothing that anyone serves or may serve goes."""

from __future__ import annotations

import pytest

from maskwright.errors import ModelUnavailable
from maskwright.learn.rounds import candidates
from maskwright.learn.rounds.by_hand import promote_by_hand
from maskwright.learn.rounds.candidates import forget_candidates
from maskwright.learn.rounds.requests import queue_round
from maskwright.store.rounds import RoundState


@pytest.fixture
def project(make_project, monkeypatch):
    monkeypatch.setattr(candidates, "MOST_KEPT", 2)
    return make_project(pictures=1, held_out=0, objects=1)


def put(project, *names):
    for folder in ("adapters", "classes"):
        (project.settings.home / folder).mkdir(exist_ok=True)
        for name in names:
            (project.settings.home / folder / f"{name}.safetensors").write_bytes(b"weights")


def there(project):
    return {path.stem for path in project.settings.home.glob("*/*.safetensors")}


def end(project, name, state=RoundState.REFUSED, row=None):
    """A round of a project that came to a candidate."""
    put(project, name)
    shop = project.workshop
    made, _ = shop.rounds.queue((row or project.row).id, trigger="tests", base="embedded", config={})
    shop.rounds.claim("tests", 60.0)
    before = shop.served.current(made.project_id, "embedded")
    number = None if before is None else before.id
    shop.rounds.advance(made.id, "tests", RoundState.EVALUATING, adapter=name, classes=name, served_before=number)
    if state is RoundState.PROMOTED:
        shop.rounds.promote(made.id, "tests", reason="better", verdict={}, metrics={})
    elif not state.is_active:
        shop.rounds.finish(made.id, "tests", state, reason="tests")


def names(count):
    return [f"{number:032x}" for number in range(count)]


def test_of_the_candidates_that_were_never_served_the_newest_are_kept(project):
    for name in names(5):
        end(project, name)
    assert forget_candidates(project.workshop, project.row.id) == 6
    assert there(project) == set(names(5)[3:])
    assert forget_candidates(project.workshop, project.row.id) == 0


def test_what_is_served_or_was_is_named_elsewhere_or_was_put_there_by_a_person_stays(project):
    old = names(8)
    end(project, old[0], RoundState.PROMOTED)
    for name in old[1:5]:
        end(project, name)
    promote_served(project, old[1])
    other = project.store.project("label-studio", "http://127.0.0.1:8080", 8)
    end(project, old[2], row=other)
    end(project, old[5])
    end(project, old[6], RoundState.PROMOTED)
    put(project, "f" * 32)
    object.__setattr__(project.workshop, "model", lambda row: f"embedded+adapter:{old[3]}")
    end(project, old[7], RoundState.EVALUATING)
    forget_candidates(project.workshop, project.row.id)
    assert set(old) - there(project) == {old[4]}
    object.__setattr__(project.workshop, "model", lambda row: None)
    project.workshop.rounds.finish(
        project.workshop.rounds.active(project.row.id).id, "tests", RoundState.REFUSED, reason="tests"
    )
    forget_candidates(project.workshop, project.row.id)
    assert set(old) - there(project) == {old[3], old[4]}
    assert "f" * 32 in there(project)


def promote_served(project, name):
    project.workshop.served.put(project.row.id, "embedded", name, name, round_number=2, reason="by hand")
    project.workshop.served.rollback(project.row.id, "embedded")


def test_whoever_promotes_a_candidate_whose_files_are_gone_is_told_so(project):
    for name in names(3):
        end(project, name)
    forget_candidates(project.workshop, project.row.id)
    with pytest.raises(ModelUnavailable, match="files of round 1 are gone"):
        promote_by_hand(project.store, project.settings.home, project.row.id, 1, force=True)


def test_a_round_leaves_no_more_candidates_behind_than_are_kept(project):
    for name in names(3):
        end(project, name)
    queue_round(project.workshop, project.row, trigger="tests", force=True)
    ended = project.run()
    assert there(project) & set(names(3)) == {names(3)[2]}
    assert ended.adapter in there(project)
