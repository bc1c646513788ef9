"""``maskwright train``: run a training round of a project here and now."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from maskwright.cli_rounds import STAGES, AsJson, Project, Server, brief, opened, sentence
from maskwright.errors import Busy


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(train)


def train(
    project: Project = None,
    server: Server = "",
    force: Annotated[bool, typer.Option("--force", help="Also if nothing is new since the last round.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from the corrections of a project, and serve what was learnt if it proves better.

    Runs the project's round in this process; one that waits for a worker is taken over. Ctrl-C cancels it. Corrections
    are those of the store: run `maskwright sync` before if no server of ours was there while people annotated.
    """
    from maskwright.learn.rounds.requests import queue_round
    from maskwright.learn.rounds.run import LEASE_S, run_round
    from maskwright.store.rounds import RoundState

    with opened(project, server) as (workshop, row), _interrupted() as interrupted:
        waiting, _ = queue_round(workshop, row, trigger="command", force=force)
        owner = f"train-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        claimed = workshop.rounds.claim(owner, LEASE_S, project_id=row.id)
        if claimed is None:
            raise Busy(
                f"round {waiting.number} of project {row.number} is run by {waiting.owner or 'another process'}; "
                f"`maskwright rounds show {waiting.number} --project {row.number}` tells how far it is"
            )
        line = _ProgressLine(quiet=as_json)
        ended = run_round(claimed, workshop, owner, progress=line, cancelled=interrupted.is_set)
        line.end()
        folder = workshop.folder(row.id, ended.number)
    if as_json:
        told = {**brief(ended), "project": row.number, "metrics": ended.metrics, "verdict": ended.verdict}
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"round {ended.number} of project {row.number}: {ended.state}. {ended.reason}")
        if ended.metrics.get("gallery"):
            typer.echo(f"pictures of what was measured lie in {folder}")
    if ended.state in (RoundState.FAILED, RoundState.CANCELLED):
        raise typer.Exit(1)


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second ends the process as ever."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


class _ProgressLine:
    """How far a round is: one line that is written over on a terminal, a line for each stage elsewhere.

    Args:
        quiet: Whether to write nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._stage, self._width = quiet, "", 0
        self._on_terminal = sys.stderr.isatty()

    def __call__(self, progress: dict[str, Any]) -> None:
        """Show a progress; see ``Round.progress``."""
        if self._quiet:
            return
        stage = progress["stage"]
        text = sentence(progress)
        if self._on_terminal:
            print(f"\r{text:{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        elif stage != self._stage:
            print(STAGES.get(stage, stage), file=sys.stderr, flush=True)
        self._stage = stage

    def end(self) -> None:
        """Leave the line."""
        if self._on_terminal and self._width:
            print(file=sys.stderr)
