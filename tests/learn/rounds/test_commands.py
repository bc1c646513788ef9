"""``maskwright rounds`` and ``maskwright train``, as a person or a script calls them."""

from __future__ import annotations

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from maskwright import cli_rounds, cli_train
from maskwright.errors import Busy, InvalidInput, ModelUnavailable, NotFound
from maskwright.learn.rounds.requests import queue_round
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.server import workshops
from maskwright.store.rounds import RoundState


@pytest.fixture
def project(make_project, monkeypatch):
    made = make_project(pictures=3, held_out=1, objects=2)
    monkeypatch.setenv("MASKWRIGHT_HOME", str(made.settings.home))
    monkeypatch.delenv("MASKWRIGHT_DATABASE_URL", raising=False)
    monkeypatch.setattr(workshops, "open_workshop", lambda settings, store: made.workshop)
    return made


@pytest.fixture
def call(project):
    app = typer.Typer()
    cli_rounds.register(app)
    cli_train.register(app)

    def run(*arguments, fails=None, code=0):
        found = CliRunner().invoke(app, list(arguments))
        if fails is not None:
            assert isinstance(found.exception, fails), found.output
            return str(found.exception)
        assert found.exit_code == code, found.output
        return found.stdout

    return run


def end(project, state, number=1.0):
    """A round that ended so, with a candidate of its own."""
    shop = project.workshop
    queue_round(shop, project.row, trigger="tests", force=True)
    claimed = shop.rounds.claim("tests", 60.0)
    card = AdapterCard("base", AdapterConfig(kind="decoder"))
    adapter = write_adapter(shop.registry.adapters.folder, {"decoder.a": torch.full((2,), float(number))}, card)
    served = shop.served.current(project.row.id, "embedded")
    before = None if served is None else served.id
    shop.rounds.advance(claimed.id, "tests", RoundState.EVALUATING, adapter=adapter, served_before=before)
    if state is RoundState.PROMOTED:
        shop.rounds.promote(claimed.id, "tests", reason="better", verdict={}, metrics={"gain": {"mean": 0.04}})
    else:
        shop.rounds.finish(claimed.id, "tests", state, reason="Refused: 1 click lost 0.1", metrics={})
    return adapter


def test_a_store_without_projects_lists_no_rounds_and_is_no_fault(tmp_path, monkeypatch, call):
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path))
    assert "no round yet, and no project" in call("rounds", "list")
    assert json.loads(call("rounds", "list", "--json")) == {"project": None, "served": None, "rounds": []}
    assert "run `maskwright sync` first" in call("rounds", "list", "--project", "9", fails=NotFound)
    assert "run `maskwright sync` first" in call("rounds", "rollback", fails=NotFound)


def test_rounds_are_listed_with_what_is_served(project, call):
    assert "there is no round yet" in call("rounds", "list")
    adapter = end(project, RoundState.PROMOTED)
    end(project, RoundState.REFUSED, 2)
    found = json.loads(call("rounds", "list", "--json"))
    assert [(one["number"], one["state"]) for one in found["rounds"]] == [(2, "refused"), (1, "promoted")]
    assert found["served"]["uri"] == f"embedded+adapter:{adapter}"
    text = call("rounds", "list", "--project", "7")
    assert "+0.0400 IoU" in text
    assert f"served: embedded+adapter:{adapter}" in text


def test_a_round_is_shown_with_its_reason(project, call):
    end(project, RoundState.REFUSED)
    assert "Refused: 1 click lost 0.1" in call("rounds", "show", "1")
    assert json.loads(call("rounds", "show", "1", "--json"))["reason"] == "Refused: 1 click lost 0.1"
    assert "no round 5" in call("rounds", "show", "5", fails=NotFound)


def test_going_back_and_promoting_again_take_effect_at_once(project, call):
    first, second = end(project, RoundState.PROMOTED), end(project, RoundState.PROMOTED, 2)
    assert json.loads(call("rounds", "rollback", "--json"))["adapter"] == first
    assert json.loads(call("rounds", "rollback", "--json"))["uri"] == "embedded"
    assert "no version to go back to" in call("rounds", "rollback", fails=InvalidInput)
    assert json.loads(call("rounds", "promote", "2", "--json"))["adapter"] == second
    assert project.workshop.served.current(project.row.id, "embedded").reason == "promoted by hand"


def test_what_the_gate_refused_is_promoted_only_by_force_and_that_stays_known(project, call):
    adapter = end(project, RoundState.REFUSED)
    assert "Refused: 1 click lost 0.1); insist (--force)" in call("rounds", "promote", "1", fails=InvalidInput)
    assert adapter in call("rounds", "promote", "1", "--force")
    assert project.workshop.served.current(project.row.id, "embedded").reason == "promoted by hand although refused"


def test_a_damaged_adapter_is_refused_by_name_before_anything_is_served(project, call):
    adapter = end(project, RoundState.PROMOTED)
    call("rounds", "rollback")
    path = project.workshop.registry.adapters.folder / f"{adapter}.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert adapter in call("rounds", "promote", "1", fails=ModelUnavailable)
    assert project.workshop.served.current(project.row.id, "embedded").adapter is None


def test_a_round_without_a_candidate_or_at_work_cannot_be_promoted(project, call):
    queue_round(project.workshop, project.row, trigger="tests")
    assert "still at work" in call("rounds", "promote", "1", fails=InvalidInput)
    assert "cancelled" in call("rounds", "cancel", "1")
    assert "without a candidate" in call("rounds", "promote", "1", fails=InvalidInput)


def test_settings_are_shown_and_changed(project, call):
    changed = call(
        "rounds", "settings", "--project", "7", "--set", "acquisition=random", "--set", "corrections_per_round=5",
        "--json",
    )  # fmt: skip
    assert json.loads(changed)["corrections_per_round"] == 5
    assert json.loads(call("rounds", "settings", "--json"))["acquisition"] == "random"
    assert "acquisition" in call("rounds", "settings")
    assert "NAME=VALUE" in call("rounds", "settings", "--set", "acquisition", fails=InvalidInput)


def test_projects_that_are_not_there_or_not_alone_are_told_apart(project, call):
    assert "no project 9" in call("rounds", "list", "--project", "9", fails=NotFound)
    project.store.project("label-studio", "http://127.0.0.1:8081", 7)
    assert "--server" in call("rounds", "list", fails=InvalidInput)
    call("rounds", "list", "--server", "http://127.0.0.1:8080/")


def test_training_from_the_command_line_runs_the_round_to_its_end(project, call):
    found = json.loads(call("train", "--json"))
    assert (found["state"], found["number"], found["project"]) == ("not enough data", 1, 7)
    assert found["metrics"]["training"]["steps"] == 1
    assert "--force" in call("train", fails=InvalidInput)


def test_a_round_that_another_process_runs_is_left_to_it(project, call):
    queue_round(project.workshop, project.row, trigger="tests")
    claimed = project.workshop.rounds.claim("somebody", 600.0)
    assert "somebody" in call("train", fails=Busy)
    project.workshop.rounds.renew(claimed.id, "somebody", 600.0, {"stage": "data", "done": 3, "of": 9})
    assert "now          reading corrections 3/9" in call("rounds", "show", "1")
